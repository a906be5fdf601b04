"""An event id for every trigger: AWS's documented sample events, what a redelivery repeats, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from durably import NoIdentity
from durably.identity import identify, stored_event

EVENTS = Path(__file__).parent / "events"
CONTEXT = SimpleNamespace(aws_request_id="req-1")

FOUND = {
    "eventbridge_envelope": ("01JNCX7M3T9Q5W8V2K4R6Y1Z0B", "detail.metadata.id"),
    "eventbridge": ("6a7e8feb-b491-4cf7-a9f1-bf3703467718", "EventBridge id"),
    "eventbridge_scheduler": ("d167b752-343a-4b28-afd6-d4de056319e8", "EventBridge id"),
    "sqs": ("059f36b4-87a3-44ab-83d2-661975830a7d", "SQS messageId"),
    "pipes_sqs": ("7b0c8a0e-51a5-4f0d-9a5f-0c9d9f7d3a11", "SQS messageId"),
    "sns": ("95df01b4-ee98-5cb9-9903-4c221d41eb5e", "SNS MessageId"),
    "s3": ("uploads,photos/2026/red+flower.jpg", "S3 bucket"),
    "dynamodb_stream": ("c81e728d9d4c2f636f067f89cc14862c", "DynamoDB stream eventID"),
    "kinesis": ("shardId-000000000006:49590338271490256608559692538361571095921575989136588898", "Kinesis eventID"),
    "http_api": ("idempotency-key=8e03978e-40d5-43e8-bc93-6894a57f9324", "header Idempotency-Key"),
    "rest_api": ("idempotency-key=8e03978e-40d5-43e8-bc93-6894a57f9324", "header Idempotency-Key"),
    "function_url": ("x-github-delivery=72d3162e-cc78-11e3-81ab-4c9367dc0958", "header X-GitHub-Delivery"),
    "alb": ("webhook-id=msg_p5jXN8AQM9LWM0D4loKWxJek", "header webhook-id"),
    "vpc_lattice": ("ce-id=A234-1234-1234", "header ce-source and ce-id"),
    "cloudevent": ("A234-1234-1234", "CloudEvents source and id"),
    "step_functions": ("execution:checkout:order-42", "Step Functions execution"),
    "kafka": ("orders,0,15", "Kafka"),
    "activemq": ("ID:b-9bcfa592", "ActiveMQ"),
    "documentdb": ("0163eeb6e7000000090100000009000041e1", "DocumentDB"),
    "cloudwatch_logs": ("req-1", "context.aws_request_id"),
    "cognito": ("req-1", "context.aws_request_id"),
    "appsync": ("req-1", "context.aws_request_id"),
    "websocket": ("req-1", "context.aws_request_id"),
}
HTTP = ("http_api", "rest_api", "function_url", "alb", "vpc_lattice")
RECORDS = ("sqs", "kinesis", "dynamodb_stream")


def event(name: str) -> dict[str, Any]:
    return json.loads((EVENTS / f"{name}.json").read_text())


def test_every_sample_event_is_tested() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == {*FOUND, "rabbitmq"}


@pytest.mark.parametrize("name", FOUND)
def test_each_trigger_has_its_own_id_and_says_where_it_was_found(name: str) -> None:
    found = identify(event(name), CONTEXT)
    assert FOUND[name][0] in found.event_id
    assert FOUND[name][1] in found.source
    assert found.http == (name in HTTP)


@pytest.mark.parametrize("name", FOUND)
def test_a_redelivery_has_the_same_id(name: str) -> None:
    again = SimpleNamespace(aws_request_id="req-1")
    assert identify(event(name), CONTEXT) == identify(copy.deepcopy(event(name)), again)


@pytest.mark.parametrize("name", RECORDS)
def test_one_bare_record_is_recognised(name: str) -> None:
    record = event(name)["Records"][0]
    assert identify(record, None).event_id == identify(event(name), None).event_id


@pytest.mark.parametrize("name", [*RECORDS, "s3", "sns"])
def test_a_batch_is_refused_and_the_error_shows_how_to_take_each_record(name: str) -> None:
    batch = event(name)
    batch["Records"] *= 2
    with pytest.raises(NoIdentity) as refused:
        identify(batch, CONTEXT)
    assert "for record in" in str(refused.value)
    if name in RECORDS:
        assert "batchItemFailures" in str(refused.value)


@pytest.mark.parametrize("name", HTTP)
def test_http_without_an_id_of_the_senders_is_refused(name: str) -> None:
    request = event(name)
    for field in ("headers", "multiValueHeaders"):
        request.pop(field, None)
    with pytest.raises(NoIdentity) as refused:
        identify(request, CONTEXT)
    for header in ("Idempotency-Key", "X-GitHub-Delivery", "webhook-id", "ce-id"):
        assert header in str(refused.value)


@pytest.mark.parametrize("spelling", ["idempotency-key", "IDEMPOTENCY-KEY", "Idempotency-Key"])
def test_header_names_are_read_in_any_case(spelling: str) -> None:
    request = event("http_api")
    request["headers"] = {spelling: "k-1"}
    assert "k-1" in identify(request, CONTEXT).event_id


@pytest.mark.parametrize("name", ["http_api", "function_url"])
def test_one_key_on_two_paths_or_methods_is_two_executions(name: str) -> None:
    here, there, put = event(name), event(name), event(name)
    there["rawPath"] = "/elsewhere"
    there["requestContext"]["http"]["path"] = "/elsewhere"
    put["requestContext"]["http"]["method"] = "PUT"
    assert len({identify(one, CONTEXT).event_id for one in (here, there, put)}) == 3


def test_two_principals_with_one_key_never_meet() -> None:
    mine, theirs = event("http_api"), event("http_api")
    theirs["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] = "somebody else"
    assert identify(mine, CONTEXT).event_id != identify(theirs, CONTEXT).event_id


@pytest.mark.parametrize("context", [{"user": "ann"}, {"tenant": 7}, {"principalId": 5}, {"a": {"b": None}}], ids=repr)
def test_callers_that_a_lambda_authorizer_tells_apart_in_its_own_words_never_meet(context: dict[str, Any]) -> None:
    mine, again, theirs = event("http_api"), event("http_api"), event("http_api")
    mine["requestContext"]["authorizer"] = {"lambda": context}
    again["requestContext"]["authorizer"] = {"lambda": dict(reversed(context.items()))}
    theirs["requestContext"]["authorizer"] = {"lambda": {**context, "user": "bob"}}
    ids = [identify(one, CONTEXT).event_id for one in (mine, again, theirs)]
    assert ids[0] == ids[1] != ids[2]


def test_a_lambda_authorizers_principal_counts_alone() -> None:
    early, late = event("http_api"), event("http_api")
    early["requestContext"]["authorizer"] = {"lambda": {"principalId": "ann", "at": "10:00"}}
    late["requestContext"]["authorizer"] = {"lambda": {"principalId": "ann", "at": "10:01"}}
    assert identify(early, CONTEXT).event_id == identify(late, CONTEXT).event_id


def test_another_body_has_another_fingerprint_and_the_same_id() -> None:
    first, second = event("http_api"), event("http_api")
    second["body"] = '{"amount": 2}'
    one, two = identify(first, CONTEXT), identify(second, CONTEXT)
    assert one.event_id == two.event_id
    assert one.fingerprint != two.fingerprint


def test_components_of_an_id_can_not_be_confused() -> None:
    first, second = event("cloudevent"), event("cloudevent")
    first["source"], first["id"] = "a,b", "c"
    second["source"], second["id"] = "a", "b,c"
    assert identify(first, None).event_id != identify(second, None).event_id


def test_an_id_is_bounded_and_still_its_own() -> None:
    first, second = event("cloudevent"), event("cloudevent")
    first["id"], second["id"] = "x" * 5000 + "1", "x" * 5000 + "2"
    ids = {identify(one, None).event_id for one in (first, second)}
    assert len(ids) == 2
    assert all(len(one.encode()) <= 1024 for one in ids)


@pytest.mark.parametrize("odd", [None, 7, [], {}, "text", {"Records": []}, {"id": 3}, {"detail": {"metadata": None}}])
def test_an_event_without_shape_falls_to_the_request_id_or_is_refused(odd: Any) -> None:
    assert identify(odd, CONTEXT).event_id == "req-1"
    with pytest.raises(NoIdentity) as refused:
        identify(odd, None)
    assert refused.value.looked_for
    assert "@durable(id=" in str(refused.value)


def test_a_message_queue_without_ids_is_refused_with_a_way_out() -> None:
    with pytest.raises(NoIdentity, match="message_id"):
        identify(event("rabbitmq"), CONTEXT)


@pytest.mark.parametrize("name", HTTP)
def test_secrets_are_not_stored_and_the_handlers_event_keeps_them(name: str) -> None:
    request = event(name)
    request["headers"] = {"Authorization": "secret-1", "Cookie": "secret-2", "X-Api-Key": "secret-3", "other": "kept"}
    request["multiValueHeaders"] = {"authorization": ["secret-4"], "other": ["kept"]}
    request["cookies"] = ["session=secret-5"]
    before = copy.deepcopy(request)
    kept = json.dumps(stored_event(request))
    assert "secret-" not in kept
    assert "kept" in kept
    assert request == before
