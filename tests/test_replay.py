"""A production failure at the desk: the handler runs here, answered from the real journal, and nothing is written to it."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from durably import (
    DurablyError,
    DynamoDBStore,
    Fatal,
    MemoryStore,
    aio,
    current_execution,
    durable,
    execution,
    fan_out,
    once,
    step,
)
from durably.entries import Head, Segment
from durably.history import replaying

from .clocks import Context
from .servers import client
from .stores_for_tests import FOREVER, Watched

pytest_plugins = ["tests.stores_for_tests"]

EVENT = {"id": "evt-1", "detail-type": "order", "source": "shop", "detail": {"order": "o-1"}}


class ReadOnly:
    """A store of which there is nothing but what a replay may use."""

    def __init__(self, store: Any) -> None:
        self.clock = store.clock
        self._store = store

    def read(self, execution: str, *, until: float) -> Head | None:
        return self._store.read(execution, until=until)

    def load(self, execution: str, generation: str, *, until: float) -> list[Segment]:
        return self._store.load(execution, generation, until=until)


@pytest.fixture
def items(table: tuple[str, Any]) -> Callable[[], list[Any]]:
    """All items of the table, as they lie there."""
    name, boto_client = table

    def scan() -> list[Any]:
        pages = boto_client.get_paginator("scan").paginate(TableName=name, ConsistentRead=True)
        return sorted((item for page in pages for item in page["Items"]), key=str)

    return scan


def replay(handler: Callable[..., Any], store: Watched, *, live: bool = False) -> replaying.Replayed:
    return replaying.replay(handler, replaying.copied(ReadOnly(store.inner), store.execution), live=live)


@pytest.fixture
def effects() -> list[str]:
    return []


@pytest.fixture
def handler(store: Watched, namespace: str, effects: list[str]) -> Callable[..., Any]:
    """It fails at its third step, for what this order is."""

    def charge(order: dict[str, Any]) -> str:
        effects.append("charge")
        if order["total"] > 100:
            raise ValueError(f"card refused for {order['total']}")
        return "paid"

    @durable(name="orders", store=store)
    def handler(event: Any, context: Any) -> Any:
        order = step("fetch", lambda: effects.append("fetch") or {"order": event["detail"]["order"], "total": 180})
        order["shown"] = step("show", lambda: effects.append("show") or "shown", repeatable=True)
        try:
            return step("charge", charge, order)
        except Exception as error:
            raise RuntimeError("no receipt") from error

    with pytest.raises(RuntimeError):
        handler(EVENT, None)
    effects.clear()
    return handler


def test_the_first_step_without_an_outcome_stops_before_its_effect(
    handler: Callable[..., Any], store: Watched, effects: list[str]
) -> None:
    answer = replay(handler, store)
    assert (answer.stopped_at, answer.answered, answer.ran) == ("charge", ("fetch", "show"), ())
    assert isinstance(answer.error, replaying.Stopped)
    assert effects == []


def test_live_reproduces_the_failure_with_the_data_of_production(
    handler: Callable[..., Any], store: Watched, effects: list[str]
) -> None:
    answer = replay(handler, store, live=True)
    assert (answer.stopped_at, answer.answered, answer.ran) == ("", ("fetch", "show"), ("charge",))
    assert isinstance(answer.error, RuntimeError)
    assert str(answer.error.__cause__) == "card refused for 180"
    assert effects == ["charge"]


@pytest.mark.parametrize("live", [False, True])
def test_nothing_is_written_to_the_real_store(
    handler: Callable[..., Any], store: Watched, live: bool, request: pytest.FixtureRequest
) -> None:
    head = store.head()
    before = (head, store.inner.load(head.id, head.generation, until=FOREVER))
    scan = request.getfixturevalue("items") if isinstance(store.inner, DynamoDBStore) else list
    lying, calls = scan(), len(store.calls)
    replay(handler, store, live=live)
    assert store.calls[calls:] == []
    assert (store.head(), store.inner.load(head.id, head.generation, until=FOREVER)) == before
    assert scan() == lying


@pytest.fixture
def plain() -> tuple[MemoryStore, list[str]]:
    return MemoryStore(), []


def failed(store: MemoryStore, body: Callable[[], Any], **options: Any) -> Callable[..., Any]:
    """A handler whose first attempt raised after the step `first`; the code that is replayed is another."""
    now: list[Callable[[], Any]] = [lambda: (step("first", lambda: 1), step("bad", _bad))]

    @durable(name="f", store=store, **options)
    def handler(event: Any, context: Any) -> Any:
        return now[0]()

    with pytest.raises(Exception):
        handler(EVENT, None)
    now[0] = body
    return handler


def _bad() -> None:
    raise ValueError("no")


def at_the_desk(handler: Callable[..., Any], store: MemoryStore, *, live: bool = False) -> replaying.Replayed:
    return replaying.replay(handler, replaying.copied(ReadOnly(store), "f/evt-1"), live=live)


def test_the_users_code_can_not_take_the_stop_for_a_failure(plain: tuple[MemoryStore, list[str]]) -> None:
    store, done = plain

    def body() -> None:
        step("first", lambda: 0)
        try:
            step("new", done.append, "effect")
        except Exception:
            step("fallback", done.append, "fallback")

    answer = at_the_desk(failed(store, body), store)
    assert (answer.stopped_at, done) == ("new", [])


def test_a_bare_except_does_not_get_further_either(plain: tuple[MemoryStore, list[str]]) -> None:
    store, done = plain

    def body() -> str:
        for name in ("one", "two"):
            try:
                step(name, done.append, name)
            except BaseException:
                pass
        return "went on"

    answer = at_the_desk(failed(store, body), store)
    assert (answer.stopped_at, answer.result, done) == ("one", "went on", [])


@pytest.mark.parametrize("options", [{}, {"recover": lambda: 1}, {"at_most_once": True}, {"repeatable": True}])
def test_a_step_of_any_kind_stops_before_anything_of_it(
    plain: tuple[MemoryStore, list[str]], options: dict[str, Any]
) -> None:
    store, done = plain
    if "recover" in options:
        options = {"recover": lambda: done.append("recover")}
    answer = at_the_desk(failed(store, lambda: step("new", done.append, "effect", **options)), store)
    assert (answer.stopped_at, done) == ("new", [])


def test_a_fan_out_stops_at_its_first_item_without_an_outcome(plain: tuple[MemoryStore, list[str]]) -> None:
    store, done = plain
    body = lambda: fan_out("item", done.append, ["a", "b", "c"], workers=2, return_exceptions=True)  # noqa: E731
    answer = at_the_desk(failed(store, body), store)
    assert answer.stopped_at in ("item[a]", "item[b]")
    assert done == []


def test_an_async_handler_is_replayed(plain: tuple[MemoryStore, list[str]]) -> None:
    store, done = plain

    async def effect(name: str) -> str:
        done.append(name)
        if name == "bad":
            raise ValueError("no")
        return name

    @aio.durable(name="f", store=store)
    async def handler(event: Any, context: Any) -> Any:
        first = await aio.step("first", effect, "first")
        both = await asyncio.gather(
            aio.step("bad", effect, "bad"), aio.step("also bad", effect, "bad"), return_exceptions=bool(done[1:])
        )
        return first, both

    with pytest.raises(ValueError):
        asyncio.run(handler(EVENT, None))
    del done[1:]
    for gathered in (False, True):
        done[1:] = ["x"] * gathered
        answer = at_the_desk(handler, store)
        # gather told of one of the two: what the other failed with was not handled, and is no history either.
        assert (answer.stopped_at, answer.answered) == ("bad", ("first",))
        assert done == ["first", "x"][: 1 + gathered]
    answer = at_the_desk(handler, store, live=True)
    assert answer.ran == ("bad", "also bad")


def test_other_executions_begun_by_the_handler_are_in_memory_too(
    plain: tuple[MemoryStore, list[str]],
) -> None:
    store, done = plain

    def body() -> str:
        once("mail", done.append, "mail", store=store)
        with execution("job", store=store) as ex:
            ex.result = step("inside", done.append, "job")
        return "done"

    answer = at_the_desk(failed(store, body), store, live=True)
    assert (answer.result, done) == ("done", ["mail", "job"])
    assert [head.id for head in store.newest(9, until=FOREVER)] == ["f/evt-1"]
    assert at_the_desk(failed(MemoryStore(), body), store).stopped_at == "once"


@pytest.mark.parametrize("live", [False, True])
def test_what_nested_executions_have_done_is_not_done_again(plain: tuple[MemoryStore, list[str]], live: bool) -> None:
    store, done = plain

    @durable(name="inner", id=lambda event, context: event["id"], store=store)
    def inner(event: Any, context: Any) -> str:
        step("of inner", done.append, "inner")
        raise_now("inner")
        return "inner"

    def raise_now(name: str) -> None:
        if failing == [name]:
            raise ValueError(name)

    @durable(name="f", store=store)
    def handler(event: Any, context: Any) -> Any:
        once("mail", done.append, "mail", store=store)
        with execution("job", store=store):
            step("in job", done.append, "job")
            raise_now("job")
        inner({"id": "i"}, None)
        return "done"

    failing = ["job"]
    with pytest.raises(ValueError):
        handler(EVENT, None)
    assert done == ["mail", "job"]
    before = [store.read(head.id, until=FOREVER) for head in store.newest(9, until=FOREVER)]
    answer = at_the_desk(handler, store, live=live)
    assert (done, answer.answered, str(answer.error)) == (["mail", "job"], ("in job",), "job")
    failing.clear()
    answer = at_the_desk(handler, store, live=live)
    assert (done, answer.ran) == (["mail", "job", *["inner"] * live], ("of inner",) * live)
    assert answer.stopped_at == ("" if live else "of inner")
    assert [store.read(head.id, until=FOREVER) for head in store.newest(9, until=FOREVER)] == before


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_a_finished_execution_runs_at_the_desk_as_if_it_were_not(end: str) -> None:
    store, fails = MemoryStore(), [end == "failed"]

    @durable(name="f", store=store)
    def handler(event: Any, context: Any) -> Any:
        first = step("first", lambda: 1)
        if fails[0]:
            raise Fatal("never")
        return {"first": first, "id": current_execution().id, "ms": context.get_remaining_time_in_millis()}

    if end == "failed":
        with pytest.raises(Fatal):
            handler(EVENT, None)
        answer = at_the_desk(handler, store)
        assert isinstance(answer.error, Fatal)
        fails[0] = False
    else:
        handler(EVENT, Context(60))
    answer = at_the_desk(handler, store)
    assert answer.result == {"first": 1, "id": "f/evt-1", "ms": 900_000}
    assert answer.answered == ("first",)


def test_the_context_is_lambdas(plain: tuple[MemoryStore, list[str]]) -> None:
    store, _ = plain
    seen: list[Any] = []

    @durable(name="f", store=store)
    def handler(event: Any, context: Any) -> Any:
        seen.append((event, context, os.environ.get("AWS_LAMBDA_FUNCTION_NAME")))
        raise ValueError

    with pytest.raises(ValueError):
        handler(EVENT, type("Context", (), {"aws_request_id": "r-1"})())
    at_the_desk(handler, store)
    event, context, name = seen[-1]
    assert (event, context.function_name, context.aws_request_id, name) == (EVENT, "f", "r-1", "f")
    assert "AWS_LAMBDA_FUNCTION_NAME" not in os.environ
    for attribute in ("function_version", "invoked_function_arn", "memory_limit_in_mb", "log_group_name"):
        assert getattr(context, attribute)


def test_what_can_not_be_replayed_says_so(plain: tuple[MemoryStore, list[str]]) -> None:
    store, _ = plain
    handler = failed(store, lambda: None)
    with pytest.raises(DurablyError, match="no execution"):
        replaying.copied(store, "f/other")
    with pytest.raises(DurablyError, match="no function under @durable"):
        replaying.replay(lambda event, context: None, replaying.copied(store, "f/evt-1"))

    @durable(name="f", store=store)
    def another(event: Any, context: Any) -> None: ...

    with pytest.raises(DurablyError, match=r"is of .*handler.* 'test_what.*another' was given"):
        replaying.replay(another, replaying.copied(store, "f/evt-1"))
    with pytest.raises(ValueError), execution("job", store=store):
        raise ValueError
    with pytest.raises(DurablyError, match=r"begun by code, with execution\(…\) or once"):
        replaying.copied(store, "execution/job")
    assert handler is not another


def test_the_table_is_compared_item_by_item(dynamodb_local: str) -> None:
    """The comparison above bites: one renewal would show."""
    name = f"replay-{uuid.uuid4().hex[:8]}"
    boto_client = client(dynamodb_local)
    store = DynamoDBStore(name, client=boto_client)
    store.create_table()
    handler = failed(store, lambda: None)
    before = boto_client.scan(TableName=name)["Items"]
    at_the_desk(handler, store)
    assert boto_client.scan(TableName=name)["Items"] == before
    handler(EVENT, None)
    assert boto_client.scan(TableName=name)["Items"] != before
    boto_client.delete_table(TableName=name)
