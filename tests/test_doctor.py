"""`durably doctor` finds each thing that can be wrong, names it, and says what to do; it changes nothing."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from durably import DynamoDBStore, SQLiteStore, execution, step
from durably.infra.checks import Check, check_function, check_table
from durably.infra.description import describe
from durably.infra.sqlite_checks import check_file
from durably.stores.dynamodb.table import table_definition

from .servers import AWS_ENVIRONMENT, client, session
from .servers.faults import FaultProxy

DURABLY = str(Path(sys.executable).with_name("durably"))


@pytest.fixture
def table(dynamodb_endpoint: str) -> Iterator[tuple[str, str]]:
    """A table as it should be, and its endpoint."""
    name = f"doctor-{uuid.uuid4().hex[:8]}"
    DynamoDBStore(name, client=client(dynamodb_endpoint)).create_table()
    yield name, dynamodb_endpoint
    client(dynamodb_endpoint).delete_table(TableName=name)


def wrong(checks: list[Check]) -> dict[str, Check]:
    return {check.what: check for check in checks if check.state != "ok"}


def test_a_table_as_it_should_be_has_nothing_wrong_and_stays_as_it_is(table: tuple[str, str]) -> None:
    name, endpoint = table
    checks = check_table(client(endpoint), describe(name))
    assert wrong(checks) == {}
    assert [check.what for check in checks] == ["table", "keys", "index", "TTL", "permissions", "clock"]
    assert client(endpoint).scan(TableName=name)["Items"] == []


def made(endpoint: str, **changed: Any) -> str:
    name = f"doctor-{uuid.uuid4().hex[:8]}"
    client(endpoint).create_table(TableName=name, **(table_definition() | changed))
    return name


def test_a_missing_table_is_told_with_how_to_make_it(dynamodb_local: str) -> None:
    (check,) = check_table(client(dynamodb_local), describe("no-such-table"))
    assert (check.what, check.state) == ("table", "wrong")
    assert "no table no-such-table" in check.told
    assert "durably table create" in check.fix


def test_other_keys_are_told(dynamodb_local: str) -> None:
    definition = table_definition()
    schema = [{"AttributeName": "pk", "KeyType": "HASH"}]
    types = [one for one in definition["AttributeDefinitions"] if one["AttributeName"] != "sk"]
    name = made(dynamodb_local, KeySchema=schema, AttributeDefinitions=types)
    check = wrong(check_table(client(dynamodb_local), describe(name)))["keys"]
    assert check.told == "they are pk (S, HASH), and must be pk (S, HASH), sk (S, RANGE)"
    client(dynamodb_local).delete_table(TableName=name)


@pytest.mark.parametrize("fault", ["none", "another name", "other keys", "too little"])
def test_an_index_that_can_not_list_is_told(dynamodb_local: str, fault: str) -> None:
    definition = table_definition()
    (index,) = definition["GlobalSecondaryIndexes"]
    if fault == "another name":
        index["IndexName"] = "other"
    elif fault == "other keys":
        index["KeySchema"][1]["AttributeName"] = "sk"
    elif fault == "too little":
        index["Projection"]["NonKeyAttributes"] = ["status"]
    if fault in ("none", "other keys"):
        used = {"pk", "sk", "shard"} if fault == "other keys" else {"pk", "sk"}
        definition["AttributeDefinitions"] = [
            one for one in definition["AttributeDefinitions"] if one["AttributeName"] in used
        ]
    if fault == "none":
        del definition["GlobalSecondaryIndexes"]
    name = f"doctor-{uuid.uuid4().hex[:8]}"
    client(dynamodb_local).create_table(TableName=name, **definition)
    check = wrong(check_table(client(dynamodb_local), describe(name)))["index"]
    told = {
        "none": "no index executions",
        "another name": "no index executions",
        "other keys": "shard (S, HASH), sk (S, RANGE)",
        "too little": "does not project attempt, expires_at, function, generation, updated",
    }
    assert check.state == "wrong"
    assert told[fault] in check.told
    client(dynamodb_local).delete_table(TableName=name)


@pytest.mark.parametrize("attribute", [None, "ttl"])
def test_a_ttl_that_is_off_or_on_another_attribute_is_told_with_the_command(
    dynamodb_local: str, attribute: str | None
) -> None:
    name = made(dynamodb_local)
    if attribute:
        specification = {"Enabled": True, "AttributeName": attribute}
        client(dynamodb_local).update_time_to_live(TableName=name, TimeToLiveSpecification=specification)
    check = wrong(check_table(client(dynamodb_local), describe(name)))["TTL"]
    assert check.state == "wrong"
    assert ("it is off" if attribute is None else "it is on ttl") in check.told
    assert f"update-time-to-live --table-name {name}" in check.fix
    client(dynamodb_local).delete_table(TableName=name)


@pytest.mark.parametrize("operation", ["GetItem", "PutItem", "Query", "UpdateItem", "DeleteItem"])
def test_a_missing_permission_is_named(
    table: tuple[str, str], fault_proxy: Callable[[str], FaultProxy], operation: str
) -> None:
    proxy = fault_proxy(table[1])
    proxy.on(operation, times=None).refuse("AccessDeniedException", "is not authorized")
    checks = [check for check in check_table(client(proxy.endpoint), describe(table[0])) if check.state != "ok"]
    assert {check.what for check in checks} == {"permissions"}
    assert all(f"dynamodb:{operation}" in check.told and "is missing" in check.told for check in checks)
    assert len(checks) == (2 if operation == "Query" else 1)
    assert all(check.fix.startswith(f"Allow dynamodb:{operation} on the table") for check in checks)


def test_who_may_not_describe_is_told_and_the_rest_is_tried_all_the_same(
    table: tuple[str, str], fault_proxy: Callable[[str], FaultProxy]
) -> None:
    proxy = fault_proxy(table[1])
    proxy.on("DescribeTable", times=None).refuse("AccessDeniedException")
    checks = check_table(client(proxy.endpoint), describe(table[0]))
    assert [(check.what, check.state) for check in checks] == [("table", "wrong"), ("permissions", "ok")]
    assert "dynamodb:DescribeTable is missing" in checks[0].told
    proxy.reset()
    proxy.on("DescribeTimeToLive", times=None).refuse("AccessDeniedException")
    (note,) = wrong(check_table(client(proxy.endpoint), describe(table[0]))).values()
    assert (note.what, note.state) == ("TTL", "note")


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_is_off_is_told(
    table: tuple[str, str], fault_proxy: Callable[[str], FaultProxy], seconds: int
) -> None:
    proxy = fault_proxy(table[1])
    proxy.on("DescribeTable", times=None).skew(seconds)
    note = wrong(check_table(client(proxy.endpoint), describe(table[0])))["clock"]
    assert note.state == "note"
    assert ("behind" if seconds > 0 else "ahead of") in note.told


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (204, "", "orders may be invoked"),
        (403, "AccessDeniedException", "lambda:InvokeFunction on orders is missing"),
        (404, "ResourceNotFoundException", "orders can't be invoked"),
    ],
)
def test_whether_a_function_may_be_invoked_is_told_by_lambdas_dry_run(status: int, kind: str, told: str) -> None:
    class DryRuns(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert (self.path, self.headers["X-Amz-Invocation-Type"]) == (
                "/2015-03-31/functions/orders/invocations",
                "DryRun",
            )
            self.send_response(status)
            self.send_header("x-amzn-ErrorType", kind)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), DryRuns)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    boto_client = session().client("lambda", endpoint_url=f"http://127.0.0.1:{server.server_address[1]}")
    check = check_function(boto_client, "orders")
    boto_client.close()
    thread.join()
    server.server_close()
    assert check.told.startswith(told)
    assert check.state == ("ok" if status == 204 else "wrong")


# ---- a file


def test_a_whole_file_has_nothing_wrong(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "d.db")
    store.read("x", until=1e12)
    checks = check_file(store.path)
    assert wrong(checks) == {}
    assert "whole, 0 executions, journal mode wal" in checks[1].told


def test_a_file_that_is_missing_or_none_of_ours_is_told(tmp_path: Path) -> None:
    assert wrong(check_file(tmp_path / "none.db"))["file"].told.startswith("there is no")
    text = tmp_path / "text.db"
    text.write_text("not a database, and long enough to be taken for one" * 100)
    assert "not a database" in wrong(check_file(text))["database"].told
    empty = tmp_path / "empty.db"
    empty.touch()
    assert "no durably store" in wrong(check_file(empty))["database"].told


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "d.db")
    for number in range(30):
        with execution(f"e{number}", store=store):
            step("s", lambda: "x" * 3000)
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store._connection.close()
    store._connection = None
    raw = bytearray(store.path.read_bytes())
    raw[8192:40_000] = b"\xff" * (40_000 - 8192)
    store.path.write_bytes(raw)
    assert "database" in wrong(check_file(store.path))


# ---- the command


def run(*arguments: str, endpoint: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**AWS_ENVIRONMENT, "PATH": "/usr/bin:/bin", "AWS_ENDPOINT_URL_DYNAMODB": endpoint} | environment
    kept = {name: value for name, value in given.items() if value}
    return subprocess.run(
        [DURABLY, "doctor", *arguments], env=kept, capture_output=True, text=True, timeout=50, stdin=subprocess.DEVNULL
    )


def test_the_command_says_one_line_each_and_its_exit_code(table: tuple[str, str]) -> None:
    name, endpoint = table
    good = run("--store", f"dynamodb://{name}", endpoint=endpoint)
    assert (good.returncode, good.stderr) == (0, "")
    assert [line.split()[:2] for line in good.stdout.splitlines()] == [
        ["ok", what] for what in ("table", "keys", "index", "TTL", "permissions", "clock")
    ]
    bad = run("--store", "dynamodb://no-such-table", endpoint=endpoint)
    assert bad.returncode == 1
    assert bad.stdout.startswith("wrong  table")
    assert "→ Make it (durably table create)" in bad.stdout
    told = json.loads(run("--store", f"dynamodb://{name}", "--json", endpoint=endpoint).stdout)
    assert {check["state"] for check in told["checks"]} == {"ok"}
    assert set(told["checks"][0]) == {"what", "state", "told", "fix"}


def test_no_region_no_credentials_and_no_network_are_told_in_a_line_each(tmp_path: Path) -> None:
    store = ("--store", "dynamodb://t")
    nowhere = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    no_region = run(*store, AWS_DEFAULT_REGION="", **nowhere)
    assert (no_region.returncode, "AWS_DEFAULT_REGION" in no_region.stdout) == (1, True)
    no_key = run(*store, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", endpoint="http://127.0.0.1:9", **nowhere)
    assert (no_key.returncode, "AWS_PROFILE" in no_key.stdout) == (1, True)
    began = time.monotonic()
    no_network = run(*store, endpoint="http://127.0.0.1:9", **nowhere)
    assert (no_network.returncode, "wrong  access" in no_network.stdout) == (1, True)
    assert "gateway endpoint" in no_network.stdout
    assert time.monotonic() - began < 20


def test_the_table_that_the_command_makes_is_right(dynamodb_local: str) -> None:
    name = f"doctor-{uuid.uuid4().hex[:8]}"
    environment = {**AWS_ENVIRONMENT, "AWS_ENDPOINT_URL_DYNAMODB": dynamodb_local, "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        make = subprocess.run(
            [DURABLY, "table", "create", "--store", f"dynamodb://{name}"],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (make.returncode, make.stdout) == (0, f"table {name} is there, with its index and TTL\n"), make.stderr
    assert run("--store", f"dynamodb://{name}", endpoint=dynamodb_local).returncode == 0
    client(dynamodb_local).delete_table(TableName=name)
