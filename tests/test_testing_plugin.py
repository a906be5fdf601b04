"""The pytest plugin, in pytest runs of its own, and the example that users copy."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durably import DynamoDBStore, durable, fan_out, step
from durably.testing import LambdaContext, ManualClock

from .servers import client

ROOT = Path(__file__).resolve().parents[1]


def pytest_run(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DURABLY_"))}
    return subprocess.run(
        command, cwd=folder, env=environ | environment, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_example_that_users_copy_passes() -> None:
    run = pytest_run("examples/testing")
    assert run.returncode == 0, run.stdout
    assert "5 passed" in run.stdout


@pytest.mark.parametrize("told_by", ["option", "environment"])
def test_the_example_runs_on_a_table_and_leaves_nothing_in_it(dynamodb_local: str, told_by: str) -> None:
    table, boto_client = f"remocal-{uuid.uuid4().hex[:8]}", client(dynamodb_local)
    DynamoDBStore(table, client=boto_client).create_table()
    url, endpoint = f"dynamodb://{table}", {"AWS_ENDPOINT_URL_DYNAMODB": dynamodb_local}
    on_the_table = "test_an_order or test_a_retry or test_what_the_deadline"
    if told_by == "option":
        run = pytest_run("examples/testing", "-k", on_the_table, "--durably-store", url, **endpoint)
    else:
        run = pytest_run("examples/testing", "-k", on_the_table, **endpoint, DURABLY_TEST_STORE=url)
    assert run.returncode == 0, run.stdout
    assert "3 passed" in run.stdout
    assert boto_client.scan(TableName=table)["Items"] == []


def test_the_example_would_fail_without_its_recover(tmp_path: Path) -> None:
    """The file that users copy can fail: the fault planted, it names the step."""
    for name in ("__init__.py", "order.py", "test_order.py"):
        text = (ROOT / "examples" / "testing" / name).read_text()
        (tmp_path / "shop").mkdir(exist_ok=True)
        (tmp_path / "shop" / name).write_text(text.replace(', recover=partial(find_charge, order["id"])', ""))
    run = pytest_run("shop", "-k", "crash", folder=tmp_path)
    assert run.returncode == 1
    assert "charge did not happen exactly once" in run.stdout
    assert "charge, in step charge: recover=" in run.stdout


def test_loading_the_plugin_costs_a_run_without_durably_nothing_but_the_library() -> None:
    code = (
        "import sys, durably, pytest; before = set(sys.modules); import durably.testing.plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= {"durably.testing", "durably.testing.plugin", "uuid", "_uuid", "platform"}


@durable(id=lambda event, context: event["id"], name="plugin", store="dynamodb://not-this-one")
def handler(event: Any, context: Any) -> list[int]:
    step("first", lambda: 1)
    return fan_out("item", lambda n: n, [1, 2])


def test_every_store_is_the_tests_own(durably_store: Any, lambda_context: Any) -> None:
    assert handler({"id": "1"}, lambda_context()) == [1, 2]
    [head] = durably_store.newest(10, until=durably_store.clock.monotonic() + 5)
    assert head.id == f"{os.environ['DURABLY_NAMESPACE']}/plugin/1"
    assert os.environ["DURABLY_STORE"] == f"sqlite:///{durably_store.path}"


def test_every_test_begins_with_an_empty_store(durably_store: Any) -> None:
    assert durably_store.newest(10, until=durably_store.clock.monotonic() + 5) == []


def test_times_run_counts_calls_and_no_replays(durably_store: Any, times_run: Any) -> None:
    assert times_run("first") == 0
    handler({"id": "1"}, None)
    handler({"id": "1"}, None)
    handler({"id": "2"}, None)
    assert (times_run("first"), times_run("item[1]"), times_run("item[3]")) == (2, 2, 0)


def test_times_run_counts_from_the_tests_beginning(times_run: Any) -> None:
    assert times_run("first") == 0


def test_a_context_has_what_lambda_gives(lambda_context: Any) -> None:
    clock = ManualClock()
    context = lambda_context(timeout=timedelta(seconds=3), request_id="r-1", name="reviewer", clock=clock)
    assert isinstance(context, LambdaContext)
    assert context.get_remaining_time_in_millis() == 3000
    clock.advance(2.5)
    assert context.get_remaining_time_in_millis() == 500
    clock.advance(60)
    assert context.get_remaining_time_in_millis() == 0
    assert (context.aws_request_id, context.function_name) == ("r-1", "reviewer")
    assert context.invoked_function_arn.endswith(":function:reviewer")
    assert lambda_context().aws_request_id != lambda_context().aws_request_id
