"""P3 under real concurrency: processes that deliver one event at once, frozen ones that wake too late, threads held at a write."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durably import NOT_DONE, DynamoDBStore, ExecutionInProgress, LeaseLost, MemoryStore, SQLiteStore, durable, step
from durably.clock import SYSTEM, Clock
from durably.stores.protocol import Store

from .clocks import FakeClock
from .contract import KEPT, UNTIL, SessionAt, shared_table
from .crash_app import lines
from .race_app import Process, at_once, deliver, wait_for
from .stores_for_tests import Other

EFFECTS = {"plain", "pay", "slow", "last", *(f"item-{n}" for n in range(6))}
RESULT = [*(f"item-{n}" for n in range(6)), "last"]
Open = Callable[[Clock], Store]


@pytest.fixture(autouse=True)
def forks_are_meant() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork beside threads
        yield


@pytest.fixture
def folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def opener(kind: str, folder: Path, request: pytest.FixtureRequest) -> Open:
    if kind == "memory":
        stores: dict[int, Store] = {}
        return lambda clock: stores.setdefault(0, MemoryStore(clock=clock))
    if kind == "sqlite":
        return lambda clock: SQLiteStore(folder / "durably.db", clock=clock)
    endpoint = request.getfixturevalue("dynamodb_local")
    table = shared_table(endpoint)  # here: a forked child that made it would have one of its own

    def opened(clock: Clock) -> Store:
        store = DynamoDBStore(table, session=SessionAt(endpoint), clock=clock)
        store.clock.offset_s = 0.0  # a test's clock may be wrong on purpose
        KEPT.append(store)
        return store

    return opened


@pytest.fixture(params=["sqlite", "dynamodb"])
def open_store(request: pytest.FixtureRequest, folder: Path) -> Open:
    return opener(request.param, folder, request)


@pytest.fixture(params=["memory", "sqlite", "dynamodb"])
def open_any_store(request: pytest.FixtureRequest, folder: Path) -> Open:
    return opener(request.param, folder, request)


@pytest.fixture
def event() -> dict[str, Any]:
    return {"id": uuid.uuid4().hex}


def journal(store: Store, event: Any, name: str = "race-app") -> list[tuple[str, str, str]]:
    """(owner, kind, step) of every entry; the numbers must run from 1."""
    head = store.read(f"{name}/{event['id']}", until=UNTIL)
    assert head is not None
    segments = store.load(head.id, head.generation, until=UNTIL)
    assert [segment.number for segment in segments] == list(range(1, len(segments) + 1))
    return [(segment.owner, entry.kind, entry.step) for segment in segments for entry in segment.entries]


def assert_one_writer_at_a_time(entries: list[tuple[str, str, str]]) -> None:
    """Each attempt's entries stand together, and no step has two outcomes."""
    owners = [owner for owner, _, _ in entries]
    blocks = [owner for index, owner in enumerate(owners) if index == 0 or owners[index - 1] != owner]
    assert len(blocks) == len(set(blocks)), entries
    outcomes = Counter(step for _, kind, step in entries if kind in ("result", "error"))
    assert set(outcomes.values()) <= {1}, entries


def test_processes_that_make_the_file_at_once_can_all_use_it(folder: Path) -> None:
    for round in range(8):
        store = SQLiteStore(folder / f"new-{round}.db")
        outcomes = at_once(folder, 8, lambda store=store: store.read("nobody", until=SYSTEM.monotonic() + 20))
        assert [outcome["result"] for outcome in outcomes if "result" in outcome] == [None] * 8, outcomes


@pytest.mark.parametrize("round", range(3))
def test_eight_processes_that_deliver_one_event_at_once_run_its_effects_once(
    open_store: Open, folder: Path, event: Any, round: int
) -> None:
    store = open_store(SYSTEM)
    outcomes = at_once(folder, 8, lambda: deliver(store, event, folder))
    told = Counter("result" if "result" in outcome else outcome["raised"] for outcome in outcomes)
    assert set(told) <= {"result", ExecutionInProgress.__name__}, outcomes
    assert told["result"] >= 1
    assert {str(outcome["result"]) for outcome in outcomes if "result" in outcome} == {str(RESULT)}
    assert Counter(line["effect"] for line in lines(folder / "world")) == Counter(EFFECTS)
    assert_one_writer_at_a_time(journal(store, event))
    assert deliver(store, event, folder) == RESULT
    assert len(lines(folder / "world")) == len(EFFECTS)


def test_eight_processes_at_a_dead_attempts_event_have_one_successor(
    open_store: Open, folder: Path, event: Any
) -> None:
    frozen = Process(folder, lambda: deliver(open_store(SYSTEM), {**event, "pause": "between steps"}, folder))
    wait_for(folder / "at between steps")
    os.kill(frozen.pid, signal.SIGKILL)
    os.waitpid(frozen.pid, 0)
    later = FakeClock()
    later.advance(60)
    outcomes = at_once(folder, 8, lambda: deliver(open_store(later), event, folder))
    assert {outcome.get("raised", "result") for outcome in outcomes} <= {"result", "ExecutionInProgress"}, outcomes
    assert Counter(line["effect"] for line in lines(folder / "world")) == Counter(EFFECTS)
    assert_one_writer_at_a_time(journal(open_store(later), event))


def test_a_process_frozen_within_a_step_and_overtaken_appends_nothing(
    open_store: Open, folder: Path, event: Any
) -> None:
    """Its own clock says that no time has passed: it is the fence that stops it."""
    asked = {**event, "who": "zombie", "pause": "in the step"}
    zombie = Process(folder, lambda: deliver(open_store(FakeClock()), asked, folder))
    wait_for(folder / "at in the step")
    os.kill(zombie.pid, signal.SIGSTOP)
    later = FakeClock()
    later.advance(60)
    successor = open_store(later)
    assert deliver(successor, {**event, "who": "successor"}, folder) == RESULT
    before = journal(successor, event)
    (folder / "go").touch()
    os.kill(zombie.pid, signal.SIGCONT)
    outcome = zombie.outcome()
    assert outcome.get("raised") == LeaseLost.__name__, outcome
    assert journal(successor, event) == before
    assert_one_writer_at_a_time(before)
    head = successor.read(f"race-app/{event['id']}", until=UNTIL)
    assert head is not None
    assert (head.status, head.attempt) == ("completed", 2)
    # It was inside `slow` and nothing on our side can stop that; it began nothing more.
    did = Counter(line["effect"] for line in lines(folder / "world"))
    assert did == Counter([*EFFECTS, "slow"])
    assert [line["effect"] for line in lines(folder / "world") if line["who"] == "zombie"] == ["plain", "pay", "slow"]


def test_a_process_frozen_past_its_lease_begins_no_step_when_it_wakes(
    open_store: Open, folder: Path, event: Any
) -> None:
    asked = {**event, "who": "zombie", "pause": "between steps"}
    lease = timedelta(seconds=0.6)
    zombie = Process(folder, lambda: deliver(open_store(SYSTEM), asked, folder, lease=lease))
    wait_for(folder / "at between steps")
    os.kill(zombie.pid, signal.SIGSTOP)
    threading.Event().wait(0.65)  # its monotonic clock is the machine's, and must see its lease run out
    successor = open_store(SYSTEM)
    assert deliver(successor, {**event, "who": "successor"}, folder) == RESULT
    before = journal(successor, event)
    (folder / "go").touch()
    os.kill(zombie.pid, signal.SIGCONT)
    outcome = zombie.outcome()
    assert outcome.get("raised") == LeaseLost.__name__, outcome
    assert journal(successor, event) == before
    assert [line["effect"] for line in lines(folder / "world") if line["who"] == "zombie"] == ["plain", "pay"]
    assert Counter(line["effect"] for line in lines(folder / "world")) == Counter(EFFECTS)


# ---- two attempts in one process, each held at a call to the store


class Gated:
    """A store whose n-th call waits at a gate, before it takes effect or after."""

    def __init__(self, inner: Store, stops_at: int, *, after: bool) -> None:
        self.inner = inner
        self.stops_at = stops_at
        self.after = after
        self.calls = 0
        self.reached = threading.Event()
        self.opened = threading.Event()

    @property
    def clock(self) -> Clock:
        return self.inner.clock

    def gate(self) -> None:
        self.reached.set()
        assert self.opened.wait(20), "the gate was never opened"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            here = self.calls == self.stops_at
            if here and not self.after:
                self.gate()
            answer = method(*args, **kwargs)
            if here and self.after:
                self.gate()
            return answer

        return call


def run_story(store: Any, event: Any, who: str, world: list[tuple[str, str]]) -> str:
    def do(name: str) -> str:
        world.append((name, who))
        return name

    @durable(store=store, name="gated", id=lambda event, context: event["id"])
    def handler(event: Any, context: Any) -> str:
        step("plain", do, "plain")
        step("read", do, "read", repeatable=True)
        step("pay", do, "pay", recover=lambda: "pay" if any(name == "pay" for name, _ in world) else NOT_DONE)
        return step("last", do, "last")

    return str(handler(event, None))


def run_until_held(gated: Gated, event: Any, who: str, world: Any) -> Other:
    other = Other(run_story, gated, event, who, world)
    while not gated.reached.wait(0.001) and other.thread.is_alive():
        pass
    return other


def ended(other: Other) -> str:
    try:
        return str(other.result())
    except (LeaseLost, ExecutionInProgress) as error:
        return type(error).__name__


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_two_attempts_held_at_any_two_writes_never_both_append(open_any_store: Open, after: bool) -> None:
    """The first is held at its i-th call, its lease runs out, the second is held at its j-th, the first goes on to its end."""
    seen: Counter[tuple[str, str]] = Counter()
    for i in range(1, 7):
        for j in range(1, 9, 1 if i % 2 else 2):
            clock, event, world = FakeClock(), {"id": uuid.uuid4().hex}, []
            inner = open_any_store(clock)
            first, second = Gated(inner, i, after=after), Gated(inner, j, after=not after if j % 2 else after)
            clock = getattr(inner.clock, "_clock", inner.clock)  # memory's one store keeps its first clock
            one = run_until_held(first, event, "first", world)
            clock.advance(45)
            two = run_until_held(second, event, "second", world)
            first.opened.set()
            one_ended = ended(one)
            second.opened.set()
            two_ended = ended(two)
            seen[one_ended, two_ended] += 1
            assert "last" in (one_ended, two_ended), (i, j, one_ended, two_ended)
            entries = journal(inner, event, "gated")
            assert_one_writer_at_a_time(entries)
            assert {step for _, kind, step in entries if kind == "result"} == {"plain", "read", "pay", "last"}
            head = inner.read(f"gated/{event['id']}", until=UNTIL)
            assert head is not None
            assert (head.status, head.result) == ("completed", '"last"')
    assert seen["LeaseLost", "last"] >= 5
    assert len(seen) >= 2
