"""Least privilege: what the function's role may do with the table, what an operator may, and who makes the table."""

from __future__ import annotations

import json
from typing import Any, Literal

from .description import Table

Whose = Literal["function", "operator", "creator"]

FUNCTION_ACTIONS = ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem")
"""All that running needs. The index is not among it: a handler never lists."""

OPERATOR_ACTIONS = (*FUNCTION_ACTIONS, "dynamodb:DeleteItem", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive")
"""Besides: purge deletes, doctor describes."""

CREATOR_ACTIONS = (
    "dynamodb:CreateTable",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
    "dynamodb:UpdateTimeToLive",
)


PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "eusc-": "aws-eusc",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
}
"""By what their regions begin with (botocore's partitions.json). IAM takes no policy that names another partition than its own."""


def table_arn(table: Table, region: str = "*", account: str = "*") -> str:
    """The table's ARN, as a pattern where region or account are not said."""
    return f"arn:{_partition(region)}:dynamodb:{region}:{account}:table/{table.name}"


def _partition(region: str) -> str:
    return next((name for prefix, name in PARTITIONS.items() if region.startswith(prefix)), "aws")


def policy(
    table: Table, whose: Whose, *, region: str = "*", account: str = "*", functions: tuple[str, ...] = ()
) -> dict[str, Any]:
    """An IAM policy document. `functions`: names of the Lambda functions that the operator may redrive."""
    arn = table_arn(table, region, account)
    statements: list[dict[str, Any]] = []
    if whose == "function":
        statements.append(_allow("DurablyJournal", FUNCTION_ACTIONS, arn))
    elif whose == "operator":
        statements.append(_allow("DurablyJournal", OPERATOR_ACTIONS, arn))
        statements.append(_allow("DurablyListing", ("dynamodb:Query",), f"{arn}/index/{table.listing.name}"))
        if functions:
            invoked = [f"arn:{_partition(region)}:lambda:{region}:{account}:function:{name}" for name in functions]
            statements.append(_allow("DurablyRedrive", ("lambda:InvokeFunction",), invoked))
    else:
        statements.append(_allow("DurablyTable", CREATOR_ACTIONS, arn))
    return {"Version": "2012-10-17", "Statement": statements}


def iam(table: Table, whose: Whose, **where: Any) -> str:
    """The policy as the JSON that IAM takes."""
    return json.dumps(policy(table, whose, **where), indent=2) + "\n"


def _allow(sid: str, actions: tuple[str, ...], resource: str | list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
