"""P9: removable, and no hidden holes."""

from __future__ import annotations

import contextvars
import os
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durably import (
    NOT_DONE,
    DurablyError,
    ExecutionInProgress,
    SQLiteStore,
    current_execution,
    current_step,
    durable,
    execution,
    fan_out,
    step,
)

from .clocks import Context, FakeClock
from .stores_for_tests import Attempt, Other, Watched

pytest_plugins = ["tests.stores_for_tests"]

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


class Boom(Exception):
    pass


def in_thread(fn: Callable[[], Any]) -> Any:
    return Other(fn).result()


# ---- forked children


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("way", ["a step", "an exit through the handler", "a return from the handler"])
def test_a_forked_child_appends_nothing_and_leaves_the_lease_alone(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the attempt's owner id: what it appended would pass for its parent's own lost answer."""
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    store, parent = SQLiteStore(tmp_path / "durably.db"), os.getpid()
    ran, fails = tmp_path / "ran", True

    def effect(name: str) -> str:
        with ran.open("a") as file:
            file.write(f"{name} ")
        return name

    def in_child() -> int:
        if way == "a step":
            step("child", effect, "child")
        if way == "an exit through the handler":
            raise SystemExit(3)
        return 1

    @durable(id=lambda event, context: "1", store=store)
    def handler(event: object, context: object) -> str:
        now = current_execution()
        assert now is not None
        execution_id = now.id
        if fails:
            child = os.fork()
            if not child:
                return str(in_child())
            os.waitpid(child, 0)
            head = store.read(execution_id, until=time.monotonic() + 5)
            assert head is not None
            assert (head.status, head.lease_until > time.time()) == ("running", True)
        result = step("parent", effect, "parent")
        if fails:
            raise Boom
        return result

    try:
        with pytest.raises(Boom):
            handler({}, None)
    finally:
        if os.getpid() != parent:
            os._exit(0)
    fails = False
    assert handler({}, None) == "parent"
    assert ran.read_text() == "parent "


# ---- outside an execution


def test_outside_an_execution_a_step_just_runs() -> None:
    value = object()
    assert step("a", lambda x: x, value) is value
    assert step("a", lambda: 1) == step("a", lambda: 1) == 1
    with pytest.raises(Boom):
        step("b", raising_boom, recover=lambda: NOT_DONE, at_most_once=True)


def raising_boom() -> None:
    raise Boom


def test_outside_an_execution_decorated_functions_just_run() -> None:
    @step
    def plain(n: int, *, twice: bool = False) -> int:
        """Its own text."""
        return n * (2 if twice else 1)

    @step.named("x/{n}", repeatable=True, reserve=timedelta(seconds=5))
    def named(n: int) -> int:
        return n

    assert plain(2) == 2
    assert plain(2, twice=True) == 4
    assert named(3) == named(3) == 3
    assert plain.__name__ == "plain"
    assert plain.__doc__ == "Its own text."


def test_outside_an_execution_a_fan_out_just_runs() -> None:
    assert fan_out("n", lambda n: n + 1, [1, 2, 3]) == [2, 3, 4]
    with pytest.raises(Boom):
        fan_out("n", lambda n: raising_boom(), [1, 2])
    answers = fan_out("n", lambda n: raising_boom() if n == 2 else n, [1, 2], return_exceptions=True)
    assert answers[0] == 1
    assert isinstance(answers[1], Boom)


def test_outside_an_execution_nothing_is_current() -> None:
    assert current_execution() is None
    assert current_step() is None


def test_outside_an_execution_methods_can_be_steps(attempt: Attempt, store: Watched) -> None:
    class Client:
        def __init__(self) -> None:
            self.calls = 0

        @step
        def fetch(self, n: int) -> int:
            self.calls += 1
            return n + self.calls

    client = Client()
    assert client.fetch(1) == 2
    assert attempt(lambda: client.fetch(1)) == 3
    assert store.lines() == [("result", "fetch")]


# ---- the handler stays what it was


def test_the_handler_is_called_with_the_plain_event_and_context(store: Watched) -> None:
    seen: list[Any] = []

    @durable(store=store, name="f", id=lambda event, context: "1")
    def handler(event: Any, context: Any) -> None:
        """Handle it."""
        seen.append((event, context))

    event, context = {"a": [1]}, Context(30)
    assert handler(event, context) is None
    assert seen[0][0] is event
    assert seen[0][1] is context
    assert event == {"a": [1]}
    assert handler.__name__ == "handler"
    assert handler.__doc__ == "Handle it."
    assert handler.__wrapped__.__name__ == "handler"  # type: ignore[attr-defined]


def test_handler_and_steps_run_on_the_callers_thread(attempt: Attempt) -> None:
    threads: list[threading.Thread] = []

    def here() -> None:
        threads.append(threading.current_thread())

    attempt(lambda: (here(), step("a", here), step("b", here, recover=lambda: NOT_DONE)) and None)
    assert set(threads) == {threading.current_thread()}


def test_context_variables_of_handler_and_steps_stay_what_they_were(attempt: Attempt) -> None:
    def body() -> None:
        assert REQUEST.get() == "caller's"
        step("a", lambda: REQUEST.set("step's") and None)
        assert REQUEST.get() == "step's"
        assert step("b", REQUEST.get) == "step's"
        REQUEST.set("handler's")

    def caller() -> None:
        REQUEST.set("caller's")
        attempt(body)
        assert REQUEST.get() == "handler's"

    contextvars.Context().run(caller)


def test_items_of_a_fan_out_see_the_callers_context_variables(attempt: Attempt) -> None:
    def caller() -> None:
        REQUEST.set("caller's")
        answers = attempt(lambda: fan_out("n", lambda n: REQUEST.get(), [1, 2, 3], workers=3))
        assert answers == ["caller's"] * 3

    contextvars.Context().run(caller)


def test_nothing_is_current_after_an_attempt_however_it_ended(attempt: Attempt) -> None:
    attempt(lambda: step("a", lambda: 1))
    assert current_execution() is None
    with pytest.raises(Boom):
        attempt(raising_boom, event_id="evt-2")
    assert current_execution() is None
    assert current_step() is None


def test_what_is_running_can_be_asked(attempt: Attempt, clock: FakeClock, store: Watched) -> None:
    seen: list[Any] = []

    def body() -> None:
        here = current_execution()
        assert here is not None
        seen.append((here.id, here.attempt, here.replaying))
        assert here.remaining is not None
        assert abs(as_seconds(here.remaining) - 30) < 0.1
        step("a", lambda: seen.append(current_execution().replaying))  # type: ignore[union-attr]
        if len(seen) < 3:
            raise Boom

    with pytest.raises(Boom):
        attempt(body, context=Context(30, clock))
    attempt(body, context=Context(30, clock))
    assert seen[0] == (store.execution, 1, False)
    assert seen[1] is False
    assert seen[2][:2] == (store.execution, 2)


def test_an_attempt_is_replaying_until_it_has_asked_for_all_that_is_remembered(attempt: Attempt) -> None:
    seen: list[bool] = []

    def body(then: Callable[[], Any]) -> None:
        for name in ("a", "b"):
            seen.append(current_execution().replaying)  # type: ignore[union-attr]
            step(name, lambda: 1)
        seen.append(current_execution().replaying)  # type: ignore[union-attr]
        then()

    with pytest.raises(Boom):
        attempt(lambda: body(raising_boom))
    attempt(lambda: body(lambda: step("c", lambda: 1)))
    assert seen == [False, False, False, True, True, False]


def as_seconds(duration: Any) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


def test_without_a_context_there_is_no_deadline(attempt: Attempt, clock: FakeClock) -> None:
    def body() -> str:
        clock.advance(1e6)
        return step("a", lambda: "done")

    assert attempt(body) == "done"


def test_order_is_free(attempt: Attempt) -> None:
    ran: list[str] = []
    orders = [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"]]

    def body(order: list[str], fails: bool) -> list[str]:
        results = [step(name, lambda name=name: ran.append(name) or name) for name in order]
        if fails:
            raise Boom
        return results

    for order in orders[:2]:
        with pytest.raises(Boom):
            attempt(lambda order=order: body(order, True))
    assert attempt(lambda: body(orders[2], False)) == ["b", "c", "a"]
    assert ran == ["a", "b", "c"]


def test_names_are_compared_and_arguments_are_not(attempt: Attempt) -> None:
    def body(n: int) -> int:
        got = step("double", lambda x: x * 2, n)
        if n == 1:
            raise Boom
        return got

    with pytest.raises(Boom):
        attempt(lambda: body(1))
    assert attempt(lambda: body(50)) == 2


# ---- threads


def test_in_lambda_a_step_in_a_thread_the_user_started_raises(
    attempt: Attempt, store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "reviewer")
    ran: list[int] = []

    def body() -> str:
        with pytest.raises(DurablyError) as caught:
            in_thread(lambda: step("lost", lambda: ran.append(1)))
        assert "fan_out" in str(caught.value)
        assert "copy_context().run" in str(caught.value)
        assert "'lost'" in str(caught.value)
        return "done"

    assert attempt(body) == "done"
    assert ran == []


def test_in_lambda_a_fan_out_and_a_decorated_step_in_a_thread_raise_too(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "reviewer")
    ran: list[Any] = []

    @step
    def lost(n: int) -> None:
        ran.append(n)

    @step.named("named/{n}")
    def lost_by_name(n: int) -> None:
        ran.append(n)

    def body() -> str:
        with pytest.raises(DurablyError, match="copy_context"):
            in_thread(lambda: fan_out("n", ran.append, [1, 2]))
        with pytest.raises(DurablyError, match="copy_context"), ThreadPoolExecutor(2) as pool:
            list(pool.map(lost, [1, 2]))
        with pytest.raises(DurablyError, match=r"'named/1'.*copy_context"):
            in_thread(lambda: lost_by_name(1))
        return "done"

    assert attempt(body) == "done"
    assert ran == []


def test_in_lambda_a_step_with_no_attempt_running_just_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "reviewer")
    assert step("a", lambda: 1) == 1
    assert in_thread(lambda: step("a", lambda: 1)) == 1


WARNED_ONCE = """
import sys, threading, warnings
from durably import durable, step, MemoryStore

ran = []
def lost():
    threads = [threading.Thread(target=step, args=(f"lost-{n}", ran.append, n)) for n in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]

@durable(store=MemoryStore(), name="f", id=lambda event, context: event)
def handler(event, context):
    lost()
    lost()

handler("1", None)
handler("2", None)
assert len(ran) == 12, ran
"""


def test_elsewhere_a_step_in_a_thread_the_user_started_warns_once_and_runs() -> None:
    import os
    import subprocess
    import sys

    env = {key: value for key, value in os.environ.items() if key != "AWS_LAMBDA_FUNCTION_NAME"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run([sys.executable, "-c", WARNED_ONCE], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("copy_context().run") == 1, done.stderr
    assert "fan_out" in done.stderr


def test_copy_context_run_carries_the_execution_into_a_thread(
    attempt: Attempt, store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "reviewer")

    def body() -> list[int]:
        contexts = [contextvars.copy_context() for _ in range(4)]
        others = [Other(context.run, step, f"n{n}", lambda n=n: n * 10) for n, context in enumerate(contexts)]
        return [other.result() for other in others]

    assert attempt(body) == [0, 10, 20, 30]
    assert sorted(store.lines()) == [("result", f"n{n}") for n in range(4)]


def test_a_step_called_after_its_attempt_ended_raises(attempt: Attempt) -> None:
    contexts: list[contextvars.Context] = []
    ran: list[int] = []
    assert attempt(lambda: contexts.append(contextvars.copy_context())) is None
    with pytest.raises(DurablyError) as caught:
        contexts[0].run(step, "late", lambda: ran.append(1))
    assert "'late'" in str(caught.value)
    assert "ended" in str(caught.value)
    assert ran == []


def test_a_fan_out_called_after_its_attempt_ended_raises(attempt: Attempt) -> None:
    contexts: list[contextvars.Context] = []
    ran: list[int] = []
    attempt(lambda: contexts.append(contextvars.copy_context()))
    with pytest.raises(DurablyError, match="ended"):
        contexts[0].run(fan_out, "late", ran.append, [1, 2])
    assert ran == []


def test_a_lease_is_left_to_run_out_while_a_step_is_still_running_in_a_thread(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    began, leave = threading.Event(), threading.Event()
    others: list[Other] = []

    def slow() -> str:
        began.set()
        assert leave.wait(10)
        return "slow's"

    def body() -> None:
        others.append(Other(contextvars.copy_context().run, step, "slow", slow))
        assert began.wait(10)
        raise Boom

    with pytest.raises(Boom):
        attempt(body)
    with pytest.raises(ExecutionInProgress):
        attempt(lambda: "too early")
    leave.set()
    try:
        acknowledged = others[0].result() == "slow's"
    except Exception:
        acknowledged = False
    assert store.lines() == ([("result", "slow")] if acknowledged else []), "what step returned is in the store"
    clock.advance(60)
    assert attempt(lambda: step("slow", lambda: "again")) == ("slow's" if acknowledged else "again")


def test_a_handler_that_returns_while_a_step_is_still_running_does_not_complete_over_it(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    """The lease is released only when none of its steps is running; what the caller gets, its attempt's end decides."""
    began, leave = threading.Event(), threading.Event()
    others: list[Other] = []

    def slow() -> str:
        began.set()
        assert leave.wait(10)
        return "slow's"

    def body() -> str:
        others.append(Other(contextvars.copy_context().run, step, "slow", slow))
        assert began.wait(10)
        return "returned"

    outcome: Any
    try:
        outcome = attempt(body)
    except DurablyError as error:
        outcome = error
    status = store.head().status
    leave.set()
    try:
        late = others[0].result()
    except Exception as error:
        late = error
    if status == "completed":
        assert outcome == "returned"
        assert isinstance(late, Exception) or store.lines() == [("result", "slow")]
    else:
        assert isinstance(outcome, DurablyError)
        assert "slow" in str(outcome)


def test_a_step_in_a_thread_of_a_block_raises_in_lambda(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "reviewer")
    with execution("x", store=store), pytest.raises(DurablyError, match="copy_context"):
        in_thread(lambda: step("lost", lambda: 1))


def test_an_execution_inside_an_execution_is_its_own(attempt: Attempt, store: Watched) -> None:
    def body() -> Any:
        outer = current_execution()
        with execution("inner", store=store) as ex:
            assert current_execution() is not None
            assert current_execution().id == ex.id  # type: ignore[union-attr]
            ex.result = step("a", lambda: "inner's")
        assert current_execution().id == outer.id  # type: ignore[union-attr]
        return [ex.result, step("a", lambda: "outer's")]

    assert attempt(body) == ["inner's", "outer's"]


def test_no_warning_comes_from_ordinary_use(attempt: Attempt) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attempt(lambda: (step("a", lambda: 1), fan_out("n", str, [1, 2, 3])) and None)
