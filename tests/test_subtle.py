"""The design's subtle rules, each with its own test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from durably import (
    NOT_DONE,
    DynamoDBStore,
    ExecutionInProgress,
    LeaseLost,
    NotSerializable,
    Retry,
    StoreError,
    durable,
    fan_out,
    step,
)
from durably.clock import SYSTEM
from durably.entries import Segment

from .clocks import Context, FakeClock
from .servers import client
from .servers.faults import FaultProxy
from .stores_for_tests import Attempt, Other, Watched

pytest_plugins = ["tests.stores_for_tests"]


class Boom(Exception):
    pass


# ---- the fence


@pytest.mark.parametrize("late", [False, True], ids=["before the fence", "after the fence"])
def test_a_zombies_append_held_between_the_successors_query_and_its_first_step(
    attempt: Attempt, store: Watched, clock: FakeClock, late: bool
) -> None:
    """Either the successor sees it, or it is refused: the effect's outcome is never lost behind a second one."""
    effects: list[str] = []
    parked, go = threading.Event(), threading.Event()

    def park() -> None:
        parked.set()
        assert go.wait(10)

    def body(who: str) -> str:
        paid = step("pay", lambda: effects.append(who) or f"{who}'s")
        return f"{who} saw {paid}"

    store.when("append").before(park)
    zombie = Other(attempt, lambda: body("zombie"))
    assert parked.wait(10)
    clock.advance(60)

    def release_zombie() -> None:
        go.set()
        try:
            zombie.result()
        except LeaseLost:
            effects.append("zombie refused")

    if late:
        store.when("append").after(release_zombie)  # the successor's fence
    else:
        store.when("load").after(release_zombie)
    answer = attempt(lambda: body("successor"))
    if late:
        assert answer == "successor saw successor's"
        assert effects == ["zombie", "zombie refused", "successor"]
    else:
        assert answer == "successor saw zombie's"
        assert effects[0] == "zombie"
        assert "successor" not in effects
    assert [line for line in store.lines() if line[0] == "result"] == [("result", "pay")]
    assert attempt(lambda: "again") == answer


def test_no_user_code_runs_before_the_fence_is_acknowledged(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    ran: list[str] = []
    with pytest.raises(BaseException):
        attempt(store.die)
    store.revive()
    clock.advance(60)
    store.when("append").after(lambda: ran.append("fence"))
    attempt(lambda: ran.append("handler"))
    assert ran == ["fence", "handler"]


def test_a_fence_expires_with_the_segments_after_it(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    """One that went earlier would leave a gap, and a journal with a gap is refused."""
    with pytest.raises(BaseException):
        attempt(store.die)
    store.revive()
    clock.advance(60)
    attempt(lambda: step("a", lambda: 1))
    head = store.head()
    fence, after = store.inner.load(head.id, head.generation, until=store.clock.monotonic() + 10)
    assert [entry.kind for entry in (*fence.entries, *after.entries)] == ["began", "result"]
    assert head.expires_at is not None
    assert fence.expires_at == after.expires_at
    assert after.expires_at is not None
    assert after.expires_at > head.expires_at


def test_a_fence_whose_number_is_taken_twice_reads_on_twice(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    """A zombie that appends again and again until the fence stands."""
    with pytest.raises(BaseException):
        attempt(lambda: (step("a", lambda: 1), store.die()))
    first_owner = next(argument.owner for name, argument in store.calls if name == "claim")
    store.revive()
    clock.advance(60)
    left = [2, 3]

    def zombie_appends() -> None:
        if left:
            number = left.pop(0)
            segment = next(argument for name, argument in store.calls if name == "append")
            entry = segment.entries[0]._replace(step=f"late-{number}")
            assert store.inner.append(
                Segment(segment.execution, segment.generation, number, first_owner, (entry,)), until=1e12
            )

    for nth in (1, 2):
        store.when("load", nth).after(zombie_appends)
    ran: list[str] = []

    def body() -> str:
        for name in ("a", "late-2", "late-3", "new"):
            step(name, lambda name=name: ran.append(name))
        return "done"

    assert attempt(body) == "done"
    assert ran == ["new"]


def test_an_attempt_after_a_lost_append_does_not_lose_to_it_later(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    """The append was sent, no answer came, the lease was released; it takes effect only while the next attempt runs."""
    kept: list[Segment] = []

    def lose() -> None:
        kept.append(next(argument for name, argument in reversed(store.calls) if name == "append"))
        raise StoreError("no answer")

    effects: list[str] = []

    def body(who: str) -> str:
        return step("pay", lambda: effects.append(who) or who)

    store.when("append").before(lose)
    with pytest.raises(StoreError):
        attempt(lambda: body("first"))

    def successor() -> str:
        landed = store.inner.append(kept[0], until=1e12)
        paid = body("second")
        assert not landed or paid == "first"
        return paid

    answer = attempt(successor)
    assert [line for line in store.lines() if line[0] == "result"] == [("result", "pay")]
    assert attempt(lambda: "again") == answer


# ---- failures


def test_a_task_groups_exception_group_is_healthy_on_the_next_attempt(attempt: Attempt) -> None:
    """As asyncio.TaskGroup raises it: what its tasks raised, in a group, in a group when groups nest."""
    calls: list[str] = []

    def task(name: str) -> str:
        calls.append(name)
        if calls.count(name) == 1:
            raise Boom(name)
        return name

    def group(names: str) -> list[str]:
        results: list[str] = []
        errors: list[Exception] = []
        for name in names:
            try:
                results.append(step(name, task, name))
            except* Boom as failed:
                errors.extend(failed.exceptions)
        if errors:
            raise BaseExceptionGroup("unhandled errors in a TaskGroup", errors)
        return results

    with pytest.raises(ExceptionGroup):
        attempt(lambda: group("abc"))
    assert attempt(lambda: group("abc")) == ["a", "b", "c"]
    assert sorted(calls) == sorted("abc" * 2)


def test_an_exception_chain_that_bites_its_tail_is_no_endless_loop(attempt: Attempt) -> None:
    ran: list[int] = []

    def flaky() -> str:
        ran.append(1)
        if len(ran) == 1:
            first, second = Boom("1"), Boom("2")
            first.__cause__, second.__cause__ = second, first
            raise first
        return "well"

    with pytest.raises(Boom):
        attempt(lambda: step("a", flaky))
    assert attempt(lambda: step("a", flaky)) == "well"


def test_five_failures_of_a_fan_out_wrapped_and_left_are_all_healthy_next_time(attempt: Attempt) -> None:
    seen: list[str] = []

    def one(item: str) -> str:
        seen.append(item)
        if seen.count(item) == 1:
            raise Boom(item)
        return item

    def body() -> list[str]:
        answers = fan_out("thread", one, "abcde", workers=5, return_exceptions=True)
        bad = [answer for answer in answers if isinstance(answer, Exception)]
        if bad:
            raise RuntimeError("some failed") from bad[2]
        return answers  # type: ignore[return-value]

    with pytest.raises(RuntimeError):
        attempt(body)
    # The failures of one fan-out share one fate: one of them left as the cause.
    assert attempt(body) == list("abcde")
    assert sorted(seen) == sorted("abcde" * 2)


def test_a_kill_between_the_last_step_and_the_end_completes_from_the_journal(
    attempt: Attempt, killed: Callable[..., None], store: Watched
) -> None:
    ran: list[str] = []

    def body() -> str:
        step("a", lambda: ran.append("a"))
        return "done"

    store.when("end").before(store.die)
    killed(body)
    assert attempt(body) == "done"
    assert ran == ["a"]


def test_a_kill_after_the_end_is_a_redelivery_of_a_finished_one(
    attempt: Attempt, killed: Callable[..., None], store: Watched
) -> None:
    store.when("end").after(store.die)
    killed(lambda: "done")
    assert attempt(lambda: "never") == "done"


# ---- expiry


def test_a_head_that_expired_before_its_journal_gives_a_new_execution(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    ran: list[str] = []

    def body(*names: str) -> list[str]:
        return [step(name, lambda name=name: ran.append(name) or f"{name}{len(ran)}") for name in names]

    assert attempt(lambda: body("a", "b", "c"), expires=timedelta(hours=1)) == ["a1", "b2", "c3"]
    clock.advance(3 * 3600)
    with pytest.raises(Boom):
        attempt(lambda: (body("a"), raise_boom()), expires=timedelta(hours=1))
    assert store.lines() == [("result", "a")]
    assert attempt(lambda: body("a", "b"), expires=timedelta(hours=1)) == ["a4", "b5"]
    assert ran == ["a", "b", "c", "a", "b"]


def raise_boom() -> None:
    raise Boom


@pytest.mark.parametrize("resumed", [False, True])
def test_no_execution_expires_under_a_running_attempt(
    attempt: Attempt, store: Watched, clock: FakeClock, resumed: bool
) -> None:
    ran: list[str] = []

    def body() -> str:
        ran.append("holder")
        clock.advance(15)
        with pytest.raises(ExecutionInProgress):
            Other(lambda: attempt(lambda: ran.append("duplicate"), expires=timedelta(seconds=20))).result()
        return step("a", lambda: "done")

    if resumed:
        with pytest.raises(Boom):
            attempt(raise_boom, expires=timedelta(seconds=20))
        clock.advance(10)
    assert attempt(body, expires=timedelta(seconds=20 if resumed else 10)) == "done"
    assert ran == ["holder"]


def test_a_handler_that_returns_a_datetime_in_lambda_fails_before_completed(
    attempt: Attempt, store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "reviewer")
    with pytest.raises(NotSerializable, match="datetime"):
        attempt(lambda: {"at": datetime(2026, 1, 2)})
    assert store.head().status == "waiting"


# ---- leases


def test_a_released_attempts_late_thread_cannot_append(attempt: Attempt, store: Watched) -> None:
    """A zombie thread of an attempt that has ended and released: its segment's owner no longer holds anything."""
    import contextvars

    contexts: list[contextvars.Context] = []
    with pytest.raises(Boom):
        attempt(lambda: (contexts.append(contextvars.copy_context()), raise_boom()))
    with pytest.raises(Exception):
        contexts[0].run(step, "late", lambda: 1)
    assert attempt(lambda: step("late", lambda: 2)) == 2


def test_a_duplicate_of_a_zombie_past_its_deadline_gets_the_lease_after_two_seconds(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    """Lambda's timeout: the lease ends with the attempt's own deadline + 2 s, not 30 s later."""
    with pytest.raises(BaseException):
        attempt(lambda: (clock.advance(3), store.die()), context=Context(3, clock))
    store.revive()
    with pytest.raises(ExecutionInProgress):
        attempt(lambda: "too early")
    clock.advance(2.1)
    assert attempt(lambda: "done") == "done"


def test_an_attempt_past_its_deadline_and_lease_cannot_renew_beyond_it(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    """A frozen Lambda that wakes after its deadline: it begins no step."""
    ran: list[str] = []

    def body() -> None:
        step("a", lambda: ran.append("a"))
        clock.advance(60)
        step("b", lambda: ran.append("b"))

    with pytest.raises(Exception):
        attempt(body, context=Context(10, clock))
    assert ran == ["a"]


def test_the_lease_is_not_renewed_while_nothing_was_asked(attempt: Attempt, store: Watched) -> None:
    attempt(lambda: step("a", lambda: "done"))
    assert store.count("renew") == 0


# ---- DynamoDB behind faults


@pytest.fixture
def faulty(table: Any, dynamodb_local: str, fault_proxy: Callable[[str], FaultProxy], namespace: str) -> Any:
    name, _ = table
    proxy = fault_proxy(dynamodb_local)
    return proxy, Watched(DynamoDBStore(name, client=client(proxy.endpoint), clock=SYSTEM))


def run(store: Watched, body: Callable[[], Any], **options: Any) -> Any:
    @durable(store=store, name="f", id=lambda event, context: "1", **options)
    def handler(event: Any, context: Any) -> Any:
        return body()

    return handler({}, Context(20))


def test_n_steps_are_n_plus_two_requests_on_the_wire(faulty: Any) -> None:
    proxy, store = faulty
    run(store, lambda: [step(f"s{n}", str, n) for n in range(6)] and None)
    assert proxy.count() == 8
    assert proxy.count("Query", "GetItem", "BatchGetItem") == 0


def test_a_cut_after_any_write_took_effect_is_recognised_as_ones_own(faulty: Any) -> None:
    proxy, store = faulty
    ran: list[str] = []
    for operation in ("UpdateItem", "PutItem", "UpdateItem"):
        proxy.on(operation).cut_after()
    assert run(store, lambda: [step(n, lambda n=n: ran.append(n) or n) for n in "abc"]) == ["a", "b", "c"]
    assert ran == ["a", "b", "c"]
    assert store.lines() == [("result", n) for n in "abc"]
    assert store.head().status == "completed"
    assert store.head().attempt == 1


def test_a_renewal_that_failed_is_tried_again_before_the_step(faulty: Any) -> None:
    proxy, store = faulty
    ran: list[str] = []

    def body() -> str:
        import time

        step("a", lambda: 1)
        proxy.on("UpdateItem").server_error(500)
        proxy.on("UpdateItem").throttle()
        time.sleep(0.35)
        return step("b", lambda: ran.append("b") or "done")

    assert run(store, body, lease=timedelta(seconds=0.3)) == "done"
    assert ran == ["b"]


def test_throttling_is_waited_out(faulty: Any) -> None:
    proxy, store = faulty
    proxy.on("PutItem", times=3).throttle("ProvisionedThroughputExceededException")
    assert run(store, lambda: step("a", lambda: "done")) == "done"


def test_a_missing_permission_comes_at_the_claim_before_any_step(faulty: Any) -> None:
    proxy, store = faulty
    ran: list[str] = []
    proxy.on("UpdateItem", times=None).refuse("AccessDeniedException", "User is not authorized to perform UpdateItem")
    with pytest.raises(StoreError) as caught:
        run(store, lambda: ran.append("ran"))
    assert "permission" in str(caught.value) or "UpdateItem" in str(caught.value)
    assert "dynamodb:" in str(caught.value)
    assert ran == []


def test_a_store_that_never_answers_again_is_a_stop_signal_before_the_deadline(
    faulty: Any, table: Any, clock: FakeClock
) -> None:
    proxy, _ = faulty
    store = Watched(DynamoDBStore(table[0], client=client(proxy.endpoint), clock=clock))

    @durable(store=store, name="f", id=lambda event, context: "1")
    def handler(event: Any, context: Any) -> Any:
        proxy.on("PutItem", times=None).cut_before()
        return step("a", lambda: 1)

    began = clock.monotonic()
    with pytest.raises(StoreError):
        handler({}, Context(2, clock))
    assert clock.monotonic() - began < 2


def test_a_retried_step_with_recover_survives_a_lost_started(faulty: Any) -> None:
    proxy, store = faulty
    proxy.on("PutItem").cut_after()
    looked: list[int] = []
    retry = Retry(2, on=OSError, delay=timedelta(0))

    def find() -> Any:
        looked.append(1)
        return NOT_DONE

    assert run(store, lambda: step("a", lambda: "done", recover=find, retry=retry)) == "done"
    assert looked == []
