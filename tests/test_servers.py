"""The ground under the DynamoDB tests: what both servers do that the store relies on, and what the fault layer does."""

from __future__ import annotations

import email.utils
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from . import servers
from .servers.faults import FaultProxy

Proxied = tuple[FaultProxy, Any, str]


@pytest.fixture
def client(dynamodb_endpoint: str) -> Any:
    return servers.client(dynamodb_endpoint)


@pytest.fixture
def table(client: Any) -> str:
    """A new table with the keys `pk` and `sk`, and an index on `shard` and `began`."""
    name = f"servers-{uuid.uuid4().hex}"
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
            {"AttributeName": "shard", "AttributeType": "N"},
            {"AttributeName": "began", "AttributeType": "N"},
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "newest",
                "KeySchema": [
                    {"AttributeName": "shard", "KeyType": "HASH"},
                    {"AttributeName": "began", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["status"]},
            }
        ],
    )
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    return name


@pytest.fixture
def proxied(dynamodb_endpoint: str, table: str, fault_proxy: Callable[[str], FaultProxy]) -> Proxied:
    """The fault layer, a client that goes through it and sends everything once, and a table."""
    proxy = fault_proxy(dynamodb_endpoint)
    return proxy, servers.client(proxy.endpoint, read_timeout=5), table


def item(sk: str, **attributes: dict[str, Any]) -> dict[str, Any]:
    return {"pk": {"S": "evt-1"}, "sk": {"S": sk}, **attributes}


def stored(client: Any, table: str, sk: str) -> dict[str, Any] | None:
    return client.get_item(TableName=table, Key=item(sk), ConsistentRead=True).get("Item")


# What both servers do


def test_a_refused_put_answers_with_the_item_that_was_there(client: Any, table: str) -> None:
    there = item("head", owner={"S": "first"}, blob={"B": b"\x00\xff"})
    client.put_item(TableName=table, Item=there)
    with pytest.raises(ClientError) as refused:
        client.put_item(
            TableName=table,
            Item=item("head", owner={"S": "second"}),
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert refused.value.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert refused.value.response["Item"] == there
    assert stored(client, table, "head") == there


def test_a_refused_update_answers_with_the_item_that_was_there(client: Any, table: str) -> None:
    there = item("head", owner={"S": "first"}, attempts={"L": [{"M": {"n": {"N": "1"}}}]})
    client.put_item(TableName=table, Item=there)
    with pytest.raises(ClientError) as refused:
        client.update_item(
            TableName=table,
            Key=item("head"),
            UpdateExpression="SET #owner = :me",
            ConditionExpression="attribute_not_exists(#owner) OR #owner = :me",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":me": {"S": "second"}},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert refused.value.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert refused.value.response["Item"] == there
    assert stored(client, table, "head") == there


@pytest.mark.parametrize(("which", "expected"), [("ALL_NEW", "2"), ("ALL_OLD", "1")])
def test_an_update_answers_with_the_whole_item(client: Any, table: str, which: str, expected: str) -> None:
    client.put_item(TableName=table, Item=item("head", attempt={"N": "1"}, status={"S": "running"}))
    answer = client.update_item(
        TableName=table,
        Key=item("head"),
        UpdateExpression="ADD attempt :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
        ReturnValues=which,
    )
    assert answer["Attributes"] == item("head", attempt={"N": expected}, status={"S": "running"})


def test_an_update_of_nothing_with_all_old_answers_without_attributes(client: Any, table: str) -> None:
    answer = client.update_item(
        TableName=table,
        Key=item("head"),
        UpdateExpression="SET attempt = if_not_exists(attempt, :zero) + :one",
        ExpressionAttributeValues={":zero": {"N": "0"}, ":one": {"N": "1"}},
        ReturnValues="ALL_OLD",
    )
    assert not answer.get("Attributes")
    assert stored(client, table, "head") == item("head", attempt={"N": "1"})


def test_of_many_conditional_puts_at_once_one_wins(client: Any, table: str) -> None:
    def won(owner: int) -> bool:
        try:
            client.put_item(
                TableName=table,
                Item=item("journal#1", owner={"N": str(owner)}),
                ConditionExpression="attribute_not_exists(pk)",
            )
        except client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(won, range(24))) == 1


def test_a_strong_query_pages_at_a_megabyte_in_key_order(client: Any, table: str) -> None:
    for number in (3, 1, 2, 4, 5):
        client.put_item(TableName=table, Item=item(f"journal#{number}", data={"B": os.urandom(300_000)}))
    client.put_item(TableName=table, Item=item("head"))
    start: dict[str, Any] = {}
    names, pages = [], 0
    while True:
        page = client.query(
            TableName=table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :journal)",
            ExpressionAttributeValues={":pk": {"S": "evt-1"}, ":journal": {"S": "journal#"}},
            **start,
        )
        names += [found["sk"]["S"] for found in page["Items"]]
        pages += 1
        if "LastEvaluatedKey" not in page:
            break
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert names == [f"journal#{number}" for number in (1, 2, 3, 4, 5)]
    assert pages == 2


def test_an_item_over_400_kb_is_refused(client: Any, table: str) -> None:
    names_and_keys = len("pk" + "evt-1" + "sk" + "big" + "data")
    client.put_item(TableName=table, Item=item("big", data={"B": bytes(400 * 1024 - names_and_keys)}))
    with pytest.raises(ClientError, match=r"(?i)item size") as refused:
        client.put_item(TableName=table, Item=item("big", data={"B": bytes(400 * 1024 + 1)}))
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_the_table_takes_a_ttl(client: Any, table: str) -> None:
    client.update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"}
    )
    described = client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert described == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}


def test_the_index_lists_what_has_its_keys_newest_first_with_projected_attributes(client: Any, table: str) -> None:
    for began in (1, 3, 2):
        indexed = {"shard": {"N": "0"}, "began": {"N": str(began)}, "status": {"S": "running"}, "event": {"S": "{}"}}
        client.put_item(TableName=table, Item=item(f"head#{began}", **indexed))
    client.put_item(TableName=table, Item=item("journal#1", event={"S": "{}"}))
    found = client.query(
        TableName=table,
        IndexName="newest",
        ScanIndexForward=False,
        KeyConditionExpression="#shard = :shard",
        ExpressionAttributeNames={"#shard": "shard"},
        ExpressionAttributeValues={":shard": {"N": "0"}},
    )["Items"]
    assert [row["began"]["N"] for row in found] == ["3", "2", "1"]
    assert set(found[0]) == {"pk", "sk", "shard", "began", "status"}


def test_a_table_that_is_not_there_is_its_own_error(client: Any) -> None:
    with pytest.raises(ClientError) as refused:
        client.put_item(TableName="nowhere", Item=item("head"))
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_an_item_without_the_tables_keys_is_refused(client: Any, table: str) -> None:
    with pytest.raises(ClientError) as refused:
        client.put_item(TableName=table, Item={"id": {"S": "evt-1"}})
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_answers_carry_the_date(client: Any, table: str) -> None:
    headers = client.get_item(TableName=table, Key=item("head"))["ResponseMetadata"]["HTTPHeaders"]
    assert abs(email.utils.parsedate_to_datetime(headers["date"]).timestamp() - time.time()) < 5


# What the fault layer does


def test_requests_pass_and_are_counted_with_their_bodies(proxied: Proxied) -> None:
    proxy, client, table = proxied
    client.put_item(TableName=table, Item=item("head", result={"S": "x" * 1000}))
    client.get_item(TableName=table, Key=item("head"))
    assert [request.operation for request in proxy.requests] == ["PutItem", "GetItem"]
    assert (proxy.count("PutItem"), proxy.count("GetItem", "PutItem"), proxy.count()) == (1, 2, 2)
    put, get = proxy.requests
    assert put.body["Item"]["result"]["S"] == "x" * 1000
    assert put.bytes_in > 1000 > put.bytes_out
    assert get.bytes_out > 1000 > get.bytes_in
    proxy.reset()
    assert proxy.count() == 0


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded"]
)
def test_a_throttled_request_takes_no_effect_and_boto3_knows_it_for_one(proxied: Proxied, code: str) -> None:
    proxy, client, table = proxied
    proxy.on("PutItem").throttle(code)
    with pytest.raises(ClientError) as throttled:
        client.put_item(TableName=table, Item=item("head"))
    assert throttled.value.response["Error"]["Code"] == code
    assert throttled.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert stored(client, table, "head") is None
    client.put_item(TableName=table, Item=item("head"))


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("after", [False, True])
def test_a_server_error_comes_before_or_after_the_effect(proxied: Proxied, status: int, after: bool) -> None:
    proxy, client, table = proxied
    proxy.on("PutItem").server_error(status, after=after)
    with pytest.raises(ClientError) as failed:
        client.put_item(TableName=table, Item=item("head"))
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert (stored(client, table, "head") is not None) == after


def test_a_refusal_has_the_code_the_test_asks_for(proxied: Proxied) -> None:
    proxy, client, table = proxied
    proxy.on().refuse("AccessDeniedException", "not authorized to perform: dynamodb:PutItem")
    with pytest.raises(ClientError, match="not authorized") as refused:
        client.put_item(TableName=table, Item=item("head"))
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"


def test_a_connection_cut_before_leaves_no_effect(proxied: Proxied) -> None:
    proxy, client, table = proxied
    proxy.on("PutItem").cut_before()
    with pytest.raises(ConnectionClosedError):
        client.put_item(TableName=table, Item=item("head"))
    assert stored(client, table, "head") is None


def test_a_connection_cut_after_leaves_the_effect(proxied: Proxied) -> None:
    proxy, client, table = proxied
    proxy.on("PutItem").cut_after()
    with pytest.raises(ConnectionClosedError):
        client.put_item(TableName=table, Item=item("head"))
    assert stored(client, table, "head") is not None


def test_botocores_own_retry_after_a_cut_meets_what_the_first_try_wrote(proxied: Proxied) -> None:
    proxy, _, table = proxied
    client = servers.client(proxy.endpoint, retries={"total_max_attempts": 2, "mode": "standard"})
    proxy.on("PutItem").cut_after()
    with pytest.raises(client.exceptions.ConditionalCheckFailedException) as refused:
        client.put_item(
            TableName=table,
            Item=item("journal#1", owner={"S": "me"}),
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert refused.value.response["Item"]["owner"] == {"S": "me"}
    assert proxy.count("PutItem") == 2


def test_a_slow_request_takes_effect_though_the_client_gave_up(proxied: Proxied) -> None:
    proxy, _, table = proxied
    client = servers.client(proxy.endpoint, read_timeout=0.2)
    slow = proxy.on("PutItem").slow(30)
    with pytest.raises(ReadTimeoutError):
        client.put_item(TableName=table, Item=item("head"))
    assert stored(client, table, "head") is None
    slow.release()
    proxy.settle()
    assert stored(client, table, "head") is not None


@pytest.mark.parametrize("after", [False, True])
def test_a_held_request_waits_for_its_release(proxied: Proxied, after: bool) -> None:
    proxy, client, table = proxied
    held = proxy.on("PutItem").hold(after=after)
    putting = threading.Thread(target=client.put_item, kwargs={"TableName": table, "Item": item("head")})
    putting.start()
    held.wait_arrived()
    assert (stored(client, table, "head") is not None) == after
    held.release()
    putting.join(timeout=5)
    assert not putting.is_alive()
    assert stored(client, table, "head") is not None


def test_the_date_of_an_answer_is_skewed_or_dropped(proxied: Proxied) -> None:
    proxy, client, table = proxied

    def date() -> str | None:
        answer = client.get_item(TableName=table, Key=item("head"))
        return answer["ResponseMetadata"]["HTTPHeaders"].get("date")

    proxy.on("GetItem").skew(-3600)
    skewed = date()
    assert skewed is not None
    assert abs(email.utils.parsedate_to_datetime(skewed).timestamp() + 3600 - time.time()) < 5
    proxy.on("GetItem").drop_date()
    assert date() is None
    assert date() is not None


def test_a_rule_serves_only_what_it_matches_and_only_so_often(proxied: Proxied) -> None:
    proxy, client, table = proxied
    rule = proxy.on("PutItem", times=2, when=lambda body: body["Item"]["sk"]["S"].startswith("journal#")).cut_before()
    client.put_item(TableName=table, Item=item("head"))
    for _ in range(2):
        with pytest.raises(ConnectionClosedError):
            client.put_item(TableName=table, Item=item("journal#1"))
    client.put_item(TableName=table, Item=item("journal#1"))
    assert rule.served == 2


# How servers come and go


def test_servers_listen_on_the_loopback_address_alone(dynamodb_endpoint: str) -> None:
    port = dynamodb_endpoint.rpartition(":")[2]
    listening = subprocess.run(["ss", "-ltnH", f"sport = :{port}"], capture_output=True, text=True, check=False)
    if listening.returncode != 0 or not listening.stdout:
        pytest.skip("no `ss` here to look with")
    assert "127.0.0.1" in listening.stdout.split()[3]


def test_a_server_ends_when_its_parent_is_killed() -> None:
    """The parent is killed outright, so nothing of ours runs: the end of its standard input is all the server gets."""
    parent = "import time; from tests.servers import start; s = start('ministack'); print(s.process.pid, flush=True)"
    try:
        servers.command("ministack", 0)
    except servers.Unavailable as missing:
        pytest.skip(str(missing))
    process = subprocess.Popen(
        [sys.executable, "-c", f"{parent}; time.sleep(60)"], stdout=subprocess.PIPE, cwd=servers.TOOLS.parent
    )
    with process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        process.kill()
    until = time.monotonic() + 10
    while is_running(server) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_running(server)


def is_running(pid: int) -> bool:
    """Neither gone nor a zombie that nobody has reaped yet."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(shown.strip()) and not shown.startswith("Z")


def test_a_missing_server_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(servers, "TOOLS", tmp_path)
    with pytest.raises(servers.Unavailable, match="make servers"):
        servers.start("ministack")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(servers.Unavailable, match="needs Java"):
        servers.start("dynamodb-local")
