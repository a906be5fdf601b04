"""What `durably doctor` looks at in a DynamoDB table, each with what to do about it. It tries, and changes nothing.

A write is tried with a condition that nothing meets: refused by the condition, it is permitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from .description import Key, Table

SKEW_MAX_S = 5.0
"""Leases have margins of seconds. The store corrects its own clock by the server's, so this is a hint."""

_KEY = {"pk": {"S": "durably doctor"}, "sk": {"S": "head"}}
_NEVER = {"ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(pk)"}
_DENIED = frozenset(("AccessDeniedException", "UnauthorizedOperation", "AccessDenied"))


class Check(NamedTuple):
    """One line: what was looked at, how it stands, and what to do where it is not as it should be."""

    what: str
    state: Literal["ok", "note", "wrong"]
    told: str
    fix: str = ""


def check_table(client: Any, table: Table) -> list[Check]:
    """Look at a table through a boto3 client: is it there, keys, index, TTL, permissions, clock."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = client.describe_table(TableName=table.name)
    except ClientError as error:
        return _undescribed(client, table, error)
    except (BotoCoreError, ValueError) as error:
        return [_unreachable(error)]
    found = answer["Table"]
    return [
        Check("table", "ok", f"{table.name} is there, {found.get('TableStatus', 'ACTIVE').lower()}"),
        _keys(
            "keys",
            found["KeySchema"],
            found["AttributeDefinitions"],
            table.keys,
            "Make a new table: durably table create.",
        ),
        _index(found, table),
        _ttl(client, table),
        *_permissions(client, table),
        _clock(answer),
    ]


def check_function(client: Any, name: str) -> Check:
    """Whether these credentials may invoke the function, by Lambda's own dry run."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.invoke(FunctionName=name, InvocationType="DryRun")
    except ClientError as error:
        if _code(error) in _DENIED:
            return Check(
                "redrive", "wrong", f"lambda:InvokeFunction on {name} is missing", _allow("lambda:InvokeFunction")
            )
        return Check("redrive", "wrong", f"{name} can't be invoked: {error}", "Is the name right, and the region?")
    except (BotoCoreError, ValueError) as error:
        return _unreachable(error)
    return Check("redrive", "ok", f"{name} may be invoked")


def _undescribed(client: Any, table: Table, error: Any) -> list[Check]:
    code = _code(error)
    if code == "ResourceNotFoundException":
        region = client.meta.region_name
        fix = "Make it (durably table create) or deploy it (durably table --help); or correct --store, region, account."
        return [Check("table", "wrong", f"there is no table {table.name} in {region}", fix)]
    if code in _DENIED:
        denied = Check("table", "wrong", "dynamodb:DescribeTable is missing", _allow("dynamodb:DescribeTable"))
        return [denied, *_permissions(client, table)]
    return [
        Check("table", "wrong", f"it can't be looked at: {error}", "Are the credentials those of the right account?")
    ]


def _unreachable(error: Exception) -> Check:
    told = {
        "NoCredentialsError": "Set a profile (AWS_PROFILE) or AWS_ACCESS_KEY_ID; in Lambda the role gives them.",
        "NoRegionError": "Set AWS_DEFAULT_REGION, or a profile.",
        "EndpointConnectionError": "Is the network up, and the region right? In a VPC, DynamoDB needs a gateway endpoint.",
    }
    return Check(
        "access", "wrong", str(error), told.get(type(error).__name__, "Look at credentials, region and network.")
    )


def _keys(
    what: str, schema: list[dict[str, str]], types: list[dict[str, str]], wanted: tuple[Key, ...], fix: str
) -> Check:
    kinds = {one["AttributeName"]: one["AttributeType"] for one in types}
    found = {Key(one["AttributeName"], kinds.get(one["AttributeName"], "?"), one["KeyType"]) for one in schema}
    if found == set(wanted):
        return Check(what, "ok", ", ".join(f"{key.name} ({key.type})" for key in wanted))
    have = ", ".join(f"{key.name} ({key.type}, {key.role})" for key in sorted(found))
    need = ", ".join(f"{key.name} ({key.type}, {key.role})" for key in wanted)
    return Check(what, "wrong", f"they are {have}, and must be {need}", fix)


def _index(found: dict[str, Any], table: Table) -> Check:
    fix = "Add it as `durably table terraform` shows it. Nothing is lost without: handlers don't use it, `durably ls` does."
    indexes = {one["IndexName"]: one for one in found.get("GlobalSecondaryIndexes", [])}
    index = indexes.get(table.listing.name)
    if index is None:
        return Check("index", "wrong", f"there is no index {table.listing.name}, so nothing can be listed", fix)
    keys = _keys("index", index["KeySchema"], found["AttributeDefinitions"], table.listing.keys, fix)
    if keys.state != "ok":
        return keys
    projection = index["Projection"]
    missing = set(table.listing.attributes) - set(projection.get("NonKeyAttributes", ()))
    if projection["ProjectionType"] != "ALL" and missing:
        return Check("index", "wrong", f"it does not project {', '.join(sorted(missing))}", fix)
    if index.get("IndexStatus", "ACTIVE") != "ACTIVE":
        return Check("index", "note", f"it is {index['IndexStatus'].lower()}: lists are incomplete until it is active")
    return Check("index", "ok", f"{table.listing.name}: {', '.join(key.name for key in table.listing.keys)}")


def _ttl(client: Any, table: Table) -> Check:
    from botocore.exceptions import ClientError

    try:
        ttl = client.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"]
    except ClientError as error:
        if _code(error) in _DENIED:
            told = "dynamodb:DescribeTimeToLive is missing, so it can't be told"
            return Check("TTL", "note", told, _allow("dynamodb:DescribeTimeToLive"))
        return Check("TTL", "note", f"it can't be told: {error}")
    if ttl["TimeToLiveStatus"] in ("ENABLED", "ENABLING") and ttl.get("AttributeName") == table.ttl:
        return Check("TTL", "ok", f"on {table.ttl}")
    if ttl["TimeToLiveStatus"] in ("ENABLED", "ENABLING"):
        told = f"it is on {ttl.get('AttributeName')}, and must be on {table.ttl}"
    else:
        told = "it is off, so expired executions stay and are paid for"
    specification = f"Enabled=true,AttributeName={table.ttl}"
    fix = f"aws dynamodb update-time-to-live --table-name {table.name} --time-to-live-specification {specification}"
    return Check("TTL", "wrong", told, fix)


def _permissions(client: Any, table: Table) -> list[Check]:
    """One line if all are there; else one for each that is missing, and for whom."""
    name, value = table.name, {":pk": {"S": "durably doctor"}}
    update = {"UpdateExpression": "SET #s = :s", "ExpressionAttributeNames": {"#s": "status"}}
    listed = {
        "IndexName": table.listing.name,
        "KeyConditionExpression": f"{table.listing.keys[0].name} = :pk",
        "ExpressionAttributeValues": value,
        "Limit": 1,
    }
    tries: tuple[tuple[str, str, Callable[[], Any]], ...] = (
        ("dynamodb:GetItem", "everyone", lambda: client.get_item(TableName=name, Key=_KEY)),
        (
            "dynamodb:Query",
            "everyone",
            lambda: client.query(
                TableName=name, KeyConditionExpression="pk = :pk", ExpressionAttributeValues=value, Limit=1
            ),
        ),
        ("dynamodb:PutItem", "everyone", lambda: client.put_item(TableName=name, Item=_KEY, **_NEVER)),
        (
            "dynamodb:UpdateItem",
            "everyone",
            lambda: client.update_item(
                TableName=name, Key=_KEY, **update, ExpressionAttributeValues={":s": {"S": ""}}, **_NEVER
            ),
        ),
        ("dynamodb:Query on the index", "operators", lambda: client.query(TableName=name, **listed)),
        ("dynamodb:DeleteItem", "operators (purge)", lambda: client.delete_item(TableName=name, Key=_KEY, **_NEVER)),
    )
    checks = [check for action, whom, attempt in tries if (check := _tried(action, whom, attempt)) is not None]
    return checks or [Check("permissions", "ok", f"{', '.join(action.split(':')[1] for action, _, _ in tries)}")]


def _tried(action: str, whom: str, attempt: Callable[[], Any]) -> Check | None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        attempt()
    except ClientError as error:
        if _code(error) in _DENIED:
            return Check(
                "permissions", "wrong", f"{action} is missing, which {whom} need", _allow(action.split(" ")[0])
            )
        if _code(error) in ("ConditionalCheckFailedException", "ValidationException", "ResourceNotFoundException"):
            return None  # permitted: refused for another reason, which a check of its own tells
        return Check("permissions", "wrong", f"{action} failed: {error}")
    except (BotoCoreError, ValueError) as error:
        return _unreachable(error)
    return None


def _clock(answer: dict[str, Any]) -> Check:
    from email.utils import parsedate_to_datetime

    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if not date:
        return Check("clock", "note", "the server told no time, so it can't be compared")
    ahead = time.time() - parsedate_to_datetime(date).timestamp() - 0.5
    if abs(ahead) <= SKEW_MAX_S:
        return Check("clock", "ok", "within a few seconds of the server's")
    way = "ahead of" if ahead > 0 else "behind"
    told = f"this machine is {abs(ahead):.0f} s {way} the server; leases are told by the server's time, so they hold"
    return Check(
        "clock", "note", told, "Synchronise it (chrony, systemd-timesyncd): signatures fail from 5 minutes on."
    )


def _allow(action: str) -> str:
    return f"Allow {action} on the table (and its index): durably table iam prints the policies."


def _code(error: Any) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code
