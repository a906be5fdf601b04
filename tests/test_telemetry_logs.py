"""Log records that say where they belong, and none twice by replay: the standard library's, and Powertools' own Logger."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.handlers
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from durably import MemoryStore, aio, durable, execution, fan_out, step
from durably.telemetry.logs import add_fields

from .clocks import Context

ENVELOPE = json.loads((Path(__file__).parent / "events" / "eventbridge_envelope.json").read_text())


class Boom(Exception):
    pass


class Page:
    """A logger of its own that writes into a page."""

    def __init__(self, name: str) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(logging.Formatter("%(execution)s %(attempt)s %(step)s: %(message)s"))
        self.log = logging.Logger(name, logging.DEBUG)  # not in logging's register
        self.log.addHandler(self.handler)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Page:
    return Page(request.node.name)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def handler_of(body: Callable[[], Any], store: MemoryStore) -> Callable[..., Any]:
    return durable(store=store, name="f", id=lambda event, context: "evt-1")(lambda event, context: body())


def twice(body: Callable[[list[int]], Any], store: MemoryStore) -> None:
    """An attempt that fails where the body pops, and the one that goes on."""
    left = [1]
    handler = handler_of(lambda: body(left), store)
    with pytest.raises(Boom):
        handler({}, None)
    handler({}, None)


def fail_once(left: list[int]) -> None:
    if left:
        left.pop()
        raise Boom


def test_records_carry_execution_attempt_and_step(page: Page, store: MemoryStore) -> None:
    add_fields(page.log, missing="-")

    def body() -> None:
        page.log.info("handler")
        step("a", lambda: page.log.info("inside"))

    page.log.info("before")
    handler_of(body, store)({}, None)
    page.log.info("after")
    assert page.lines == ["- - -: before", "f/evt-1 1 -: handler", "f/evt-1 1 a: inside", "- - -: after"]


def test_items_of_a_fan_out_and_tasks_carry_their_own_step(page: Page, store: MemoryStore) -> None:
    add_fields(page.log)
    handler_of(lambda: fan_out("thread", page.log.info, ["a", "b", "c"], workers=3), store)({}, None)
    assert sorted(page.lines) == [f"f/evt-1 1 thread[{key}]: {key}" for key in "abc"]

    async def inside(name: str) -> None:
        await asyncio.sleep(0)
        page.log.info(name)

    async def tasks() -> None:
        async with aio.execution("x", store=store):
            await asyncio.gather(*(aio.step(name, inside, name) for name in "de"))

    asyncio.run(tasks())
    assert sorted(page.lines)[:2] == ["execution/x 1 d: d", "execution/x 1 e: e"]


def test_what_a_replay_would_log_again_is_logged_once(page: Page, store: MemoryStore) -> None:
    add_fields(page.log, missing="-")

    def body(left: list[int]) -> None:
        page.log.info("begun")
        step("a", lambda: page.log.info("in a"))
        page.log.info("a is done")
        step("b", lambda: page.log.info("in b"))
        page.log.info("b is done")
        step("c", lambda: page.log.info("in c") or fail_once(left))
        page.log.info("c is done")

    twice(body, store)
    # What follows the last remembered outcome may have been logged before or not: nobody knows, so it is logged.
    assert page.lines == [
        "f/evt-1 1 -: begun",
        "f/evt-1 1 a: in a",
        "f/evt-1 1 -: a is done",
        "f/evt-1 1 b: in b",
        "f/evt-1 1 -: b is done",
        "f/evt-1 1 c: in c",
        "f/evt-1 2 -: b is done",
        "f/evt-1 2 c: in c",
        "f/evt-1 2 -: c is done",
    ]


def test_a_replay_ends_with_what_can_be_asked_for(page: Page, store: MemoryStore) -> None:
    """The step inside `outer` is in the journal and is never asked for again: the replay does not wait for it."""
    add_fields(page.log, missing="-")

    def body(left: list[int]) -> None:
        step("outer", lambda: step("inner", lambda: 1))
        fail_once(left)
        page.log.info("never logged before")
        step("b", lambda: 1)

    twice(body, store)
    assert page.lines == ["f/evt-1 2 -: never logged before"]


def test_all_of_it_is_logged_when_wished_for_all_or_for_one_record(page: Page, store: MemoryStore) -> None:
    undo = add_fields(page.log, missing="-")

    def body(left: list[int]) -> None:
        page.log.info("plain")
        page.log.info("wished", extra={"replayed": True})
        step("a", lambda: 1)
        fail_once(left)

    twice(body, store)
    assert page.lines == ["f/evt-1 1 -: plain", "f/evt-1 1 -: wished", "f/evt-1 2 -: wished"]
    undo()
    add_fields(page.log, replayed=True, missing="-")
    page.stream.truncate(0)
    page.stream.seek(0)
    twice(body, MemoryStore())
    assert len(page.lines) == 4


def test_a_replay_of_a_finished_block_logs_nothing(page: Page, store: MemoryStore) -> None:
    add_fields(page.log)
    for _ in range(2):
        with execution("x", store=store):
            page.log.info("once")
            step("a", lambda: page.log.info("once"))
    assert len(page.lines) == 2


def test_durablys_own_records_always_pass(store: MemoryStore) -> None:
    page = Page("durably")
    add_fields(page.log)

    def body(left: list[int]) -> None:
        page.log.warning("a lease is lost")
        step("a", lambda: 1)
        fail_once(left)

    twice(body, store)
    assert len(page.lines) == 2


def test_a_field_of_the_users_own_is_not_overwritten(page: Page, store: MemoryStore) -> None:
    """And does not raise, as it would with a record factory that sets the same name."""
    add_fields(page.log)
    handler_of(lambda: page.log.info("x", extra={"execution": "mine", "step": 7}), store)({}, None)
    assert page.lines == ["mine 1 7: x"]


def test_behind_a_queue_the_fields_are_those_of_the_thread_that_logged(page: Page, store: MemoryStore) -> None:
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    front = logging.Logger("front", logging.INFO)
    front.addHandler(logging.handlers.QueueHandler(waiting))
    add_fields(front)
    listener = logging.handlers.QueueListener(waiting, page.handler)
    listener.start()
    handler_of(lambda: step("a", lambda: front.info("queued")), store)({}, None)
    listener.stop()
    assert page.lines == ["f/evt-1 1 a: queued"]


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    log, level = logging.getLogger(), logging.getLogger().level
    yield log
    log.setLevel(level)


def test_without_a_target_it_is_the_root_loggers_handlers(page: Page, store: MemoryStore, root: logging.Logger) -> None:
    root.addHandler(page.handler)
    root.setLevel(logging.INFO)
    undo = add_fields()
    try:
        handler_of(lambda: step("a", lambda: logging.getLogger("some.library").info("hello")), store)({}, None)
    finally:
        undo()
        root.removeHandler(page.handler)
    assert page.lines == ["f/evt-1 1 a: hello"]


def test_the_undo_leaves_the_handlers_as_they_were(page: Page) -> None:
    undo = add_fields(page.log)
    assert len(page.handler.filters) == 2
    undo()
    assert page.handler.filters == []


def test_a_logger_without_handlers_is_refused() -> None:
    with pytest.raises(ValueError, match="basicConfig"):
        add_fields(logging.Logger("bare"))


def test_it_needs_nothing_but_the_standard_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, durably.telemetry.logs\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'aws_lambda_powertools'))])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stderr


class Powered:
    """Powertools' Logger on a stream."""

    def __init__(self, service: str) -> None:
        powertools = pytest.importorskip("aws_lambda_powertools")
        self.stream = io.StringIO()
        self.logger = powertools.Logger(service=service, stream=self.stream)
        add_fields(self.logger)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def told(self) -> list[tuple[Any, ...]]:
        return [(line["message"], *map(line.get, ("execution", "attempt", "step"))) for line in self.lines]


def test_powertools_logger_carries_the_fields_and_leaks_none_into_the_next_invocation(store: MemoryStore) -> None:
    powered = Powered("fields")
    log = powered.logger

    @log.inject_lambda_context
    @durable(store=store, name="f")
    def handler(event: Any, context: Any) -> None:
        log.info("handler")
        fan_out("thread", log.info, ["a", "b"], workers=2)

    @log.inject_lambda_context
    def other(event: Any, context: Any) -> None:
        log.info("another function, in the same sandbox")

    handler(ENVELOPE, Context(30))
    other({}, Context(30))
    execution = f"f/{ENVELOPE['detail']['metadata']['id']}"
    told = powered.told()
    assert told[0] == ("handler", execution, 1, None)
    assert sorted(told[1:3]) == [(key, execution, 1, f"thread[{key}]") for key in "ab"]
    assert told[3] == ("another function, in the same sandbox", None, None, None)
    assert all("function_request_id" in line for line in powered.lines)
    assert "step" not in powered.lines[3], "what is missing is left out"


def test_powertools_logger_logs_nothing_twice_by_replay(store: MemoryStore) -> None:
    powered = Powered("replays")

    def body(left: list[int]) -> None:
        powered.logger.info("begun")
        step("a", lambda: powered.logger.info("in a"))
        fail_once(left)

    twice(body, store)
    assert powered.told() == [("begun", "f/evt-1", 1, None), ("in a", "f/evt-1", 1, "a")]


def test_a_child_of_powertools_logger_has_the_fields_too(store: MemoryStore) -> None:
    powertools = pytest.importorskip("aws_lambda_powertools")
    powered = Powered("parent")
    child = powertools.Logger(service="parent", child=True)
    handler_of(lambda: step("a", lambda: child.info("from a module")), store)({}, None)
    assert powered.told() == [("from a module", "f/evt-1", 1, "a")]


def test_powertools_tracer_and_logger_and_spans_at_once(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    powertools = pytest.importorskip("aws_lambda_powertools")
    pytest.importorskip("aws_xray_sdk")
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from durably.telemetry import instrument

    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    powered, tracer, undo = Powered("all"), powertools.Tracer(service="all"), instrument(tracer_provider=provider)

    @tracer.capture_method
    def fetch() -> str:
        powered.logger.info("fetching")
        return "done"

    @powered.logger.inject_lambda_context
    @tracer.capture_lambda_handler
    @durable(store=store, name="f")
    def handler(event: Any, context: Any) -> str:
        return step("fetch", fetch)

    try:
        assert handler(ENVELOPE, Context(30)) == "done"
    finally:
        undo()
    assert [span.name for span in exporter.get_finished_spans()] == ["fetch", "f"]
    assert powered.told()[0][3] == "fetch"
