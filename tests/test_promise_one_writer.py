"""P3: overlapping attempts never both append; leases, heartbeats, duplicates, zombies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from durably import ExecutionInProgress, LeaseLost, Retry, StoreError, durable, execution, fan_out, once, step
from durably.clock import SYSTEM
from durably.entries import Ending

from .clocks import Context, FakeClock
from .stores_for_tests import Attempt, Other, Watched, raising

pytest_plugins = ["tests.stores_for_tests"]

Open = Callable[[Any], Watched]


class Boom(Exception):
    pass


def test_a_duplicate_while_the_holder_is_alive_runs_nothing(attempt: Attempt, store: Watched) -> None:
    ran: list[str] = []

    def body() -> str:
        ran.append("holder")
        if len(ran) == 1:
            with pytest.raises(ExecutionInProgress) as caught:
                Other(attempt, body).result()
            assert store.execution in str(caught.value)
            assert "wait=" in str(caught.value)
        return "done"

    assert attempt(body) == "done"
    assert ran == ["holder"]


def test_a_duplicate_of_a_block_and_of_once_runs_nothing(store: Watched) -> None:
    ran: list[str] = []

    def block() -> None:
        with execution("x", store=store):
            ran.append("second")

    with execution("x", store=store), pytest.raises(ExecutionInProgress):
        Other(block).result()

    def effect() -> str:
        ran.append("effect")
        with pytest.raises(ExecutionInProgress):
            Other(lambda: once("y", effect, store=store)).result()
        return "done"

    assert once("y", effect, store=store) == "done"
    assert ran == ["effect"]


def test_a_waiting_duplicate_returns_the_holders_result(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    begun, polled = threading.Event(), threading.Event()
    ran: list[str] = []

    def body() -> dict[str, int]:
        ran.append("ran")
        begun.set()
        assert polled.wait(10)
        return {"n": step("n", lambda: 7)}

    holder = Other(attempt, body)
    assert begun.wait(10)

    def finish() -> None:
        polled.set()
        holder.result()

    clock.on_sleep = finish
    assert attempt(body, wait=timedelta(seconds=20)) == {"n": 7}
    assert ran == ["ran"]
    assert clock.slept == [1.0]


def test_a_waiting_duplicate_takes_over_when_the_holder_is_dead(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    ran: list[str] = []

    def body(dies: bool) -> str:
        step("a", lambda: ran.append("a"))
        if dies:
            store.die()
        return step("b", lambda: "done")

    with pytest.raises(BaseException):
        attempt(lambda: body(True))
    store.revive()
    assert attempt(lambda: body(False), wait=timedelta(seconds=60)) == "done"
    assert ran == ["a"]
    assert 25 <= sum(clock.slept) <= 32
    assert set(clock.slept) == {1.0}


def test_a_waiting_duplicate_gives_up_when_its_wait_is_over(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    with pytest.raises(BaseException):
        attempt(store.die)
    store.revive()
    with pytest.raises(ExecutionInProgress):
        attempt(lambda: "ran", wait=timedelta(seconds=5))
    assert 4 <= sum(clock.slept) <= 5


def test_a_waiting_duplicate_stops_reserve_before_its_deadline(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    with pytest.raises(BaseException):
        attempt(store.die)
    store.revive()
    context = Context(10, clock)
    with pytest.raises(ExecutionInProgress):
        attempt(lambda: "ran", wait=timedelta(seconds=60), context=context, reserve=timedelta(seconds=4))
    assert context.get_remaining_time_in_millis() >= 4000
    assert sum(clock.slept) >= 5


def test_a_waiting_duplicate_follows_a_holder_that_failed(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    begun, polled = threading.Event(), threading.Event()
    ran: list[str] = []

    def body() -> str:
        ran.append("ran")
        if len(ran) == 1:
            begun.set()
            assert polled.wait(10)
            raise Boom
        return "second"

    holder = Other(attempt, body)
    assert begun.wait(10)

    def finish() -> None:
        polled.set()
        with pytest.raises(Boom):
            holder.result()

    clock.on_sleep = finish
    assert attempt(body, wait=timedelta(seconds=20)) == "second"
    assert ran == ["ran", "ran"]


def test_a_released_lease_is_followed_at_once(attempt: Attempt, store: Watched) -> None:
    def fail() -> None:
        raise Boom

    for _ in range(3):
        with pytest.raises(Boom):
            attempt(fail)
        assert store.head().status == "waiting"
    assert attempt(lambda: "done") == "done"
    assert store.head().attempt == 4
    assert store.head().status == "completed"


def test_a_crashed_attempts_lease_has_run_out_when_lambda_retries(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    with pytest.raises(BaseException):
        attempt(store.die)
    store.revive()
    clock.advance(25)
    with pytest.raises(ExecutionInProgress):
        attempt(lambda: "too early")
    clock.advance(35)
    assert attempt(lambda: "done") == "done"


def test_the_lease_never_reaches_beyond_the_deadline_and_two_seconds(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    def body() -> None:
        assert store.head().lease_until <= clock.now() + 5 + 2.01
        assert store.head().lease_until >= clock.now() + 5
        store.die()

    with pytest.raises(BaseException):
        attempt(body, context=Context(5, clock))
    store.revive()
    clock.advance(7.5)
    assert attempt(lambda: "done") == "done"


def test_a_lease_of_ones_own_length_is_kept_to(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    def body() -> None:
        assert store.head().lease_until == pytest.approx(clock.now() + 90, abs=1.5)

    attempt(body, lease=timedelta(seconds=90))


def test_a_quick_handler_starts_no_thread(attempt: Attempt, store: Watched) -> None:
    names: list[list[threading.Thread]] = []
    before = threading.enumerate()
    attempt(lambda: (step("a", lambda: 1), names.append(threading.enumerate())) and None)
    assert names == [before]
    assert threading.enumerate() == before


def test_the_heartbeat_renews_a_short_lease_and_is_joined(open_store: Open) -> None:
    store = open_store(SYSTEM)
    before = set(threading.enumerate())

    @durable(store=store, name="slow", id=lambda event, context: "1", lease=timedelta(seconds=0.4))
    def handler(event: Any, context: Any) -> str:
        step("long", time.sleep, 1.1)
        with pytest.raises(ExecutionInProgress):
            Other(handler, {}, None).result()
        return "done"

    assert handler({}, None) == "done"
    assert set(threading.enumerate()) <= before
    assert 4 <= store.count("renew") <= 12


def test_the_heartbeat_is_joined_when_the_handler_raises(open_store: Open) -> None:
    store = open_store(SYSTEM)
    before = set(threading.enumerate())

    @durable(store=store, name="slow", id=lambda event, context: "1", lease=timedelta(seconds=0.3))
    def handler(event: Any, context: Any) -> str:
        time.sleep(0.3)
        raise Boom

    with pytest.raises(Boom):
        handler({}, None)
    assert set(threading.enumerate()) <= before
    renewals = store.count("renew")
    assert renewals >= 1
    time.sleep(0.25)
    assert store.count("renew") == renewals


@pytest.mark.parametrize("open_store", ["sqlite"], indirect=True)
def test_a_heartbeat_never_renews_beyond_the_deadline_and_two_seconds(open_store: Open) -> None:
    store = open_store(SYSTEM)
    reach: list[float] = []
    context = Context(0.2)
    deadline = time.time() + 0.2

    @durable(store=store, name="late", id=lambda event, context: "1", lease=timedelta(seconds=1.2))
    def handler(event: Any, context: Any) -> str:
        for _ in range(20):
            time.sleep(0.08)
            reach.append(store.head().lease_until)
        return "done"

    assert handler({}, context) == "done"
    assert store.count("renew") >= 2
    assert max(reach) <= deadline + 2.1


def test_an_attempt_whose_lease_ran_out_renews_before_it_begins_a_step(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    def body() -> str:
        step("a", lambda: 1)
        clock.advance(45)

        def effect() -> str:
            assert store.head().lease_until > clock.now()
            return "done"

        return step("b", effect)

    assert attempt(body) == "done"
    assert store.names() == ["claim", "append", "renew", "append", "end"]


def test_a_heartbeat_that_failed_is_tried_again(open_store: Open) -> None:
    store = open_store(SYSTEM)
    store.when("renew").before(raising(StoreError("no answer")))

    @durable(store=store, name="slow", id=lambda event, context: "1", lease=timedelta(seconds=0.4))
    def handler(event: Any, context: Any) -> str:
        time.sleep(0.7)
        return step("b", lambda: "done")

    assert handler({}, None) == "done"
    assert store.count("renew") >= 2


def test_a_renewal_that_failed_before_a_step_is_tried_again(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    def body() -> str:
        step("a", lambda: 1)
        clock.advance(45)
        store.when("renew").before(raising(StoreError("no answer")))
        return step("b", lambda: "done")

    assert attempt(body) == "done"
    assert store.count("renew") == 2


def test_an_overtaken_attempt_begins_no_step_and_changes_nothing(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    ran: list[str] = []

    def zombie() -> str:
        step("a", lambda: ran.append("a"))
        clock.advance(45)
        assert Other(attempt, successor).result() == "successor"
        with pytest.raises(LeaseLost):
            step("b", lambda: ran.append("zombie b"))
        with pytest.raises(LeaseLost):
            step("c", lambda: ran.append("zombie c"))
        return "zombie"

    def successor() -> str:
        step("a", lambda: ran.append("successor a"))
        step("b", lambda: ran.append("b"))
        return "successor"

    with pytest.raises(LeaseLost):
        attempt(zombie)
    assert ran == ["a", "b"]
    assert store.head().status == "completed"
    assert attempt(lambda: "again") == "successor"


def test_an_attempt_overtaken_within_a_step_appends_nothing(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    ran: list[str] = []

    def effect() -> str:
        ran.append("zombie")
        clock.advance(45)
        assert Other(attempt, lambda: step("a", lambda: "successor's")).result() == "successor's"
        return "zombie's"

    with pytest.raises(LeaseLost):
        attempt(lambda: step("a", effect))
    assert store.lines() == [("result", "a")]
    assert attempt(lambda: "again") == "successor's"


def test_an_overtaken_attempt_that_fails_late_does_not_end_the_successors(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    going, leave = threading.Event(), threading.Event()

    def successor() -> str:
        going.set()
        assert leave.wait(10)
        return step("b", lambda: "done")

    def zombie() -> None:
        clock.advance(45)
        others.append(Other(attempt, successor))
        assert going.wait(10)
        raise Boom

    others: list[Other] = []
    with pytest.raises((Boom, LeaseLost)):
        attempt(zombie)
    assert store.head().status == "running"
    with pytest.raises(ExecutionInProgress):
        attempt(lambda: "third")
    leave.set()
    assert others[0].result() == "done"


def test_no_further_try_begins_when_the_lease_was_lost_between_tries(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    tries: list[str] = []

    def flaky() -> None:
        tries.append("zombie")
        clock.advance(45)
        Other(attempt, lambda: "successor").result()
        raise OSError

    with pytest.raises(LeaseLost):
        attempt(lambda: step("a", flaky, retry=Retry(3, on=OSError, delay=timedelta(0))))
    assert tries == ["zombie"]


def test_a_further_try_renews_a_lease_that_ran_out(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    tries: list[str] = []

    def flaky() -> str:
        tries.append("try")
        if len(tries) == 1:
            clock.advance(45)
            raise OSError
        assert store.head().lease_until > clock.now()
        return "done"

    assert attempt(lambda: step("a", flaky, retry=Retry(3, on=OSError, delay=timedelta(0)))) == "done"
    assert store.count("renew") == 1


def test_a_refused_heartbeat_makes_the_next_step_raise(open_store: Open) -> None:
    """A zombie whose heartbeat goes on must not get its lease back."""
    store = open_store(SYSTEM)
    ran: list[str] = []
    frozen = threading.Event()

    @durable(store=store, name="zombie", id=lambda event, context: "1", lease=timedelta(seconds=0.3))
    def handler(event: Any, context: Any) -> str:
        if event["who"] == "zombie":
            step("a", lambda: ran.append("a"))
            store.when("renew").before(lambda: (frozen.set(), time.sleep(0.6)))
            assert frozen.wait(5)
            time.sleep(0.35)
            assert Other(handler, {"who": "successor"}, None).result() == "successor"
            time.sleep(0.4)
            step("b", lambda: ran.append("zombie b"))
        return str(event["who"])

    with pytest.raises(LeaseLost):
        handler({"who": "zombie"}, None)
    assert ran == ["a"]
    assert store.head().status == "completed"
    assert handler({"who": "later"}, None) == "successor"


@pytest.mark.parametrize("open_store", ["memory", "sqlite"], indirect=True)
def test_a_lease_taken_away_early_is_learnt_from_the_heartbeat_before_the_next_effect(open_store: Open) -> None:
    """By its own clock the lease still runs: only the refused renewal tells (an operator's cancel does this)."""
    store = open_store(SYSTEM)
    ran: list[str] = []

    @durable(store=store, name="cancelled", id=lambda event, context: "1", lease=timedelta(seconds=0.6))
    def handler(event: Any, context: Any) -> None:
        head = store.head()
        assert store.inner.end(head.id, head.owner, Ending("cancelled", "by hand"), until=1e12)
        time.sleep(0.4)
        step("a", lambda: ran.append("effect"))

    with pytest.raises(LeaseLost):
        handler({}, None)
    assert ran == []


@pytest.mark.parametrize("open_store", ["memory"], indirect=True)
@pytest.mark.parametrize("return_exceptions", [False, True])
def test_what_an_item_raised_after_the_lease_was_lost_is_not_given_as_a_result(
    open_store: Open, return_exceptions: bool
) -> None:
    store = open_store(SYSTEM)
    given: list[Any] = []

    def item(name: str) -> None:
        head = store.head()
        assert store.inner.end(head.id, head.owner, Ending("cancelled", "by hand"), until=1e12)
        time.sleep(0.4)
        raise Boom

    @durable(store=store, name="cancelled", id=lambda event, context: "1", lease=timedelta(seconds=0.6))
    def handler(event: Any, context: Any) -> None:
        if return_exceptions:
            given.append(fan_out("item", item, ["a"], return_exceptions=True))
        else:
            given.append(fan_out("item", item, ["a"]))

    with pytest.raises(LeaseLost):
        handler({}, None)
    assert given == []


def test_eight_deliveries_at_once_run_the_effects_once(attempt: Attempt, store: Watched) -> None:
    ran: list[str] = []
    barrier = threading.Barrier(8)

    def deliver() -> Any:
        barrier.wait(10)
        return attempt(lambda: step("pay", lambda: ran.append("pay") or "receipt"))

    others = [Other(deliver) for _ in range(8)]
    answers: list[Any] = []
    for other in others:
        try:
            answers.append(other.result())
        except ExecutionInProgress:
            answers.append("in progress")
    assert ran == ["pay"]
    assert set(answers) <= {"receipt", "in progress"}
    assert "receipt" in answers


def test_an_execution_in_progress_can_be_told_from_the_handlers_own_error(attempt: Attempt, store: Watched) -> None:
    """Nested: a handler that delivers its own event again gets the same answer as a stranger."""

    def body() -> str:
        with pytest.raises(ExecutionInProgress):
            Other(attempt, body).result()
        return "done"

    assert attempt(body) == "done"
