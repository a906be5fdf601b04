"""`@durable` under and over Powertools' decorators, with the real package."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aws_lambda_powertools")
pytest.importorskip("aws_xray_sdk")

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.data_classes import EventBridgeEvent, SQSEvent, event_source

from durably import MemoryStore, current_execution, durable, fan_out, step

from .clocks import Context

EVENTS = Path(__file__).parent / "events"


class Boom(Exception):
    pass


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def event() -> dict[str, Any]:
    return json.loads((EVENTS / "eventbridge_envelope.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Tracer:
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    return Tracer(service="reviewer")


def logs(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def twice(handler: Any, event: Any) -> list[Any]:
    """A delivery that fails, one that finishes, and a duplicate of it."""
    with pytest.raises(Boom):
        handler(event, Context(30))
    return [handler(event, Context(30)), handler(event, Context(30))]


class Work:
    """A handler's body that fails once after its first step."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def __call__(self) -> dict[str, Any]:
        step("a", lambda: self.ran.append("a"))
        if "fail" not in self.ran:
            self.ran.append("fail")
            raise Boom
        return {"b": step("b", lambda: self.ran.append("b") or "done")}


def test_durable_under_the_logger(store: MemoryStore, event: dict[str, Any]) -> None:
    stream, work = io.StringIO(), Work()
    logger = Logger(service="under", stream=stream)

    @logger.inject_lambda_context
    @durable(store=store, name="f")
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        logger.info("working")
        return work()

    assert twice(handler, event) == [{"b": "done"}] * 2
    assert work.ran == ["a", "fail", "b"]
    assert [line["function_request_id"] for line in logs(stream)] == [Context(1).aws_request_id] * 2


def test_durable_over_the_logger(store: MemoryStore, event: dict[str, Any]) -> None:
    stream, work = io.StringIO(), Work()
    logger = Logger(service="over", stream=stream)

    @durable(store=store, name="f")
    @logger.inject_lambda_context(correlation_id_path="detail.metadata.id", clear_state=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        logger.info("working")
        step("log", lambda: logger.info("in a step"))
        return work()

    assert twice(handler, event) == [{"b": "done"}] * 2
    assert work.ran == ["a", "fail", "b"]
    lines = logs(stream)
    assert [line["message"] for line in lines] == ["working", "in a step", "working"]
    assert {line["correlation_id"] for line in lines} == {event["detail"]["metadata"]["id"]}


@pytest.mark.parametrize("durable_outside", [True, False])
def test_durable_with_the_tracer(
    store: MemoryStore, event: dict[str, Any], traced: Tracer, durable_outside: bool
) -> None:
    work = Work()

    def plain(event: dict[str, Any], context: Any) -> dict[str, Any]:
        traced.put_annotation("execution", current_execution().id)  # type: ignore[union-attr]
        return work()

    made: Any
    if durable_outside:
        made = durable(store=store, name="f")(traced.capture_lambda_handler(plain))
    else:
        made = traced.capture_lambda_handler(durable(store=store, name="f")(plain))
    assert twice(made, event) == [{"b": "done"}] * 2
    assert work.ran == ["a", "fail", "b"]


def test_steps_may_be_traced_methods(store: MemoryStore, event: dict[str, Any], traced: Tracer) -> None:
    ran: list[int] = []

    @traced.capture_method
    def fetch(n: int) -> int:
        ran.append(n)
        return n

    @durable(store=store, name="f")
    def handler(event: dict[str, Any], context: Any) -> list[int]:
        return [step("one", fetch, 1), *fan_out("many", fetch, [2, 3], workers=2)]

    assert handler(event, Context(30)) == handler(event, Context(30)) == [1, 2, 3]
    assert sorted(ran) == [1, 2, 3]


def test_durable_over_event_source(store: MemoryStore, event: dict[str, Any]) -> None:
    work = Work()

    @durable(store=store, name="f")
    @event_source(data_class=EventBridgeEvent)
    def handler(event: EventBridgeEvent, context: Any) -> dict[str, Any]:
        assert isinstance(event, EventBridgeEvent)
        assert event.detail["metadata"]["id"]
        return work()

    assert twice(handler, event) == [{"b": "done"}] * 2
    assert work.ran == ["a", "fail", "b"]


def test_durable_under_event_source(store: MemoryStore, event: dict[str, Any]) -> None:
    """The event is a data class when it comes: its identity and its stored copy are the plain event's."""
    work = Work()

    @durable(store=store, name="f")
    def inner(event: EventBridgeEvent, context: Any) -> dict[str, Any]:
        assert isinstance(event, EventBridgeEvent)
        assert event.detail_type
        return work()

    handler = event_source(data_class=EventBridgeEvent)(inner)
    assert twice(handler, event) == [{"b": "done"}] * 2
    assert work.ran == ["a", "fail", "b"]
    execution = f"f/{event['detail']['metadata']['id']}"
    head = store.read(execution, until=1e12)
    assert head is not None, "the id is the same as without event_source"
    assert head.event is not None
    assert json.loads(head.event) == event


def test_durable_alone_and_under_event_source_are_the_same_execution(store: MemoryStore, event: dict[str, Any]) -> None:
    ran: list[int] = []

    @durable(store=store, name="f")
    def handler(event: Any, context: Any) -> str:
        ran.append(1)
        return "done"

    assert handler(event, Context(30)) == "done"
    assert event_source(data_class=EventBridgeEvent)(handler)(event, Context(30)) == "done"
    assert ran == [1]


def test_a_record_of_a_data_class_is_an_execution_of_its_own(store: MemoryStore) -> None:
    ran: list[str] = []
    batch = json.loads((EVENTS / "sqs.json").read_text())

    @durable(store=store, name="f")
    def on_record(record: Any, context: Any) -> None:
        step("a", lambda: ran.append(record["messageId"]))

    @event_source(data_class=SQSEvent)
    def handler(event: SQSEvent, context: Any) -> None:
        for record in event.records:
            on_record(record, context)

    handler(batch, Context(30))
    handler(batch, Context(30))
    assert ran == [record["messageId"] for record in batch["Records"]]


def test_all_three_at_once_in_the_documented_order(store: MemoryStore, event: dict[str, Any], traced: Tracer) -> None:
    stream, work = io.StringIO(), Work()
    logger = Logger(service="all-three", stream=stream)

    @logger.inject_lambda_context
    @traced.capture_lambda_handler
    @durable(store=store, name="f")
    @event_source(data_class=EventBridgeEvent)
    def handler(event: EventBridgeEvent, context: Any) -> dict[str, Any]:
        logger.info("working", extra={"execution": current_execution().id})  # type: ignore[union-attr]
        return work()

    assert twice(handler, event) == [{"b": "done"}] * 2
    assert work.ran == ["a", "fail", "b"]
    assert len({line["execution"] for line in logs(stream)}) == 1
