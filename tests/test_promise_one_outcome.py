"""P1 and P2: a step has one outcome for ever, and it is in the store before anyone sees it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from durably import NOT_DONE, MemoryStore, Retry, current_step, durable, execution, fan_out, once, step
from durably.naming import idempotency_key

from .stores_for_tests import Attempt, Killed, Watched

pytest_plugins = ["tests.stores_for_tests"]

FALSY: list[Any] = [None, 0, 0.0, "", [], {}, (), False, b"", set()]


class Boom(Exception):
    pass


class Effects(list[str]):
    """What happened in the world."""

    def of(self, name: str, result: Any = None) -> Callable[..., Any]:
        def effect(*args: Any) -> Any:
            self.append(name)
            return result

        return effect


@pytest.fixture
def effects() -> Effects:
    return Effects()


@pytest.mark.parametrize("value", FALSY, ids=repr)
def test_a_falsy_result_is_a_result_like_any_other(attempt: Attempt, effects: Effects, value: Any) -> None:
    def body() -> Any:
        got = step("give", effects.of("give", value))
        assert got == value
        assert type(got) is type(value)
        if effects.count("fail") == 0:
            effects.append("fail")
            raise Boom
        return [got]

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == [value]
    assert attempt(body) == [value]
    assert effects.count("give") == 1


@pytest.mark.parametrize("value", FALSY, ids=repr)
def test_a_falsy_result_of_the_handler_completes_it(attempt: Attempt, effects: Effects, value: Any) -> None:
    def body() -> Any:
        effects.append("ran")
        return value

    for _ in range(3):
        got = attempt(body)
        assert got == value
        assert type(got) is type(value)
    assert effects == ["ran"]


@pytest.mark.parametrize("value", FALSY, ids=repr)
def test_a_falsy_result_of_once_is_remembered(store: Watched, effects: Effects, value: Any) -> None:
    assert [once("k", effects.of("give", value), store=store) for _ in range(3)] == [value] * 3
    assert effects == ["give"]


def test_whoever_asks_again_gets_the_outcome_and_fn_is_not_called(attempt: Attempt, effects: Effects) -> None:
    def body() -> Any:
        first = step("pay", effects.of("pay", "receipt-1"))
        if len(effects) < 4:
            effects.append("retry")
            raise Boom
        return first

    for _ in range(3):
        with pytest.raises(Boom):
            attempt(body)
    assert attempt(body) == "receipt-1"
    assert effects.count("pay") == 1


@dataclass
class Finding:
    id: int
    when: datetime
    price: Decimal


def find() -> list[Finding]:
    return [Finding(1, datetime(2026, 1, 2, tzinfo=UTC), Decimal("1.10"))]


def test_first_run_and_replay_give_equal_values_of_the_same_types(attempt: Attempt, effects: Effects) -> None:
    seen: list[Any] = []
    raw: list[Any] = []

    def pair() -> tuple[int, list[str]]:
        raw.append((1, ["a"]))
        return raw[0]  # type: ignore[no-any-return]

    def body() -> None:
        seen.append((step("pair", pair), step("find", find)))
        if len(seen) == 1:
            raise Boom

    with pytest.raises(Boom):
        attempt(body)
    attempt(body)
    assert seen[0] == seen[1] == ((1, ["a"]), find())
    assert type(seen[0][0]) is type(seen[1][0]) is tuple
    assert type(seen[0][1][0]) is type(seen[1][1][0]) is Finding
    assert seen[0][0][1] is not raw[0][1], "the first run must give what the codec gives, not the raw value"


def test_what_has_no_way_back_to_its_class_is_the_same_on_first_run_and_replay(attempt: Attempt) -> None:
    """Without an annotation there may be no way back to the class; then the first run must not show it either."""
    seen: list[Any] = []

    def body() -> None:
        try:
            seen.append(step("find", lambda: Finding(1, datetime(2026, 1, 2, tzinfo=UTC), Decimal("1.10"))))
        except Exception as error:
            seen.append((type(error), str(error)))
        if len(seen) == 1:
            raise Boom

    with pytest.raises(Boom):
        attempt(body)
    attempt(body)
    assert type(seen[0]) is type(seen[1])
    assert seen[0] == seen[1]


def test_an_outcome_is_in_the_store_when_step_returns(attempt: Attempt, store: Watched) -> None:
    def body() -> None:
        step("a", lambda: 1)
        assert store.lines() == [("result", "a")]
        step("b", lambda: 2)
        assert store.lines() == [("result", "a"), ("result", "b")]

    attempt(body)


def test_a_kill_before_the_append_leaves_no_outcome_and_after_it_one(
    attempt: Attempt, killed: Callable[..., None], store: Watched, effects: Effects
) -> None:
    def body() -> str:
        return step("pay", effects.of("pay", "receipt"))  # type: ignore[no-any-return]

    store.when("append").before(store.die)
    killed(body)
    assert effects == ["pay"]
    store.when("append", 2).after(store.die)  # the first is the fence of the takeover
    killed(body)
    assert effects == ["pay", "pay"]
    assert attempt(body) == "receipt"
    assert effects == ["pay", "pay"]


def test_n_sequential_steps_cost_n_plus_two_calls_and_no_read(attempt: Attempt, store: Watched) -> None:
    attempt(lambda: [step(f"s{i}", lambda: 1) for i in range(7)])
    assert store.names() == ["claim", *["append"] * 7, "end"]


def test_a_handler_without_steps_costs_two_calls(attempt: Attempt, store: Watched) -> None:
    attempt(lambda: "done")
    assert store.names() == ["claim", "end"]


def test_a_replay_costs_a_claim_and_one_load(attempt: Attempt, store: Watched, effects: Effects) -> None:
    def body() -> None:
        for i in range(5):
            step(f"s{i}", effects.of("s"))
        if effects.count("fail") == 0:
            effects.append("fail")
            raise Boom

    with pytest.raises(Boom):
        attempt(body)
    store.forget()
    attempt(body)
    assert store.names() == ["claim", "load", "end"]


def test_a_takeover_after_a_crash_costs_one_write_more(
    attempt: Attempt, killed: Callable[..., None], store: Watched
) -> None:
    def body() -> None:
        step("a", lambda: 1)
        step("b", lambda: 1)

    store.when("append", 2).before(store.die)
    killed(body)
    store.forget()
    attempt(body)
    assert store.names() == ["claim", "load", "append", "append", "end"]
    kinds = [[entry.kind for entry in argument.entries] for name, argument in store.calls if name == "append"]
    assert kinds == [["began"], ["result"]]


def test_consecutive_repeatable_steps_share_one_append_with_the_next_steps_own(
    attempt: Attempt, store: Watched
) -> None:
    def body() -> None:
        for i in range(3):
            step(f"page-{i}", lambda: 1, repeatable=True)
        assert store.lines() == []
        assert store.count("append") == 0

        def effect() -> None:
            assert store.lines() == [("result", f"page-{i}") for i in range(3)]

        step("save", effect)

    attempt(body)
    assert store.count("append") == 2
    assert store.lines() == [*[("result", f"page-{i}") for i in range(3)], ("result", "save")]


def test_pending_results_are_appended_together_with_started(attempt: Attempt, store: Watched) -> None:
    def body() -> None:
        step("page", lambda: 1, repeatable=True)

        def effect() -> None:
            assert store.lines() == [("result", "page"), ("started", "save")]
            assert store.count("append") == 1

        step("save", effect, recover=lambda: NOT_DONE)

    attempt(body)
    assert store.count("append") == 2


def test_pending_results_are_appended_before_recover_is_asked(
    attempt: Attempt, killed: Callable[..., None], store: Watched
) -> None:
    pages: list[str] = ["first"]

    def body(add: str | None = None) -> None:
        step(f"page-{add}", lambda: 1, repeatable=True)
        step("save", store.die if add == "first" else lambda: 1, recover=recover)

    def recover() -> Any:
        assert ("result", "page-second") in store.lines()
        pages.append("asked")
        return "found"

    killed(lambda: body("first"))
    attempt(lambda: body("second"))
    assert pages == ["first", "asked"]


def test_pending_results_are_appended_at_the_end_of_an_attempt(attempt: Attempt, store: Watched) -> None:
    ran: list[int] = []

    def body() -> None:
        step("page", lambda: ran.append(1), repeatable=True)
        if len(ran) == 1:
            ran.append(0)
            raise Boom

    with pytest.raises(Boom):
        attempt(body)
    assert store.lines() == [("result", "page")]
    attempt(body)
    assert ran == [1, 0]


def test_pending_results_are_appended_before_completed(attempt: Attempt, store: Watched) -> None:
    attempt(lambda: step("page", lambda: 1, repeatable=True))
    assert store.names() == ["claim", "append", "end"]
    assert store.lines() == [("result", "page")]


def test_a_killed_attempt_runs_its_pending_repeatable_steps_again(
    attempt: Attempt, killed: Callable[..., None], store: Watched, effects: Effects
) -> None:
    def body() -> None:
        step("page", effects.of("page"), repeatable=True)
        step("save", effects.of("save"))

    store.when("append").before(store.die)
    killed(body)
    attempt(body)
    assert effects == ["page", "page", "save"]


def test_a_handled_failure_is_appended_before_the_next_step_that_is_not_repeatable(
    attempt: Attempt, store: Watched
) -> None:
    def fail() -> None:
        raise Boom("no")

    def body() -> None:
        with pytest.raises(Boom):
            step("primary", fail)
        assert store.lines() == []
        step("look", lambda: 1, repeatable=True)
        assert store.lines() == []
        step("fallback", lambda: order.append(store.lines()))

    order: list[Any] = []
    attempt(body)
    assert order == [[("error", "primary"), ("result", "look")]]


def test_a_handled_failure_is_appended_before_recover_of_the_next_step(
    attempt: Attempt, killed: Callable[..., None], store: Watched
) -> None:
    asked: list[Any] = []

    def fail() -> None:
        raise Boom

    def body(first: bool) -> None:
        if not first:
            with pytest.raises(Boom):
                step("primary", fail)
        step("save", store.die if first else lambda: 1, recover=lambda: asked.append(store.lines()))

    killed(lambda: body(True))
    attempt(lambda: body(False))
    assert asked == [[("started", "save"), ("error", "primary")]]


def test_a_handled_failure_with_no_step_after_it_is_appended_at_the_end(attempt: Attempt, store: Watched) -> None:
    def fail() -> None:
        raise Boom

    def body() -> str:
        with pytest.raises(Boom):
            step("primary", fail)
        return "done"

    assert attempt(body) == "done"
    assert store.lines() == [("error", "primary")]


def test_a_repeatable_step_that_is_recorded_is_replayed(attempt: Attempt, effects: Effects) -> None:
    def body() -> Any:
        page = step("page", effects.of("page", [1]), repeatable=True)
        step("save", effects.of("save"))
        if effects.count("fail") == 0:
            effects.append("fail")
            raise Boom
        return page

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == [1]
    assert effects == ["page", "save", "fail"]


def test_a_fan_out_keeps_every_outcome_it_had_before_a_kill(
    attempt: Attempt, killed: Callable[..., None], store: Watched, effects: Effects
) -> None:
    def body() -> list[str]:
        return fan_out("thread", one, ["a", "b", "c", "d"], workers=1)

    def one(item: str) -> str:
        effects.append(item)
        if effects.count("c") == 1 and item == "c":
            store.die()
        return item.upper()

    killed(body)
    assert attempt(body) == ["A", "B", "C", "D"]
    assert {item: effects.count(item) for item in "abcd"} == {"a": 1, "b": 1, "c": 2, "d": 1}


def test_a_fan_out_returns_in_the_order_of_its_items_on_first_run_and_replay(attempt: Attempt) -> None:
    seen: list[Any] = []

    def body() -> None:
        seen.append(fan_out("n", lambda n: n * 10, [3, 1, 2], workers=3))
        seen.append(fan_out("empty", lambda n: n, []))
        if len(seen) == 2:
            raise Boom

    with pytest.raises(Boom):
        attempt(body)
    attempt(body)
    assert seen == [[30, 10, 20], [], [30, 10, 20], []]


def test_an_items_step_is_called_name_and_key(attempt: Attempt, store: Watched) -> None:
    attempt(lambda: fan_out("thread", lambda f: 1, [{"id": 7}], key=lambda f: f["id"]))
    assert store.lines() == [("result", "thread[7]")]


def test_a_block_keeps_outcomes_and_its_result(store: Watched, effects: Effects) -> None:
    def run() -> Any:
        with execution("order-1", store=store) as ex:
            if ex.finished:
                return ex.result
            ex.result = step("pay", effects.of("pay", (1, 2)))
            return None

    assert run() is None
    assert run() == (1, 2)
    assert effects == ["pay"]


def test_the_body_of_a_finished_block_is_a_replay(store: Watched, effects: Effects) -> None:
    def run() -> Any:
        with execution("order-1", store=store) as ex:
            paid = step("pay", effects.of("pay", "receipt"))
            ex.result = paid
        return ex.result

    assert [run(), run()] == ["receipt", "receipt"]
    assert effects == ["pay"]


def test_a_new_step_in_the_body_of_a_finished_block_raises(store: Watched, effects: Effects) -> None:
    with execution("order-1", store=store):
        step("pay", effects.of("pay"))
    with pytest.raises(Exception, match="ship") as caught, execution("order-1", store=store):
        step("pay", effects.of("pay"))
        step("ship", effects.of("ship"))
    assert effects == ["pay"]
    assert "finished" in str(caught.value)


def test_a_retried_step_has_one_outcome(attempt: Attempt, store: Watched) -> None:
    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("again")
        return "ok"

    assert attempt(lambda: step("get", flaky, retry=Retry(5, on=OSError, delay=timedelta(seconds=1)))) == "ok"
    assert store.lines() == [("result", "get")]
    assert len(tries) == 3
    assert store.journal()[0].tries == 3


def test_two_executions_share_nothing(attempt: Attempt, effects: Effects) -> None:
    for event in ("evt-1", "evt-2"):
        attempt(lambda: step("pay", effects.of("pay")), event_id=event)
    assert effects == ["pay", "pay"]


def test_a_decorated_function_takes_its_own_name(attempt: Attempt, store: Watched) -> None:
    @step
    def fetch(n: int) -> int:
        return n + 1

    @step.named("thread/{path}:{line}")
    def thread(path: str, line: int = 3) -> str:
        return f"{path}:{line}"

    assert attempt(lambda: (fetch(1), thread("a.py", line=9), thread("b.py"))) == (2, "a.py:9", "b.py:3")
    assert [name for _, name in store.lines()] == ["fetch", "thread/a.py:9", "thread/b.py:3"]


def test_of_two_recorded_outcomes_the_first_is_the_outcome(attempt: Attempt, store: Watched) -> None:
    """No attempt writes a second one; should one ever stand there, the first was shown to the world."""
    with pytest.raises(Boom):
        attempt(lambda: (step("a", lambda: "first"), step("b", lambda: "second"), raise_boom()))
    first, second = (argument for name, argument in store.calls if name == "append")
    entry = second.entries[0]._replace(step="a")
    assert store.inner.append(first._replace(number=3, entries=(entry,)), until=1e12)
    assert attempt(lambda: step("a", lambda: "third")) == "first"


def raise_boom() -> None:
    raise Boom


def test_a_kill_at_any_store_call_ends_in_the_same_result(
    attempt: Attempt, store: Watched, clock: Any, effects: Effects
) -> None:
    """P1, P2 and P3 at every point of a small handler: each effect at most once more, for the kill in its own window."""

    def body() -> Any:
        a = step("a", effects.of("a", 1))
        page = step("page", effects.of("page", 2), repeatable=True)
        b = step("b", effects.of("b", 3), recover=lambda: 3 if "b" in effects else NOT_DONE)
        return [a, page, b]

    for side in ("before", "after"):
        for method, nth in [("claim", 1), ("append", 1), ("append", 2), ("append", 3), ("end", 1)]:
            effects.clear()
            event = f"evt-{side}-{method}-{nth}"
            getattr(store.when(method, nth), side)(store.die)
            with pytest.raises(Killed):
                attempt(body, event_id=event)
            store.revive()
            clock.advance(60)
            assert attempt(body, event_id=event) == [1, 2, 3]
            assert effects.count("a") == (2 if (side, method, nth) == ("before", "append", 1) else 1)
            assert effects.count("b") == 1


def test_a_durable_function_stays_callable_with_a_plain_event_and_no_context(store: Watched) -> None:
    @durable(store=store)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        return {"seen": step("look", lambda: event["detail"])}

    event = {"id": "e-1", "source": "s", "detail-type": "t", "detail": [1]}
    assert handler(event, None) == {"seen": [1]}


def test_a_step_named_after_a_file_whose_name_is_no_text_has_an_idempotency_key_too() -> None:
    store, keys = MemoryStore(), []
    for _ in range(2):
        with execution("x", store=store):
            keys.append(step("read/\udcff", lambda: current_step().idempotency_key))  # type: ignore[union-attr]
    assert keys[0] == keys[1] == idempotency_key("execution/x", "read/\udcff")
    assert idempotency_key("a/é", "b") == str(uuid.uuid5(uuid.NAMESPACE_URL, "durably:a/é\0b"))
