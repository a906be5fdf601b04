"""Operators and attempts at once: whatever the order, the journal has no gap, no step has two outcomes, and work gets done."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durably import DurablyError, MemoryStore, SQLiteStore, durable, step
from durably.history import actions
from durably.journal import Frame, Journal, refuse_gaps
from durably.stores.protocol import Store

from .stores_for_tests import FOREVER

EVENT = {"id": "evt-1", "detail-type": "t", "source": "s", "detail": {}}
STEPS = 12


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_operators_and_attempts_at_once_leave_one_journal(kind: str, seed: int, tmp_path: Path) -> None:
    store: Store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "d.db")
    runs: Counter[str] = Counter()
    acknowledged: dict[int, set[int]] = defaultdict(set)
    over = threading.Event()

    @durable(name="f", store=store)
    def handler(event: Any, context: Any) -> list[int]:
        def effect(name: str) -> int:
            over.wait(0.0005)  # operators come in between
            runs[name] += 1
            return runs[name]

        results = []
        for number in range(STEPS):
            results.append(step(f"s{number}", effect, f"s{number}"))
            acknowledged[number].add(results[-1])
        return results

    def invoke(function: str, payload: str) -> None: ...

    def operate(rng: random.Random) -> None:
        choices: list[Callable[[], Any]] = [
            lambda: actions.cancel(store, "f/evt-1"),
            lambda: actions.redrive(store, "f/evt-1", invoke),
            lambda: actions.resolve(store, "f/evt-1", f"s{rng.randrange(STEPS)}", run_again=True),
        ]
        while not over.is_set():
            try:
                rng.choice(choices)()
            except DurablyError:
                over.wait(0.001)

    operators = [threading.Thread(target=operate, args=(random.Random(seed * 7 + one),)) for one in range(2)]
    for operator in operators:
        operator.start()
    for _ in range(15):
        try:
            handler(EVENT, None)
        except DurablyError:
            over.wait(0.002)
    over.set()
    for operator in operators:
        operator.join(20)
    head = store.read("f/evt-1", until=FOREVER)
    assert head is not None
    if head.status == "cancelled":
        actions.redrive(store, "f/evt-1", invoke)
    result = handler(EVENT, None)
    head = store.read("f/evt-1", until=FOREVER)
    assert head is not None
    assert head.status == "completed"
    segments = store.load("f/evt-1", head.generation, until=FOREVER)
    refuse_gaps("f/evt-1", segments)
    written = Counter(entry.step for one in segments for entry in one.entries if entry.kind == "result")
    assert written == {f"s{number}": 1 for number in range(STEPS)}
    journal = Journal("f/evt-1", 99, segments)
    outcomes = [journal.begin(Frame(f"s{number}")) for number in range(STEPS)]
    assert [acknowledged[number] for number in range(STEPS)] == [{value} for value in result], "an outcome was lost"
    assert [int(outcome.payload) for outcome in outcomes if outcome is not None] == result
