"""The table's texts: what each says is the table that `create_table` makes, and each is what its tool takes."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from click.testing import CliRunner

from durably import DynamoDBStore, durable, step
from durably.cli.table import table
from durably.infra.cdk import cdk
from durably.infra.cloudformation import cloudformation
from durably.infra.description import describe
from durably.infra.policies import FUNCTION_ACTIONS, OPERATOR_ACTIONS, policy
from durably.infra.terraform import terraform
from durably.stores.dynamodb.table import table_definition

from .servers import client
from .servers.faults import FaultProxy

TABLE = describe("orders-journal")


def template() -> dict[str, Any]:
    """The CloudFormation text as cfn-lint reads it."""
    from cfnlint.decode import cfn_yaml

    loaded: dict[str, Any] = cfn_yaml.loads(cloudformation(TABLE))
    return loaded


def test_cfn_lint_has_nothing_to_say_of_the_template(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(cloudformation(TABLE))
    lint = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--include-checks", "I", "--", str(path)],
        capture_output=True,
        text=True,
    )
    assert (lint.returncode, lint.stdout) == (0, "")


@pytest.mark.parametrize("name", ["0123", "1e5", "true", "no"])
def test_a_name_that_yaml_would_take_for_something_else_stays_a_text(name: str) -> None:
    from cfnlint.decode import cfn_yaml

    loaded = cfn_yaml.loads(cloudformation(describe(name)))
    assert loaded["Resources"]["DurablyTable"]["Properties"]["TableName"] == name


@pytest.mark.parametrize("form", ["cloudformation", "terraform", "cdk", "iam"])
@pytest.mark.parametrize("name", ['a"\nb', "${x}", "t", "é-table", "", "x" * 256])
def test_no_code_is_printed_for_what_is_no_tables_name(form: str, name: str) -> None:
    done = CliRunner().invoke(table, [form, "--name", name])
    assert done.exit_code == 2
    assert "is no table's name" in done.output


def test_a_template_made_from_it_makes_the_table_that_create_table_makes(dynamodb_local: str) -> None:
    properties = json.loads(json.dumps(template()["Resources"]["DurablyTable"]["Properties"]))
    name = f"infra-{uuid.uuid4().hex[:8]}"
    made = {key: properties[key] for key in table_definition()}
    client(dynamodb_local).create_table(TableName=name, **made)
    DynamoDBStore(f"{name}-own", client=client(dynamodb_local)).create_table()
    ours, theirs = (client(dynamodb_local).describe_table(TableName=one)["Table"] for one in (f"{name}-own", name))
    for key in ("AttributeDefinitions", "KeySchema"):
        assert sorted(map(str, ours[key])) == sorted(map(str, theirs[key]))
    for key in ("IndexName", "KeySchema", "Projection"):
        assert str(ours["GlobalSecondaryIndexes"][0][key]) == str(theirs["GlobalSecondaryIndexes"][0][key])
    assert properties["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert properties["TableName"] == "orders-journal"
    for one in (name, f"{name}-own"):
        client(dynamodb_local).delete_table(TableName=one)


def test_the_templates_policies_are_those_that_iam_prints() -> None:
    resources = json.loads(json.dumps(template()["Resources"]))
    for resource, whose in (("DurablyFunctionPolicy", "function"), ("DurablyOperatorPolicy", "operator")):
        statements = resources[resource]["Properties"]["PolicyDocument"]["Statement"]
        printed = policy(TABLE, whose)["Statement"]
        assert [one["Sid"] for one in statements] == [one["Sid"] for one in printed]
        actions = [[one["Action"]] if isinstance(one["Action"], str) else one["Action"] for one in statements]
        assert actions == [one["Action"] for one in printed]


def test_terraform_formats_nothing_in_its_text() -> None:
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    run = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", "-"], input=terraform(TABLE), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_terraform_text_says_the_table() -> None:
    text = terraform(TABLE)
    definition = table_definition()
    found = dict(re.findall(r'attribute \{\s+name = "(\w+)"\s+type = "(\w)"', text))
    assert found == {one["AttributeName"]: one["AttributeType"] for one in definition["AttributeDefinitions"]}
    roles = dict(re.findall(r'^\s+(hash_key|range_key)\s+= "(\w+)"', text.partition("global_secondary_index")[0], re.M))
    assert roles == {"hash_key": "pk", "range_key": "sk"}
    (index,) = definition["GlobalSecondaryIndexes"]
    listed = re.search(r"non_key_attributes = (\[.*\])", text)
    assert listed is not None
    assert json.loads(listed[1]) == index["Projection"]["NonKeyAttributes"]
    assert re.search(r'ttl \{\s+attribute_name = "expires_at"\s+enabled\s+= true', text)


def test_the_cdk_text_is_python_that_says_the_table(tmp_path: Path) -> None:
    tree = ast.parse(cdk(TABLE))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    definition = table_definition()
    (index,) = definition["GlobalSecondaryIndexes"]
    assert {one["AttributeName"] for one in definition["AttributeDefinitions"]} <= texts
    assert {*index["Projection"]["NonKeyAttributes"], index["IndexName"], "expires_at", "orders-journal"} <= texts
    assert set(FUNCTION_ACTIONS) | set(OPERATOR_ACTIONS) <= texts
    path = tmp_path / "table.py"
    path.write_text(cdk(TABLE))
    ruff = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "132", str(path)], capture_output=True
    )
    assert ruff.returncode == 0, ruff.stdout.decode()


def test_the_cdk_construct_synthesises_where_cdk_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("aws_cdk")
    (tmp_path / "durably_table.py").write_text(cdk(TABLE))
    program = (
        "import json; from aws_cdk import App, Stack, assertions; from durably_table import DurablyTable\n"
        "stack = Stack(App(), 'S'); DurablyTable(stack, 'T')\n"
        "print(json.dumps(assertions.Template.from_stack(stack).to_json()))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    (resource,) = json.loads(run.stdout)["Resources"].values()
    assert resource["Properties"]["GlobalSecondaryIndexes"] == table_definition()["GlobalSecondaryIndexes"]


# ---- the policies are the least that suffices


def test_a_functions_policy_names_what_running_uses_and_nothing_else(
    dynamodb_local: str, fault_proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every operation that claims, replays, takeovers, large values and duplicates send is allowed; every one allowed is sent."""
    proxy: FaultProxy = fault_proxy(dynamodb_local)
    name = f"infra-{uuid.uuid4().hex[:8]}"
    DynamoDBStore(name, client=client(dynamodb_local)).create_table()
    store = DynamoDBStore(name, client=client(proxy.endpoint))

    @durable(store=store, name="f", id=lambda event, context: event["id"])
    def handler(event: dict[str, Any], context: Any) -> Any:
        large = step("large", lambda: "x" * 10, repeatable=True)
        step("effect", lambda: large, recover=lambda: None)
        if event.get("fail", 0) > step("tries", lambda: 0):
            event["fail"] -= 1
            raise ValueError("again")
        return large

    handler({"id": "a"}, None)
    handler({"id": "a"}, None)
    failing = {"id": "b", "fail": 7, "noise": "".join(map(str, range(4000)))}
    for _ in range(7):
        with pytest.raises(ValueError, match="again"):
            handler(failing, None)
    handler(failing, None)
    store.read("f/a", until=1e12)  # as a duplicate does that waits for the holder (`wait=`)
    sent = {f"dynamodb:{request.operation}" for request in proxy.requests}
    assert sent == set(FUNCTION_ACTIONS)
    client(dynamodb_local).delete_table(TableName=name)


def test_an_operators_policy_adds_the_index_and_the_named_functions() -> None:
    statements = policy(TABLE, "operator", region="eu-west-1", account="111122223333", functions=("orders",))[
        "Statement"
    ]
    assert [one["Resource"] for one in statements] == [
        "arn:aws:dynamodb:eu-west-1:111122223333:table/orders-journal",
        "arn:aws:dynamodb:eu-west-1:111122223333:table/orders-journal/index/executions",
        ["arn:aws:lambda:eu-west-1:111122223333:function:orders"],
    ]
    assert all("*" not in action for one in statements for action in one["Action"])


def test_a_policy_names_the_partition_of_its_region() -> None:
    session = botocore.session.get_session()
    for partition in session.get_available_partitions():
        for region in session.get_available_regions("dynamodb", partition, allow_non_regional=False):
            (statement,) = policy(TABLE, "function", region=region, account="111122223333")["Statement"]
            wanted = "aws" if region == "local" else partition
            assert statement["Resource"].split(":")[:4] == ["arn", wanted, "dynamodb", region]


def test_only_a_dynamodb_store_has_a_table_to_make(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "durably.cli", "table", "create", "--store", f"sqlite:///{tmp_path}/x.db"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "dynamodb://TABLE" in run.stderr
