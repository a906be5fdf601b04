"""`durably table`: make the table, or print it for your own infrastructure code."""

from __future__ import annotations

import re

import click

from ..errors import StoreError
from ..infra.cdk import cdk as cdk_text
from ..infra.cloudformation import cloudformation as cloudformation_text
from ..infra.description import describe
from ..infra.policies import Whose
from ..infra.policies import iam as iam_text
from ..infra.terraform import terraform as terraform_text
from ..stores.url import open_store
from .output import clean, console, print_json
from .shared import takes_json, takes_url


def _table_name(context: click.Context, parameter: click.Parameter, name: str) -> str:
    """As DynamoDB takes it. What is printed is code, and another name could be more of it."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{3,255}", name):
        raise click.BadParameter(f"{clean(name)!r} is no table's name: 3 to 255 of A-Z, a-z, 0-9, '_', '.' and '-'.")
    return name


NAMED = click.option(
    "--name", default="durably", show_default=True, metavar="TABLE", callback=_table_name, help="the table's name"
)


@click.group()
def table() -> None:
    """The one table that durably needs: pk and sk, an index to list by, TTL on expires_at."""


@table.command()
@takes_json
@takes_url
def create(store: str | None, as_json: bool) -> None:
    """Make the table that --store names, with its index and TTL, unless it is there. For laptops and tests."""
    opened = open_store(store)
    make = getattr(opened, "create_table", None)
    if make is None:
        raise StoreError(
            "only a DynamoDB store has a table to make: --store dynamodb://TABLE. A SQLite file makes itself."
        )
    make()
    name: str = getattr(opened, "table", "")
    print_json({"table": name}) if as_json else console().print(f"table {name} is there, with its index and TTL")


@table.command()
@NAMED
def cloudformation(name: str) -> None:
    """Print it as a CloudFormation template, with policies; SAM takes it as it is."""
    click.echo(cloudformation_text(describe(name)), nl=False)


@table.command()
@NAMED
def terraform(name: str) -> None:
    """Print it for Terraform or OpenTofu, with policy documents."""
    click.echo(terraform_text(describe(name)), nl=False)


@table.command()
@NAMED
def cdk(name: str) -> None:
    """Print it as a CDK construct in Python, with grants."""
    click.echo(cdk_text(describe(name)), nl=False)


@table.command()
@NAMED
@click.option(
    "--for", "whose", type=click.Choice(["function", "operator", "creator"]), default="function", show_default=True
)
@click.option("--region", default="*", metavar="REGION")
@click.option("--account", default="*", metavar="ID")
@click.option("--function", "functions", multiple=True, metavar="NAME", help="for operators: a function to be redriven")
def iam(name: str, whose: Whose, region: str, account: str, functions: tuple[str, ...]) -> None:
    """Print the least that a function, an operator, or who makes the table must be allowed."""
    click.echo(iam_text(describe(name), whose, region=region, account=account, functions=functions), nl=False)
