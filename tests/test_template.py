"""The code reviewer's SAM template: what it says of the table, the roles and the functions is what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cfnlint")

from durably import NOT_DONE, DynamoDBStore, ExecutionInProgress, durable, step
from durably.infra.description import describe
from durably.infra.policies import FUNCTION_ACTIONS
from durably.stores.dynamodb.table import table_definition
from examples.code_reviewer import calls, reviewer, webhook

from .clocks import FakeClock
from .servers import client

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "code_reviewer"
TEMPLATE = EXAMPLE / "template.yaml"


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    from cfnlint.decode import cfn_yaml

    loaded: dict[str, Any] = cfn_yaml.load(str(TEMPLATE))["Resources"]
    return loaded


def statements(resources: dict[str, Any], function: str) -> dict[str, Any]:
    (policy,) = resources[function]["Properties"]["Policies"]
    return {one["Sid"]: one for one in policy["Statement"]}


def test_cfn_lint_has_nothing_to_say() -> None:
    lint = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--include-checks", "I", "--", TEMPLATE],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (lint.returncode, lint.stdout) == (0, "")


def test_the_table_is_the_one_that_the_store_makes(resources: dict[str, Any]) -> None:
    said = resources["Journal"]["Properties"]
    made = table_definition()
    assert {name: said[name] for name in made} == made
    assert said["TimeToLiveSpecification"] == {"AttributeName": describe("x").ttl, "Enabled": True}
    assert "LocalSecondaryIndexes" not in said
    assert resources["Journal"]["DeletionPolicy"] == resources["Journal"]["UpdateReplacePolicy"] == "Retain"


def test_the_reviewer_may_do_with_its_journal_what_a_function_needs_and_no_more(resources: dict[str, Any]) -> None:
    said = statements(resources, "Reviewer")["DurablyJournal"]
    assert sorted(said["Action"]) == sorted(FUNCTION_ACTIONS)
    assert said["Resource"] == {"Fn::GetAtt": ["Journal", "Arn"]}, "the table, and not its index"


def test_what_a_function_needs_is_what_its_store_calls(dynamodb_endpoint: str, resources: dict[str, Any]) -> None:
    """Runs, failures, a takeover, recover, large events and results, a duplicate that waits: each call as boto3 sees it go out."""
    clock, boto = FakeClock(), client(dynamodb_endpoint)
    name = f"template-{uuid.uuid4().hex[:8]}"
    DynamoDBStore(name, client=boto).create_table()
    called: set[str] = set()
    boto.meta.events.register("before-call.dynamodb.*", lambda model, **_: called.add(f"dynamodb:{model.name}"))
    store = DynamoDBStore(name, client=boto, clock=clock)
    large = uuid.uuid4().hex.join(uuid.uuid4().hex for _ in range(20_000))
    dies = [KeyboardInterrupt, ValueError]

    def duplicate() -> None:
        with pytest.raises(ExecutionInProgress):
            handler(event, None)

    @durable(store=store, name="f", id=lambda event, context: event["id"], wait=timedelta(seconds=2))
    def handler(event: Any, context: Any) -> Any:
        step("small", duplicate, recover=lambda: NOT_DONE)
        step("large", lambda: large)
        if dies:
            clock.advance(60)
            raise dies.pop()
        return large

    event = {"id": "evt-1", "large": large}
    for death in (ValueError, KeyboardInterrupt):
        with pytest.raises(death):
            handler(event, None)
    assert handler(event, None) == handler(event, None) == large
    assert called == set(statements(resources, "Reviewer")["DurablyJournal"]["Action"])


def test_nothing_is_allowed_on_everything(resources: dict[str, Any]) -> None:
    for function in ("Webhook", "Reviewer"):
        for said in statements(resources, function).values():
            actions = [said["Action"]] if isinstance(said["Action"], str) else said["Action"]
            assert not any("*" in action for action in actions)
            assert "*" not in str(said["Resource"])


def test_no_secret_stands_in_the_environment(resources: dict[str, Any]) -> None:
    for function, secrets in (("Webhook", ["GITHUB_WEBHOOK_SECRET"]), ("Reviewer", ["GITHUB_TOKEN"])):
        variables = resources[function]["Properties"]["Environment"]["Variables"]
        for secret in secrets:
            assert f"{secret}_ARN" in variables
            assert secret not in variables
        allowed = statements(resources, function)["Secrets"]
        assert allowed["Action"] == "secretsmanager:GetSecretValue"
        assert allowed["Resource"] in [variables[f"{secret}_ARN"] for secret in secrets]


def test_every_variable_is_one_that_the_code_reads(resources: dict[str, Any]) -> None:
    modules = "".join(path.read_text() for path in EXAMPLE.glob("*.py"))
    read = set(re.findall(r"environ(?:\.get)?[\[(]\"(\w+)\"", modules)) | {"DURABLY_STORE"}
    read |= {f"{name}_ARN" for name in re.findall(r"secret\(['\"](\w+)['\"]\)", modules)}
    for function in ("Webhook", "Reviewer"):
        assert set(resources[function]["Properties"]["Environment"]["Variables"]) <= read


@pytest.mark.parametrize("function", ["Webhook", "Reviewer"])
def test_the_handler_is_found_in_what_is_packed(function: str, resources: dict[str, Any]) -> None:
    module, _, name = resources[function]["Properties"]["Handler"].rpartition(".")
    code = f"import sys; sys.path[:0] = ['src', 'examples']\nfrom {module} import {name}\nassert 'examples' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert {"durably", "httpx"} <= set((EXAMPLE.parent / "requirements.txt").read_text().split())


def test_the_rule_takes_what_the_webhook_puts(resources: dict[str, Any]) -> None:
    rule = resources["Reviewer"]["Properties"]["Events"]["PullRequestChanged"]["Properties"]
    assert rule["Pattern"] == {"source": [f"{webhook.DOMAIN}.{webhook.SERVICE}"], "detail-type": [webhook.TYPE]}
    assert rule["EventBusName"] == resources["Webhook"]["Properties"]["Environment"]["Variables"]["EVENT_BUS"]


def test_a_client_gives_up_before_the_lease_ends_and_the_lease_before_lambdas_retry(resources: dict[str, Any]) -> None:
    timeout_s = resources["Reviewer"]["Properties"]["Timeout"]
    assert calls.TIMEOUT.total_seconds() < reviewer.LEASE.total_seconds() < 60 < timeout_s <= 900


def test_what_fails_is_kept(resources: dict[str, Any]) -> None:
    invoked = resources["Reviewer"]["Properties"]["EventInvokeConfig"]
    queue = {"Fn::GetAtt": ["Failed", "Arn"]}
    assert invoked["DestinationConfig"]["OnFailure"] == {"Type": "SQS", "Destination": queue}
    assert statements(resources, "Reviewer")["OnFailure"]["Resource"] == queue
    assert invoked["MaximumRetryAttempts"] == 2
