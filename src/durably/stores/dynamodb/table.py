"""Making the table, for laptops and tests. In production it is made by your own infrastructure code."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ...errors import StoreError
from .calls import Calls, no_boto3
from .listing import INDEX, PROJECTED


def table_definition() -> dict[str, Any]:
    """The parameters of CreateTable, without the name. No local index: it would bind an execution's size to 10 GB."""
    texts = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "shard")]
    return {
        "AttributeDefinitions": [*texts, {"AttributeName": "began", "AttributeType": "N"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "BillingMode": "PAY_PER_REQUEST",
        "GlobalSecondaryIndexes": [
            {
                "IndexName": INDEX,
                "KeySchema": [
                    {"AttributeName": "shard", "KeyType": "HASH"},
                    {"AttributeName": "began", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(PROJECTED)},
            }
        ],
    }


def create_table(calls: Calls) -> None:
    """Create the table and switch its TTL on, unless both are there already."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise no_boto3() from error
    try:
        client = calls.client()
        with suppress(client.exceptions.ResourceInUseException):
            client.create_table(TableName=calls.table, **table_definition())
        client.get_waiter("table_exists").wait(TableName=calls.table, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        ttl = client.describe_time_to_live(TableName=calls.table)["TimeToLiveDescription"]
        if ttl["TimeToLiveStatus"] == "DISABLED":
            specification = {"Enabled": True, "AttributeName": "expires_at"}
            client.update_time_to_live(TableName=calls.table, TimeToLiveSpecification=specification)
    except (BotoCoreError, ClientError) as error:
        raise StoreError(f"could not create the DynamoDB table {calls.table!r}: {error}") from error
