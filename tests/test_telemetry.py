"""Spans, with OpenTelemetry's own SDK: their parents, links, attributes and ends; and that no exporter changes an outcome."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from durably import (
    NOT_DONE,
    MemoryStore,
    OutOfTime,
    Retry,
    SQLiteStore,
    aio,
    durable,
    execution,
    fan_out,
    hooks,
    once,
    step,
)
from durably.telemetry import instrument
from durably.telemetry.identifiers import span_id_of, trace_id_of

from .clocks import Context, FakeClock

ROOT = Path(__file__).parent.parent


class Boom(Exception):
    pass


def boom() -> None:
    raise Boom("no")


class Recorded:
    """A provider of its own, and the spans it finished."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(**options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("an http client")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        (found,) = self.all_named(name)
        return found

    def all_named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def call(self, name: str) -> str:
        """What an instrumented client does."""
        with self.tracer.start_as_current_span(name):
            return name


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def told(recorded: Recorded) -> Iterator[Recorded]:
    undo = instrument(tracer_provider=recorded.provider)
    yield recorded
    undo()
    assert hooks.watching == ()
    assert not trace.get_current_span().get_span_context().is_valid, "the context is what it was"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


def handler_of(body: Callable[[], Any], store: Any, **options: Any) -> Callable[..., Any]:
    return durable(store=store, name="f", id=lambda event, context: "evt-1", **options)(lambda event, context: body())


def aio_handler_of(body: Callable[[], Any], store: Any) -> Callable[..., Any]:
    async def handler(event: Any, context: Any) -> Any:
        return await body()

    return aio.durable(store=store, name="f", id=lambda event, context: "evt-1")(handler)


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    assert child.parent is not None
    return (child.parent.span_id, child.context.trace_id) == (parent.context.span_id, parent.context.trace_id)


def events(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


def test_an_attempt_is_the_parent_of_its_steps_and_a_step_of_what_its_function_does(
    told: Recorded, store: MemoryStore
) -> None:
    def body() -> None:
        step("a", told.call, "GET")
        told.call("between")
        step("b", lambda: 2)

    handler_of(body, store)({}, None)
    attempt, a, b = told.named("f"), told.named("a"), told.named("b")
    assert attempt.parent is None
    assert is_child(a, attempt)
    assert is_child(b, attempt)
    assert is_child(told.named("GET"), a)
    assert is_child(told.named("between"), attempt)
    assert attempt.start_time <= a.start_time < a.end_time <= b.start_time < b.end_time <= attempt.end_time
    assert attempt.attributes == {
        "durably.execution": "f/evt-1",
        "durably.attempt": 1,
        "durably.function": f"{__name__}:handler_of.<locals>.<lambda>",
        "durably.status": "completed",
        "durably.steps.run": 2,
        "durably.steps.replayed": 0,
    }
    assert a.attributes == {
        "durably.execution": "f/evt-1",
        "durably.attempt": 1,
        "durably.step": "a",
        "durably.outcome": "result",
        "durably.tries": 1,
    }
    assert {span.status.status_code for span in told.spans} == {StatusCode.UNSET}


def test_async_steps_have_the_same_spans_and_tasks_do_not_mix_theirs(told: Recorded, store: MemoryStore) -> None:
    async def get(name: str) -> str:
        await asyncio.sleep(0)
        told.call(f"GET {name}")
        await asyncio.sleep(0)
        return name

    async def body() -> None:
        await aio.step("a", get, "a")
        await asyncio.gather(*(aio.step(name, get, name) for name in ("b", "c", "d")))
        await aio.fan_out("many", get, ["e", "f", "g"], workers=2)

    asyncio.run(aio_handler_of(body, store)({}, None))
    attempt = told.named("f")
    for name in ("a", "b", "c", "d"):
        assert is_child(told.named(name), attempt)
        assert is_child(told.named(f"GET {name}"), told.named(name))
    for span in told.all_named("many"):
        item = str(span.attributes["durably.step"])[5:-1]
        assert is_child(span, attempt)
        assert is_child(told.named(f"GET {item}"), span)
    assert len(told.all_named("many")) == 3


def test_the_items_of_a_fan_out_share_a_span_name_and_nest_on_their_own_threads(
    told: Recorded, store: MemoryStore
) -> None:
    meet = threading.Barrier(4)

    def get(item: str) -> str:
        meet.wait()
        return told.call(f"GET {item}")

    handler_of(lambda: fan_out("thread", get, list("abcd"), workers=4), store)({}, None)
    items = told.all_named("thread")
    assert sorted(str(span.attributes["durably.step"]) for span in items) == [f"thread[{key}]" for key in "abcd"]
    for span in items:
        assert is_child(span, told.named("f"))
        assert is_child(told.named(f"GET {str(span.attributes['durably.step'])[7:-1]}"), span)


def test_a_step_inside_a_step_is_its_child(told: Recorded, store: MemoryStore) -> None:
    handler_of(lambda: step("outer", lambda: step("inner", lambda: 1)), store)({}, None)
    assert is_child(told.named("inner"), told.named("outer"))
    assert told.named("inner").attributes["durably.within"] == "outer"


def test_a_span_of_the_handlers_own_is_a_steps_parent(told: Recorded, store: MemoryStore) -> None:
    def body() -> None:
        with told.tracer.start_as_current_span("phase one"):
            step("a", lambda: 1)

    handler_of(body, store)({}, None)
    assert is_child(told.named("phase one"), told.named("f"))
    assert is_child(told.named("a"), told.named("phase one"))


def test_a_retry_is_in_the_same_trace_and_links_to_the_attempt_before(told: Recorded, store: MemoryStore) -> None:
    failing = [1, 2]

    def body() -> None:
        step("a", lambda: 1)
        step("b", lambda: boom() if failing and failing.pop() else 2)

    handler = handler_of(body, store)
    for _ in range(2):
        with pytest.raises(Boom):
            handler({}, None)
    handler({}, None)
    handler({}, None)  # a finished execution has no attempt
    first, second, third = told.all_named("f")
    assert first.context.trace_id == second.context.trace_id == third.context.trace_id
    assert [len(span.links) for span in (first, second, third)] == [0, 1, 1]
    assert second.links[0].context.span_id == first.context.span_id
    assert third.links[0].context.span_id == second.context.span_id
    assert third.links[0].attributes == {"durably.link": "previous attempt", "durably.attempt": 2}
    assert [span.attributes["durably.steps.replayed"] for span in (first, second, third)] == [0, 1, 1]
    assert len(told.all_named("a")) == 1, "a replayed step has no span"
    assert len(told.all_named("b")) == 3


def test_two_executions_are_two_traces_and_one_run_anew_after_its_end_is_a_third(
    told: Recorded, clock: FakeClock, store: MemoryStore
) -> None:
    once("one", lambda: 1, store=store)
    once("two", lambda: 1, store=store)
    clock.advance(31 * 86400)
    once("one", lambda: 1, store=store)
    assert len({span.context.trace_id for span in told.spans if span.parent is None}) == 3


def test_a_trace_id_begins_with_the_time_of_the_first_claim(told: Recorded, store: MemoryStore) -> None:
    """AWS X-Ray refuses ids that don't."""
    once("one", lambda: 1, store=store)
    head = store.read("once/one", until=1e12)
    assert head is not None
    attempt = next(span for span in told.spans if span.parent is None)
    assert attempt.context.trace_id == trace_id_of(head)
    assert attempt.context.trace_id >> 96 == int(head.began)
    assert attempt.context.span_id == span_id_of(head, 1)


def test_ids_of_other_tracers_and_of_steps_stay_random(told: Recorded, store: MemoryStore) -> None:
    handler_of(lambda: [step("a", lambda: 1), step("b", lambda: 1)], store)({}, None)
    assert told.named("a").context.span_id != told.named("b").context.span_id
    told.call("alone")
    assert told.named("alone").context.trace_id != told.named("a").context.trace_id


def test_the_span_that_was_current_is_linked_and_current_again_after(told: Recorded, store: MemoryStore) -> None:
    with told.tracer.start_as_current_span("invocation") as invocation:
        once("one", lambda: 1, store=store)
        assert trace.get_current_span() is invocation
    attempt = next(span for span in told.spans if "durably.status" in span.attributes)
    assert attempt.parent is None
    assert attempt.links[0].context.span_id == invocation.get_span_context().span_id
    assert attempt.links[0].attributes == {"durably.link": "caller"}


def test_nested_an_attempt_is_a_child_of_what_was_current(recorded: Recorded, store: MemoryStore) -> None:
    undo = instrument(tracer_provider=recorded.provider, nest=True)
    with recorded.tracer.start_as_current_span("invocation"):
        handler_of(lambda: step("a", lambda: 1), store)({}, None)
    undo()
    assert is_child(recorded.named("f"), recorded.named("invocation"))
    assert is_child(recorded.named("a"), recorded.named("f"))
    assert recorded.named("f").links == ()


def test_baggage_reaches_the_steps(told: Recorded, store: MemoryStore) -> None:
    token = context.attach(baggage.set_baggage("tenant", "t-1"))
    try:
        assert once("one", lambda: baggage.get_baggage("tenant"), store=store) == "t-1"
    finally:
        context.detach(token)


def test_each_failed_try_is_an_exception_event_and_only_a_failed_step_has_failed(
    told: Recorded, store: MemoryStore
) -> None:
    left = [1, 2]
    again = Retry(3, on=Boom, delay=timedelta(0))
    once("one", lambda: None, store=store)
    handler_of(lambda: step("a", lambda: boom() if left and left.pop() else 1, retry=again), store)({}, None)
    a = told.named("a")
    assert events(a) == ["exception", "exception"]
    assert [event.attributes["durably.tries"] for event in a.events] == [1, 2]
    assert a.attributes["durably.tries"] == 3
    assert a.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("is_handled", [True, False])
def test_a_failed_step_says_so_and_its_attempt_only_if_it_left(
    told: Recorded, store: MemoryStore, is_handled: bool
) -> None:
    def body() -> None:
        try:
            step("a", boom)
        except Boom:
            if not is_handled:
                raise

    handler = handler_of(body, store)
    if is_handled:
        handler({}, None)
    else:
        with pytest.raises(Boom):
            handler({}, None)
    attempt, a = told.named("f"), told.named("a")
    assert a.status.status_code is StatusCode.ERROR
    assert a.status.description == f"{__name__}.Boom: no"
    assert a.attributes["error.type"] == f"{__name__}.Boom"
    assert events(a) == ["exception"], "once, though the try and the step failed with it"
    assert a.events[0].attributes["exception.message"] == "no"
    assert attempt.status.status_code is (StatusCode.UNSET if is_handled else StatusCode.ERROR)
    assert attempt.attributes["durably.status"] == ("completed" if is_handled else "waiting")


def test_an_exception_that_cannot_be_told_ends_its_spans_all_the_same(told: Recorded, store: MemoryStore) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    def mute() -> None:
        raise Mute

    with pytest.raises(Mute):
        handler_of(lambda: step("a", mute), store)({}, None)
    assert events(told.named("a")) == events(told.named("f")) == ["exception"]
    assert told.named("f").status.status_code is StatusCode.ERROR


def test_a_result_that_cannot_be_stored_fails_its_span(told: Recorded, store: MemoryStore) -> None:
    with pytest.raises(Exception, match="a"):
        handler_of(lambda: step("a", threading.Lock), store)({}, None)
    assert told.named("a").attributes["error.type"] == "durably.errors.NotSerializable"


def test_what_recover_found_is_told(told: Recorded, clock: FakeClock, store: MemoryStore) -> None:
    found = [NOT_DONE]

    def dying(event: Any) -> None:
        if isinstance(event, hooks.TryEnded):
            raise KeyboardInterrupt

    handler = handler_of(
        lambda: step("a", lambda: told.call("POST"), recover=lambda: told.call("GET") and found[0]), store
    )
    remove = hooks.add_hook(dying)
    with pytest.raises(KeyboardInterrupt):
        handler({}, None)
    remove()
    found[0] = "there"
    assert handler({}, None) == "there"
    died, recovered = told.all_named("a")
    assert "durably.recovered" not in died.attributes
    assert died.attributes["durably.outcome"] == "none"
    assert recovered.attributes["durably.recovered"] is True
    assert events(recovered) == ["durably.recover"]
    assert is_child(told.named("GET"), recovered)


def test_a_stop_signal_fails_the_attempt_and_a_step_that_did_not_begin_has_no_span(
    told: Recorded, clock: FakeClock, store: MemoryStore
) -> None:
    def body() -> None:
        step("a", clock.advance, 29.5)
        step("b", lambda: 2)

    with pytest.raises(OutOfTime):
        handler_of(body, store, lease=timedelta(minutes=5))({}, Context(30, clock))
    assert told.all_named("b") == []
    assert told.named("f").attributes["error.type"] == "durably.errors.OutOfTime"


def test_a_cancelled_attempt_ends_its_spans(told: Recorded, store: MemoryStore) -> None:
    async def cancelled() -> None:
        begun = asyncio.Event()

        async def wait() -> None:
            begun.set()
            await asyncio.sleep(3600)

        async def body() -> None:
            await aio.step("a", wait)

        task = asyncio.create_task(aio_handler_of(body, store)({}, None))
        await begun.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert told.named("a").attributes["durably.outcome"] == "none"
    assert told.named("a").status.status_code is StatusCode.ERROR
    assert told.named("f").attributes["durably.status"] == "waiting"


def test_the_replay_of_a_finished_block_says_so(told: Recorded, store: MemoryStore) -> None:
    for _ in range(2):
        with execution("order-1", store=store):
            step("a", lambda: 1)
    first, replay = told.all_named("execution")
    assert replay.attributes["durably.replays_only"] is True
    assert replay.attributes["durably.steps.replayed"] == 1
    assert replay.context.span_id != first.context.span_id
    assert replay.links[0].context.span_id == first.context.span_id


def test_an_execution_inside_a_step_of_another_is_a_trace_of_its_own_and_links_to_the_step(
    told: Recorded, store: MemoryStore
) -> None:
    handler_of(lambda: step("a", lambda: once("inner", lambda: 1, store=store)), store)({}, None)
    inner = next(span for span in told.all_named("once") if "durably.status" in span.attributes)
    assert inner.links[0].context.span_id == told.named("a").context.span_id
    assert told.named("f").attributes["durably.steps.run"] == 1


def test_lambda_and_trigger_are_told_by_the_conventions(
    recorded: Recorded, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = durable(store=store, name="reviewer")(lambda record, context: step("a", lambda: 1))
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "reviewer")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "7")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    undo = instrument(tracer_provider=recorded.provider)
    events_of = Path(__file__).parent / "events"
    handler(json.loads((events_of / "sqs.json").read_text())["Records"][0], Context(30))
    handler(json.loads((events_of / "eventbridge_envelope.json").read_text()), Context(30))
    undo()
    queue, bus = recorded.all_named("reviewer")
    assert queue.kind is bus.kind is SpanKind.CONSUMER
    said = dict(queue.attributes)
    assert (
        said.items()
        >= {
            "faas.name": "reviewer",
            "faas.version": "7",
            "faas.trigger": "pubsub",
            "faas.invocation_id": Context.__init__.__defaults__[1],  # type: ignore[index]
            "faas.coldstart": True,
            "cloud.provider": "aws",
            "cloud.platform": "aws_lambda",
            "cloud.region": "eu-west-1",
            "messaging.system": "aws_sqs",
            "messaging.operation.type": "process",
            "messaging.message.id": "059f36b4-87a3-44ab-83d2-661975830a7d",
        }.items()
    )
    assert bus.attributes["faas.coldstart"] is False
    assert "messaging.system" not in bus.attributes


CRASHING = """
import os, sys, json
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from durably import execution, step
from durably.telemetry import instrument

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda s: s.to_json(indent=None) + "\\n")))
instrument(tracer_provider=provider)

with execution("evt-1", store="sqlite:///" + sys.argv[1]):
    step("a", lambda: 1)
    step("b", os._exit, 9)
"""


def test_after_a_crash_the_next_attempt_links_to_the_dead_one_and_is_in_its_trace(
    told: Recorded, tmp_path: Path, clock: FakeClock
) -> None:
    """The dead attempt's own span is never handed over; the spans of its steps that ended name it."""
    path = tmp_path / "durably.db"
    run = subprocess.run([sys.executable, "-c", CRASHING, str(path)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 9, run.stderr
    (dead,) = map(json.loads, run.stdout.splitlines())
    clock.advance(60)
    with execution("evt-1", store=SQLiteStore(path, clock=clock)):
        step("a", lambda: 1)
        step("b", lambda: 2)
    (link,) = told.named("execution").links
    assert dead["name"] == "a"
    assert (
        dead["context"]["trace_id"] == f"0x{link.context.trace_id:032x}" == f"0x{told.named('b').context.trace_id:032x}"
    )
    assert dead["parent_id"] == f"0x{link.context.span_id:016x}"


class Failing(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise ConnectionError("collector is down")


class FailingProcessor(SimpleSpanProcessor):
    """It lets its exceptions through, into whoever starts or ends a span."""

    def __init__(self, when: str) -> None:
        super().__init__(InMemorySpanExporter())
        self.when = when

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self.when == "start":
            raise ConnectionError

    def on_end(self, span: ReadableSpan) -> None:
        if self.when == "end":
            raise ConnectionError


@pytest.mark.parametrize("broken", [SimpleSpanProcessor(Failing()), FailingProcessor("start"), FailingProcessor("end")])
def test_a_failing_exporter_changes_no_outcome_and_leaves_the_context_clean(
    told: Recorded, store: MemoryStore, broken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told.provider.add_span_processor(broken)
    left = [1]

    def body() -> list[Any]:
        return [
            step("a", lambda: 1),
            fan_out("many", str, [1, 2]),
            step("b", lambda: boom() if left and left.pop() else 2),
        ]

    handler = handler_of(body, store)
    with caplog.at_level(logging.CRITICAL, "opentelemetry"):
        with pytest.raises(Boom):
            handler({}, None)
        assert handler({}, None) == [1, ["1", "2"], 2]
    assert not trace.get_current_span().get_span_context().is_valid


def test_the_undo_lets_an_attempt_under_way_end_its_spans(recorded: Recorded, store: MemoryStore) -> None:
    undo = instrument(tracer_provider=recorded.provider)

    def body() -> None:
        step("a", lambda: 1)
        undo()
        once("inner", lambda: 1, store=store)
        step("b", lambda: 1)

    handler_of(body, store)({}, None)
    assert [span.name for span in recorded.spans] == ["a", "b", "f"]
    once("two", lambda: 1, store=store)
    assert len(recorded.spans) == 3
    assert hooks.watching == ()


def test_a_trace_that_is_not_sampled_costs_nothing_but_ids(store: MemoryStore) -> None:
    recorded = Recorded(sampler=ALWAYS_OFF)
    undo = instrument(tracer_provider=recorded.provider)
    seen = []
    once("one", lambda: seen.append(trace.get_current_span().get_span_context()), store=store)
    undo()
    assert recorded.spans == ()
    assert not seen[0].trace_flags.sampled


def test_without_an_sdk_nothing_is_made_and_nothing_fails(store: MemoryStore) -> None:
    undo = instrument()
    assert once("one", lambda: trace.get_current_span().is_recording(), store=store) is False
    undo()


def test_what_is_handed_over_is_flushed_before_the_handler_returns(store: MemoryStore) -> None:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
    undo = instrument(tracer_provider=provider, flush=timedelta(seconds=10))
    once("one", lambda: 1, store=store)
    undo()
    assert len(exporter.get_finished_spans()) == 2
    provider.shutdown()


def test_without_opentelemetry_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import durably.telemetry.logs\n"
        "from durably.telemetry import instrument\n"
        "try: instrument()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.startswith("DurablyError")
    assert "pip install 'durably[otel]'" in run.stdout, run.stderr
