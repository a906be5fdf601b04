"""P1 and P3 against a model: random interleavings of attempts, crashes, expiring leases, lost answers and late writes.

Real attempts are driven step by step over a real store. The model knows what each was shown; the journal must agree.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from durably import DynamoDBStore, ExecutionInProgress, LeaseLost, MemoryStore, SQLiteStore, StepInterrupted, StoreError
from durably.clock import Clock
from durably.current import Running, running
from durably.entries import Entry, Segment
from durably.execution import Opened, complete, finished_result, leave, open_execution
from durably.options import make_options
from durably.plan import Plan
from durably.program import NOT_DONE
from durably.steps import run
from durably.stores.protocol import Store

from .clocks import FakeClock
from .contract import KEPT, UNTIL, SessionAt, shared_table

STEPS = ("a", "b", "c", "d", "e")
WRITES = ("claim", "append", "renew", "end")


class Boom(Exception):
    pass


class Lossy:
    """What one attempt sees of the store. `next_write` says what befalls its next write."""

    def __init__(self, inner: Store, late: list[Callable[[], Any]]) -> None:
        self.inner = inner
        self.late = late
        self.next_write = "answered"

    @property
    def clock(self) -> Clock:
        return self.inner.clock

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            fate = "answered"
            if name in WRITES:
                fate, self.next_write = self.next_write, "answered"
            if fate == "answered":
                return method(*args, **kwargs)
            if fate == "answer lost":
                method(*args, **kwargs)
            if fate == "lands later":
                self.late.append(lambda: method(*args, **kwargs))
            raise StoreError(f"{name}: {fate}")

        return call


class Running_:
    """One attempt, and what the model knows of it."""

    def __init__(self, opened: Opened, lossy: Lossy, remembered: dict[str, Entry]) -> None:
        self.opened = opened
        self.lossy = lossy
        self.remembered = remembered
        self.used: set[str] = set()
        self.last_error: Exception | None = None

    def forget(self) -> None:
        """It died: no timer of it is left in this process."""
        assert self.opened.attempt is not None
        assert self.opened.attempt.lease is not None
        self.opened.attempt.lease.stop_heartbeat()


def folded(segments: list[Segment]) -> dict[str, Entry]:
    """The outcomes that a journal holds. A second outcome of a step that has one is the failure we are looking for."""
    outcomes: dict[str, Entry] = {}
    for segment in segments:
        for entry in segment.entries:
            if entry.kind in ("result", "error"):
                assert entry.step not in outcomes, f"{entry.step} has two outcomes: {outcomes[entry.step]} and {entry}"
                outcomes[entry.step] = entry
            elif entry.kind in ("taken_back", "forgotten"):
                assert outcomes[entry.step].kind == "error", f"a result of {entry.step} was taken back"
                del outcomes[entry.step]
    return outcomes


class Attempts(RuleBasedStateMachine):
    make_store: Callable[[FakeClock], Store]

    @initialize()
    def begin(self) -> None:
        self.clock = FakeClock()
        self.store = type(self).make_store(self.clock)
        self.id = f"stateful/{uuid.uuid4().hex}"
        self.alive: list[Running_] = []
        self.late: list[Callable[[], Any]] = []
        self.journal: list[Segment] = []
        self.acknowledged: dict[str, int] = {}
        self.completed: Any = None
        self.value = 0

    # ---- what happens

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        """One rule that weighs what is possible: left to itself, hypothesis spends most steps on claims that are held."""
        likely = [self.time_passes]
        likely += [self.claim] * (3 if not self.alive else 1 if len(self.alive) < 3 else 0)
        likely += [self.a_write_lands_late] * (3 if self.late else 0)
        if self.alive:
            likely += [self.run_step] * 8 + [self.fail, self.crash, self.heartbeat]
            likely += [self.finish] * (1 if self.value > 6 else 0)
        data.draw(st.sampled_from(likely))(data)

    def claim(self, data: st.DataObject) -> None:
        fate = data.draw(st.sampled_from(["answered"] * 9 + ["answer lost", "lands later"]))
        self.clock.advance(data.draw(st.sampled_from([0.0, 31.0, 31.0])))
        lossy = Lossy(self.store, self.late)
        lossy.next_write = fate
        plan = Plan(self.id, lossy, lease=timedelta(seconds=30))  # type: ignore[arg-type]  # it passes every call on
        head = self.store.read(self.id, until=UNTIL)
        try:
            opened = open_execution(plan)
        except ExecutionInProgress:
            assert head is not None
            assert head.status == "running"
            assert head.lease_until > self.clock.now()
            return
        except StoreError:
            assert fate != "answered"
            return
        if opened.attempt is None:
            assert finished_result(plan, opened.head) == self.completed
            return
        assert self.completed is None
        segments = self.store.load(self.id, opened.head.generation, until=UNTIL)
        self.alive.append(Running_(opened, lossy, folded(segments)))

    def run_step(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.alive))
        unused = [name for name in STEPS if name not in one.used]
        if not unused:
            return
        name = data.draw(st.sampled_from(unused))
        kind = data.draw(st.sampled_from(["plain", "plain", "recover", "repeatable", "at_most_once"]))
        fate = data.draw(st.sampled_from(["answered"] * 7 + ["answer lost", "lands later", "lands later", "lost"]))
        fails = data.draw(st.sampled_from([False, False, False, True]))
        one.used.add(name)
        ran: list[int] = []

        def fn() -> int:
            assert name not in self.acknowledged, f"{name} ran again though {self.acknowledged[name]} was acknowledged"
            assert self.holds(one), f"{name} was begun by an attempt that had been overtaken"
            self.value += 1
            ran.append(self.value)
            if fails:
                raise Boom(str(self.value))
            return self.value

        options: dict[str, Any] = {
            "plain": {},
            "recover": {"recover": lambda: NOT_DONE},
            "repeatable": {"repeatable": True},
            "at_most_once": {"at_most_once": True},
        }[kind]
        one.lossy.next_write = fate
        token = running.set(Running(one.opened.attempt, None))  # type: ignore[arg-type]  # alive ones have an attempt
        try:
            shown = run(name, fn, (), make_options(**options))
        except (Boom, StepInterrupted) as error:
            one.last_error = error
            self.check_replay(one, name, ran, "error", str(error))
            return
        except (StoreError, LeaseLost) as error:
            self.check_lost(one, error)
            if data.draw(st.sampled_from([True, True, False])):
                # Nothing more can come of it: as a handler does that lets a stop signal through.
                self.alive.remove(one)
                leave(one.opened, error)
                one.forget()
            return
        finally:
            running.reset(token)
            one.lossy.next_write = "answered"
        self.check_replay(one, name, ran, "result", str(shown))
        if name in self.acknowledged:
            assert shown == self.acknowledged[name]
        if kind != "repeatable" or name in one.remembered:
            self.acknowledged[name] = shown

    def holds(self, one: Running_) -> bool:
        head = self.store.read(self.id, until=UNTIL)
        return head is not None and (head.owner, head.status) == (one.opened.head.owner, "running")

    def check_lost(self, one: Running_, error: Exception) -> None:
        """Who holds the lease is never told that it lost it: a late write of the last attempt must meet the fence."""
        if isinstance(error, LeaseLost):
            assert not self.holds(one), "the holder of the lease could not append"

    def check_replay(self, one: Running_, name: str, ran: list[int], kind: str, shown: str) -> None:
        known = one.remembered.get(name)
        if known is None:
            return
        assert ran == [], f"{name} was remembered and ran"
        assert known.kind == kind
        assert shown in known.payload or "StepInterrupted" in known.payload

    def finish(self, data: st.DataObject) -> None:
        fate = data.draw(st.sampled_from(["answered", "answered", "answer lost", "lands later", "lost"]))
        one = self.take(data)
        one.lossy.next_write = fate
        try:
            result = complete(one.opened, f"result of {one.opened.head.owner}")
        except (LeaseLost, StoreError) as error:
            self.check_lost(one, error)
            leave(one.opened, error)
            one.forget()
            return
        assert self.completed is None, "completed twice"
        self.completed = result

    def fail(self, data: st.DataObject) -> None:
        fate = data.draw(st.sampled_from(["answered"] * 4 + ["answer lost", "lands later", "lost"]))
        with_its_failure = data.draw(st.booleans())
        one = self.take(data)
        one.lossy.next_write = fate
        leave(one.opened, (one.last_error if with_its_failure else None) or Boom("of the handler"))
        one.forget()

    def crash(self, data: st.DataObject) -> None:
        self.take(data).forget()

    def heartbeat(self, data: st.DataObject) -> None:
        fate = data.draw(st.sampled_from(["answered", "answer lost", "lands later"]))
        one = data.draw(st.sampled_from(self.alive))
        head = one.opened.head
        one.lossy.next_write = fate
        try:
            held = one.lossy.renew(head.id, head.owner, 30.0, until=UNTIL)
        except StoreError:
            return
        now = self.store.read(self.id, until=UNTIL)
        assert now is not None
        assert held == (now.owner == head.owner and now.status == "running")

    def time_passes(self, data: st.DataObject) -> None:
        self.clock.advance(data.draw(st.sampled_from([1.0, 31.0, 31.0])))

    def a_write_lands_late(self, data: st.DataObject) -> None:
        self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))()

    def take(self, data: st.DataObject) -> Running_:
        one = data.draw(st.sampled_from(self.alive))
        self.alive.remove(one)
        return one

    # ---- what is always so

    @invariant()
    def the_journal_only_grows_and_has_one_writer_at_a_time(self) -> None:
        head = self.store.read(self.id, until=UNTIL) if hasattr(self, "store") else None
        if head is None:
            return
        segments = self.store.load(self.id, head.generation, until=UNTIL)
        assert segments[: len(self.journal)] == self.journal, "the journal was rewritten"
        assert [segment.number for segment in segments] == list(range(1, len(segments) + 1))
        owners = [segment.owner for segment in segments]
        blocks = [owner for place, owner in enumerate(owners) if place == 0 or owners[place - 1] != owner]
        assert len(blocks) == len(set(blocks)), f"an overtaken attempt appended: {owners}"
        outcomes = folded(segments)
        for name, value in self.acknowledged.items():
            assert name in outcomes, f"{name} was acknowledged and is not in the journal"
            assert outcomes[name].payload == str(value)
        if head.status == "completed":
            if self.completed is None:
                self.completed = head.result and head.result.strip('"')  # its answer was lost
            assert head.result == f'"{self.completed}"'
        self.journal = segments

    def teardown(self) -> None:
        for one in getattr(self, "alive", []):
            one.forget()


def check(make_store: Callable[[FakeClock], Store], *, examples: int, steps: int = 40) -> None:
    machine = type("Machine", (Attempts,), {"make_store": staticmethod(make_store)})
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],  # what is found is short enough to read; making it shorter takes minutes
    )
    run_state_machine_as_test(machine, settings=chosen)


def test_interleaved_attempts_keep_one_outcome_and_one_writer_in_memory() -> None:
    check(lambda clock: MemoryStore(clock=clock), examples=250)


def test_interleaved_attempts_keep_one_outcome_and_one_writer_in_sqlite() -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        path = Path(folder) / "durably.db"

        def make(clock: FakeClock) -> Store:
            return SQLiteStore(path, clock=clock)

        check(make, examples=150)


def test_interleaved_attempts_keep_one_outcome_and_one_writer_in_dynamodb(
    dynamodb_local: str, request: pytest.FixtureRequest
) -> None:
    table = shared_table(dynamodb_local)

    def make(clock: FakeClock) -> Store:
        store = DynamoDBStore(table, session=SessionAt(dynamodb_local), clock=clock)
        store.clock.offset_s = 0.0
        KEPT.append(store)
        return store

    check(make, examples=10, steps=30)
