"""Faults between the library and DynamoDB, by the fault layer: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from durably import NOT_DONE, DynamoDBStore, LeaseLost, OutOfTime, StoreError, durable, step
from durably.entries import Entry
from durably.stores.dynamodb import connections

from .clocks import Context, FakeClock
from .contract import KEPT, UNTIL, SessionAt, append, claim, end, load, noise, read, segment, shared_table
from .servers.faults import FaultProxy, Rule
from .stores_for_tests import Killed, Other, Watched

FAULTS: dict[str, Callable[[Rule], Any]] = {
    "throttled": lambda rule: rule.throttle(),
    "out of capacity": lambda rule: rule.throttle("ProvisionedThroughputExceededException"),
    "500": lambda rule: rule.server_error(500),
    "503 after the effect": lambda rule: rule.server_error(503, after=True),
    "cut before": lambda rule: rule.cut_before(),
    "cut after": lambda rule: rule.cut_after(),
}


class Boom(Exception):
    pass


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def proxy(dynamodb_local: str, fault_proxy: Callable[[str], FaultProxy]) -> FaultProxy:
    return fault_proxy(dynamodb_local)


@pytest.fixture
def open_store(dynamodb_local: str, proxy: FaultProxy) -> Callable[..., Watched]:
    """`open_store(clock, through=None)`: the store, through the fault layer or straight to the server."""

    def opened(clock: Any = None, *, straight: bool = False) -> Watched:
        endpoint = dynamodb_local if straight else proxy.endpoint
        options = {} if clock is None else {"clock": clock}
        dynamodb = DynamoDBStore(shared_table(dynamodb_local), session=SessionAt(endpoint), **options)
        KEPT.append(dynamodb)
        dynamodb.read("nothing", until=UNTIL)
        return Watched(dynamodb)

    return opened


@pytest.fixture
def store(open_store: Callable[..., Watched], clock: FakeClock) -> Watched:
    return open_store(clock)


@pytest.fixture
def id() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def deliver(id: str) -> Callable[..., Any]:
    def run(store: Any, body: Callable[[], Any], context: Any = None) -> Any:
        @durable(store=store, name="faults", id=lambda event, context: id)
        def handler(event: Any, context: Any) -> Any:
            return body()

        return handler({"large": noise(3000)}, context)

    return run


class World:
    """Effects, and what was asked of them."""

    def __init__(self) -> None:
        self.effects: list[str] = []

    def do(self, name: str, result: Any = "done") -> Any:
        self.effects.append(name)
        return result

    def story(self, then: Callable[[], Any] = lambda: None) -> str:
        step("plain", self.do, "plain")
        step("read", self.do, "read", repeatable=True)
        step("pay", self.do, "pay", recover=lambda: "done" if "pay" in self.effects else NOT_DONE)
        step("large", self.do, "large", noise(500_000))
        then()
        return str(step("last", self.do, "last", noise(3000)))


EVERYTHING = ["plain", "read", "pay", "large", "last"]


def nth(number: int) -> Callable[[Any], bool]:
    """A condition that only the n-th request meets."""
    seen = iter(range(1, 1_000_000))
    return lambda body: next(seen) == number


def every_other() -> Callable[[Any], bool]:
    """A condition that meets each request once: what is asked again passes."""
    seen = iter(range(1, 1_000_000))
    return lambda body: next(seen) % 2 == 1


def first_run(store: Watched, proxy: FaultProxy, when: Callable[[Any], bool] | None, fault: str) -> int:
    """Run the story with the fault at those requests, check what came of it; how many requests there were."""
    world, id = World(), uuid.uuid4().hex

    @durable(store=store, name="faults", id=lambda event, context: id)
    def handler(event: Any, context: Any) -> str:
        return world.story()

    proxy.reset()
    if when is not None:
        FAULTS[fault](proxy.on(times=None, when=when))
    result = handler({"large": noise(3000)}, None)
    taken = proxy.count()
    proxy.reset()
    assert world.effects == EVERYTHING
    head = store.head()
    assert (head.status, head.attempt, len(head.attempts)) == ("completed", 1, 1)
    assert head.result == json.dumps(result)
    assert head.event == json.dumps({"large": noise(3000)}, separators=(",", ":"))
    assert [line for line in store.lines() if line[0] != "started"] == [("result", name) for name in EVERYTHING]
    assert handler({}, None) == result
    assert world.effects == EVERYTHING
    return taken


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_request_of_a_first_run_changes_nothing(
    fault: str, proxy: FaultProxy, open_store: Callable[..., Watched]
) -> None:
    store = open_store(FakeClock())
    usual = first_run(store, proxy, None, fault)
    assert usual >= 10
    assert first_run(store, proxy, every_other(), fault) >= 2 * usual - 1


@pytest.mark.parametrize("fault", ["cut before", "cut after"])
def test_a_fault_at_any_one_request_of_a_first_run_changes_nothing(
    fault: str, proxy: FaultProxy, open_store: Callable[..., Watched]
) -> None:
    store = open_store(FakeClock())
    for point in range(1, first_run(store, proxy, None, fault) + 1):
        first_run(store, proxy, nth(point), fault)


@pytest.mark.parametrize("fault", ["throttled", "503 after the effect", "cut after"])
@pytest.mark.parametrize("how", ["failed", "crashed"])
def test_a_fault_at_any_request_of_a_second_attempt_changes_nothing(
    fault: str, how: str, proxy: FaultProxy, open_store: Callable[..., Watched]
) -> None:
    point, last = 1, 1
    while point <= last:
        clock, world, id = FakeClock(), World(), uuid.uuid4().hex
        store = open_store(clock)

        @durable(store=store, name="faults", id=lambda event, context, id=id: id)
        def handler(event: Any, context: Any, world: World = world, store: Watched = store) -> str:
            def stop() -> None:
                if event["first"]:
                    store.die() if how == "crashed" else step("bad", bad)

            return world.story(stop)

        with pytest.raises((Killed, Boom)):
            handler({"first": True}, None)
        store.revive()
        clock.advance(60)
        proxy.reset()
        FAULTS[fault](proxy.on(times=None, when=nth(point)))
        handler({"first": False}, None)
        last = max(last, min(proxy.count(), 6))
        assert world.effects == EVERYTHING, point
        assert (store.head().status, store.head().attempt) == ("completed", 2)
        point += 1
    assert point > 4


def bad() -> None:
    raise Boom


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_a_renewal_or_an_end_changes_nothing(fault: str, store: Watched, proxy: FaultProxy, id: str) -> None:
    claim(store, id, "a")
    FAULTS[fault](proxy.on("UpdateItem"))
    assert store.renew(id, "a", 90.0, until=UNTIL)
    assert read(store, id).lease_until == pytest.approx(store.clock.now() + 90, abs=0.5)
    FAULTS[fault](proxy.on("UpdateItem"))
    assert end(store, id, "a", "waiting", "so")
    assert (read(store, id).status, read(store, id).attempts[-1].how) == ("waiting", "so")
    assert claim(store, id, "b").standing == "resumed"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_a_claim_still_tells_who_won(fault: str, store: Watched, proxy: FaultProxy, id: str) -> None:
    FAULTS[fault](proxy.on("UpdateItem"))
    assert claim(store, id, "a").standing == "new"
    FAULTS[fault](proxy.on("UpdateItem"))
    assert claim(store, id, "b").standing == "held"
    assert read(store, id).attempt == 1
    end(store, id, "a")
    FAULTS[fault](proxy.on("UpdateItem"))
    # After a lost answer nobody knows any more that the lease was released: a fence is always safe.
    assert claim(store, id, "c").standing in ("resumed", "taken over")
    assert (read(store, id).owner, read(store, id).attempt) == ("c", 2)


@pytest.mark.parametrize("fault", ["cut after", "503 after the effect"])
def test_a_lost_answer_to_an_append_is_told_from_a_rivals_write(
    fault: str, store: Watched, proxy: FaultProxy, id: str
) -> None:
    head = claim(store, id, "a").head
    FAULTS[fault](proxy.on("PutItem"))
    assert append(store, head, 1)
    assert append(store, head, 2, owner="rival")
    FAULTS[fault](proxy.on("PutItem"))
    assert not append(store, head, 2)
    assert [one.owner for one in load(store, head)] == ["a", "rival"]


def test_a_fault_at_a_part_of_a_large_segment_leaves_it_whole(store: Watched, proxy: FaultProxy, id: str) -> None:
    head = claim(store, id, "a").head
    for number, fault in enumerate(FAULTS.values(), start=1):
        fault(proxy.on("PutItem", when=lambda body: "part" in body["Item"]))
        assert append(store, head, number, Entry("result", "s", noise(600_000, number), 1, 1.0, 1.0))
    assert [one.entries[0].payload for one in load(store, head)] == [noise(600_000, n) for n in range(1, 7)]


def test_a_burst_of_throttling_is_waited_out(store: Watched, proxy: FaultProxy, deliver: Any, clock: FakeClock) -> None:
    proxy.on("PutItem", times=9).throttle()
    world = World()
    deliver(store, world.story)
    assert world.effects == EVERYTHING
    assert sum(clock.slept) < 20
    assert len(clock.slept) >= 9


# ---- a store that never answers


@pytest.mark.parametrize("fault", ["throttled", "500", "cut before"])
def test_a_store_that_never_recovers_is_a_sticky_store_error_within_the_deadline(
    fault: str, store: Watched, proxy: FaultProxy, deliver: Any, clock: FakeClock
) -> None:
    world, seen = World(), []

    def body() -> str:
        step("plain", world.do, "plain")
        rule = proxy.on("PutItem", times=None)
        FAULTS[fault](rule)
        for name in ("pay", "more"):
            try:
                step(name, world.do, name)
            except StoreError as error:
                seen.append(error)
        return "swallowed"

    began = clock.monotonic()
    with pytest.raises(StoreError) as caught:
        deliver(store, body, Context(1.2, clock))
    assert clock.monotonic() - began < 1.2
    assert seen == [caught.value, caught.value]
    assert "did not answer" in str(caught.value)
    assert world.effects == ["plain", "pay"]
    proxy.reset()
    assert store.head().status == "waiting"
    assert store.head().unsettled
    assert deliver(store, lambda: (step("plain", world.do, "plain"), step("pay", world.do, "pay"))[1]) == "done"
    # `pay` was never acknowledged, so it is at least once; `plain` was.
    assert world.effects == ["plain", "pay", "pay"]


def test_a_server_that_hangs_is_given_up_before_the_deadline(
    open_store: Callable[..., Watched], proxy: FaultProxy, deliver: Any
) -> None:
    store, world = open_store(), World()

    def body() -> None:
        step("plain", world.do, "plain")
        proxy.on("PutItem", times=None).slow(8)
        step("pay", world.do, "pay")

    began = time.monotonic()
    with pytest.raises(StoreError):
        deliver(store, body, Context(1.2))
    took = time.monotonic() - began
    proxy.reset()
    assert took < 1.4, "a socket's timeout must not outlive the time that remains"


def test_a_claim_that_gets_no_answer_is_a_store_error_before_any_step(
    open_store: Callable[..., Watched], proxy: FaultProxy, deliver: Any
) -> None:
    store, world = open_store(), World()
    proxy.on("UpdateItem", times=None).throttle()
    with pytest.raises(StoreError):
        deliver(store, world.story, Context(0.8))
    proxy.reset()
    deliver(store, world.story)
    assert world.effects == EVERYTHING


def test_a_finish_that_gets_no_answer_is_made_up_for_by_the_next_attempt(
    store: Watched, proxy: FaultProxy, deliver: Any, clock: FakeClock
) -> None:
    world = World()
    # Its `end` took effect, and no answer ever came.
    proxy.on(
        "UpdateItem", times=None, when=lambda body: ":v0" in body["ExpressionAttributeValues"] and "result" in str(body)
    ).cut_after()
    with pytest.raises(StoreError):
        deliver(store, world.story)
    proxy.reset()
    assert store.head().status == "completed"
    assert deliver(store, bad) == noise(3000)
    assert world.effects == EVERYTHING


def test_a_slow_answer_is_asked_for_again_and_the_late_write_changes_nothing(
    store: Watched, proxy: FaultProxy, deliver: Any, monkeypatch: pytest.MonkeyPatch, open_store: Any, clock: FakeClock
) -> None:
    monkeypatch.setattr(connections, "READ_TIMEOUT_S", 0.25)
    impatient, world = open_store(clock), World()
    proxy.reset()
    for operation in ("UpdateItem", "PutItem", "PutItem"):
        proxy.on(operation).slow(0.4)
    deliver(impatient, world.story)
    proxy.settle()
    assert world.effects == EVERYTHING
    assert [line for line in store_lines(impatient) if line[0] == "result"] == [("result", name) for name in EVERYTHING]
    assert (impatient.head().status, impatient.head().attempt) == ("completed", 1)


def store_lines(store: Watched) -> list[tuple[str, str]]:
    return store.lines()


# ---- writes that land late


def test_an_append_that_lands_after_its_attempt_gave_up_meets_a_fence(
    open_store: Callable[..., Watched], proxy: FaultProxy, deliver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The append's fate was unknown when the lease was released, so the next attempt fences, though it was released."""
    monkeypatch.setattr(connections, "READ_TIMEOUT_S", 0.2)
    first, second = open_store(), open_store(straight=True)
    world, held = World(), []

    def one() -> None:
        step("plain", world.do, "plain")
        held.append(proxy.on("PutItem", times=None).hold())
        step("pay", world.do, "pay", "first")

    with pytest.raises(StoreError):
        deliver(first, one, Context(0.7))
    assert first.inner.read(first.execution, until=UNTIL).status == "waiting"

    def two() -> list[str]:
        plain = step("plain", world.do, "plain")
        held[0].release()
        proxy.settle()
        return [plain, step("pay", world.do, "pay", "second"), step("last", world.do, "last")]

    assert deliver(second, two) == ["done", "second", "done"]
    assert world.effects == ["plain", "pay", "pay", "last"]
    assert [entry.kind for entry in second.journal()] == ["result", "began", "result", "result"]
    assert deliver(first, bad) == ["done", "second", "done"]


@pytest.mark.parametrize("lands", ["before the fence", "after the fence"])
def test_a_zombies_append_held_between_the_successors_query_and_its_first_step(
    lands: str, open_store: Callable[..., Watched], proxy: FaultProxy, deliver: Any, clock: FakeClock, store: Watched
) -> None:
    successor, world = open_store(clock, straight=True), World()
    held = proxy.on("PutItem", when=lambda body: "pay" in str(body)).hold()

    def zombie() -> str:
        step("plain", world.do, "plain")
        return str(step("pay", world.do, "pay", "the zombie's"))

    def let_it_land() -> None:
        held.release()
        proxy.settle()

    other = Other(deliver, store, zombie)
    held.wait_arrived()
    clock.advance(45)
    if lands == "before the fence":
        successor.when("load").after(let_it_land)

    def second() -> str:
        if lands == "after the fence":
            let_it_land()
        step("plain", world.do, "plain")
        return str(step("pay", world.do, "pay", "the successor's"))

    expected = "the zombie's" if lands == "before the fence" else "the successor's"
    assert deliver(successor, second) == expected
    journal = [(entry.kind, entry.step) for entry in successor.journal()]
    if lands == "before the fence":
        # It was in the journal before the fence: the fence's number was taken, so the successor read on and replays it.
        assert journal == [("result", "plain"), ("result", "pay"), ("began", "")]
        assert world.effects == ["plain", "pay"]
    else:
        assert journal == [("result", "plain"), ("began", ""), ("result", "pay")]
        assert world.effects == ["plain", "pay", "pay"]
    with pytest.raises(LeaseLost):
        other.result()
    assert deliver(successor, bad) == expected


def test_a_late_claim_of_a_finished_attempt_holds_nobody_up_for_longer_than_a_lease(
    store: Watched, open_store: Any, clock: FakeClock, id: str
) -> None:
    claim(store, id, "a")
    end(store, id, "a")
    claim(store, id, "a")  # the same request, landing once more
    assert claim(store, id, "b").standing == "held"
    clock.advance(31)
    assert claim(store, id, "b").standing == "taken over"


def test_a_late_renewal_and_a_late_end_change_nothing(
    store: Watched, open_store: Any, clock: FakeClock, id: str
) -> None:
    successor = open_store(clock, straight=True)
    claim(store, id, "a")
    clock.advance(31)
    head = claim(successor, id, "b").head
    assert not store.renew(id, "a", 300.0, until=UNTIL)
    assert not end(store, id, "a", "completed", result='"zombie"')
    assert read(successor, id).lease_until == pytest.approx(head.lease_until, abs=0.01)
    assert store.append(segment(head, 1), until=UNTIL)


# ---- clocks that are wrong


class WrongClock(FakeClock):
    def __init__(self, off_by: float) -> None:
        super().__init__()
        self._wall += off_by


def cold(dynamodb_local: str, clock: FakeClock) -> DynamoDBStore:
    """A store that has made no call: its first one is the claim, with the clock as wrong as it is."""
    store = DynamoDBStore(shared_table(dynamodb_local), session=SessionAt(dynamodb_local), clock=clock)
    KEPT.append(store)
    return store


@pytest.mark.parametrize("off_by", [3600.0, -3600.0])
def test_a_live_lease_is_respected_by_a_process_whose_clock_is_wrong(
    dynamodb_local: str, store: Watched, id: str, off_by: float
) -> None:
    claim(store, id, "a")
    assert claim(cold(dynamodb_local, WrongClock(off_by)), id, "b").standing == "held"
    assert store.renew(id, "a", 30.0, until=UNTIL)
    assert [record.owner for record in read(store, id).attempts] == ["a"]


@pytest.mark.parametrize("off_by", [3600.0, -3600.0])
def test_a_dead_attempt_is_followed_by_a_process_whose_clock_is_wrong(
    dynamodb_local: str, id: str, off_by: float, open_store: Any
) -> None:
    store = open_store(straight=True)
    claim(store, id, "a", lease_s=-5.0)
    assert claim(cold(dynamodb_local, WrongClock(off_by)), id, "b").standing == "taken over"


@pytest.mark.parametrize("off_by", [3600.0, -3600.0])
def test_the_lease_of_a_process_whose_clock_is_wrong_is_as_long_as_it_says(
    dynamodb_local: str, store: Watched, clock: FakeClock, id: str, off_by: float
) -> None:
    claim(cold(dynamodb_local, WrongClock(off_by)), id, "a")
    assert claim(store, id, "b").standing == "held"
    clock.advance(40)
    assert claim(store, id, "b").standing == "taken over"


def test_a_server_without_a_date_or_with_a_wrong_one_is_lived_with(
    open_store: Callable[..., Watched], proxy: FaultProxy, deliver: Any
) -> None:
    proxy.on(times=None).skew(7200)
    ahead, world = open_store(), World()
    assert ahead.clock.now() == pytest.approx(time.time() + 7200, abs=2.5)
    assert deliver(ahead, world.story) == noise(3000)
    assert world.effects == EVERYTHING
    proxy.reset()
    proxy.on(times=None).drop_date()
    without = open_store()
    assert without.clock.now() == pytest.approx(time.time(), abs=0.5)


def test_too_little_time_is_told_before_an_effect_not_after(store: Watched, deliver: Any, clock: FakeClock) -> None:
    world, context = World(), Context(60, clock)

    def body() -> None:
        step("plain", world.do, "plain")
        clock.advance(59.5)
        step("pay", world.do, "pay")

    with pytest.raises(OutOfTime):
        deliver(store, body, context)
    assert world.effects == ["plain"]
    assert deliver(store, world.story) == noise(3000)
    assert world.effects == EVERYTHING
