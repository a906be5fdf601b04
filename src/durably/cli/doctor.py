"""`durably doctor`: one line for each thing that must be right, with the fix beside what is not."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from ..errors import DurablyError
from ..infra.checks import Check, check_function, check_table
from ..infra.description import describe
from ..infra.sqlite_checks import check_file
from ..stores.sqlite import SQLiteStore
from ..stores.url import open_store
from .output import clean, console, print_json
from .shared import takes_json, takes_url

SIGNS = {"ok": ("ok   ", "green"), "note": ("note ", "yellow"), "wrong": ("wrong", "red")}


@click.command()
@click.option("--function", "functions", multiple=True, metavar="NAME", help="a Lambda function that is to be redriven")
@takes_json
@takes_url
def doctor(store: str | None, functions: tuple[str, ...], as_json: bool) -> None:
    """Check table, keys, index, TTL, permissions and clock; of a file, that it is whole. Changes nothing.

    Exit code 1 when something is wrong; notes are no errors.
    """
    checks = _checks(store, functions)
    if as_json:
        print_json({"store": store, "checks": [check._asdict() for check in checks]})
    else:
        for check in checks:
            _show(check)
    if any(check.state == "wrong" for check in checks):
        raise SystemExit(1)


def _checks(url: str | None, functions: tuple[str, ...]) -> list[Check]:
    opened: Any = open_store(url)
    if isinstance(opened, SQLiteStore):
        checks = check_file(opened.path)
    elif hasattr(opened, "table"):
        checks = _of_table(opened.table)
    else:
        checks = [Check("store", "ok", "memory: gone with the process")]
    return checks + [check_function(_client("lambda"), name) for name in functions]


def _of_table(table: str) -> list[Check]:
    try:
        return check_table(_client("dynamodb"), describe(table))
    except DurablyError as error:
        return [Check("access", "wrong", str(error))]


def _client(service: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, NoRegionError
    except ImportError as error:
        raise DurablyError("boto3 is not installed here: pip install 'durably[dynamodb]'.") from error
    try:
        return boto3.client(
            service, config=Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
        )
    except NoRegionError as error:
        raise DurablyError(f"{error} Set AWS_DEFAULT_REGION, or a profile (AWS_PROFILE).") from error
    except (BotoCoreError, ValueError) as error:
        raise DurablyError(f"{error}. Look at AWS_PROFILE, AWS_ENDPOINT_URL and ~/.aws/config.") from error


def _show(check: Check) -> None:
    sign, style = SIGNS[check.state]
    line = Text(sign, style=style).append(f"  {check.what:<12} ", style="").append(clean(check.told), style="")
    console().print(line, soft_wrap=True)
    if check.fix:
        console().print(Text(f"{'':7}{'':12}  → {clean(check.fix)}", style="dim"), soft_wrap=True)
