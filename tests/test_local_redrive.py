"""An outage mended: executions that failed in the local Lambda are redriven there by the command line, and fork and all go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from durably import SQLiteStore

from .contract import UNTIL
from .test_local_api import Dev


@pytest.fixture
def dev(tmp_path):
    functions = ("plain=local_durable.needs_bank", "messages=local_durable.messages")
    one = Dev(tmp_path, *functions, "--retries", "0")
    yield one
    one.stop()


def operate(dev: Dev, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    store = f"sqlite:///{dev.folder}/folder/durably.db"
    command = [sys.executable, "-m", "durably.cli", *arguments, "--store", store, "--endpoint-url", dev.url]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=50)


def status(dev: Dev, id: str, function: str = "plain") -> str:
    head = SQLiteStore(dev.folder / "folder" / "durably.db").read(f"{function}/{id}", until=UNTIL)
    assert head is not None
    return head.status


def test_an_outage_is_redriven_when_it_is_over(dev) -> None:
    effects, bank = dev.folder / "effects", dev.folder / "bank-is-open"
    for id in ("a", "b"):
        payload = json.dumps({"id": id, "file": str(effects), "bank": str(bank)}).encode()
        assert dev.invoke("plain", payload)["FunctionError"] == "Unhandled"
        assert status(dev, id) == "waiting"
    bank.touch()
    done = operate(dev, "redrive", "--failed", "--since", "1d", "--stuck", "1ms")
    assert done.returncode == 0, done.stderr
    for _ in ("a", "b"):
        dev.until("Succeeds")
    assert [status(dev, id) for id in ("a", "b")] == ["completed", "completed"]
    assert sorted(effects.read_text().split()) == ["charge-a", "charge-b", "order-a", "order-b"]


def test_a_laptop_without_an_aws_account_redrives_too(dev) -> None:
    effects, bank = dev.folder / "effects", dev.folder / "bank-is-open"
    payload = json.dumps({"id": "l", "file": str(effects), "bank": str(bank)}).encode()
    assert dev.invoke("plain", payload)["FunctionError"] == "Unhandled"
    bank.touch()
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = operate(
        dev, "redrive", "plain/l", env={**bare, "HOME": str(dev.folder), "AWS_EC2_METADATA_DISABLED": "true"}
    )
    assert done.returncode == 0, done.stderr
    dev.until("Succeeds")
    assert status(dev, "l") == "completed"


def test_a_fatal_one_is_opened_again(dev) -> None:
    effects, bank = dev.folder / "effects", dev.folder / "bank-is-open"
    payload = json.dumps({"id": "f", "file": str(effects), "bank": str(bank), "fatal": True}).encode()
    assert dev.invoke("plain", payload)["FunctionError"] == "Unhandled"
    assert status(dev, "f") == "failed"
    bank.touch()
    done = operate(dev, "redrive", "plain/f")
    assert done.returncode == 0, done.stderr
    dev.until("Succeeds")
    assert status(dev, "f") == "completed"


def test_a_function_that_the_local_lambda_does_not_have_is_named(dev) -> None:
    payload = json.dumps({"id": "g", "file": str(dev.folder / "effects"), "bank": "/nowhere"}).encode()
    dev.invoke("plain", payload)
    done = operate(dev, "redrive", "plain/g", "--function", "other")
    assert done.returncode == 1
    assert "other" in done.stderr
    assert status(dev, "g") == "waiting"


def test_one_message_of_a_batch_is_redriven_through_its_lambdas_handler(dev) -> None:
    there = dev.folder / "later"
    body = json.dumps({"file": str(there / "effects"), "name": "mailed"})
    batch = {"Records": [{"messageId": "m-1", "eventSource": "aws:sqs", "body": body}]}
    assert "m-1" in dev.invoke("messages", json.dumps(batch).encode())["Payload"].read().decode()
    assert status(dev, "m-1", "message") == "waiting"
    there.mkdir()
    wrong = operate(dev, "redrive", "message/m-1")
    assert wrong.returncode == 1
    assert "--function NAME names another" in wrong.stderr
    done = operate(dev, "redrive", "message/m-1", "--function", "messages")
    assert done.returncode == 0, done.stderr
    dev.until("Succeeds")
    assert status(dev, "m-1", "message") == "completed"
    assert (there / "effects").read_text() == "mailed\n"
