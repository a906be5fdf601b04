"""The regression check bites: one request more, or a path that takes more instructions, is found and named."""

from __future__ import annotations

import copy
import importlib
import json
import sys
from typing import Any

import pytest

from benchmarks import quick
from benchmarks.watched_stores import OPEN
from durably import MemoryStore, SQLiteStore
from durably.entries import Segment

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the baseline's instructions are Python 3.11's; later ones trace otherwise"
)

MEMORY = {"memory": OPEN["memory"]}
SQLITE = {"sqlite": OPEN["sqlite"]}


@pytest.fixture(scope="module")
def usual() -> quick.Baseline:
    """What memory and SQLite take as they are."""
    return quick.measure(MEMORY | SQLITE)


def test_what_is_measured_twice_is_the_same(usual: quick.Baseline) -> None:
    assert quick.compare(usual, quick.measure(MEMORY | SQLITE)) == ([], [])


def test_the_stored_baseline_has_every_work_of_every_store(usual: quick.Baseline) -> None:
    stored = json.loads(quick.BASELINE.read_text())
    assert set(stored["requests"]) == {"memory", "sqlite", "dynamodb"}
    for store, works in usual["requests"].items():
        assert works == stored["requests"][store]
    assert set(stored["requests"]["dynamodb"]) == {*quick.WORKS, "fan-out of 300"}


def test_one_more_statement_a_step_is_worse(usual: quick.Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    append = SQLiteStore.append

    def looks_first(store: SQLiteStore, segment: Segment, *, until: float) -> bool:
        store.read(segment.execution, until=until)
        return append(store, segment, until=until)

    monkeypatch.setattr(SQLiteStore, "append", looks_first)
    worse, _ = quick.compare(usual, quick.measure(SQLITE))
    assert any(line.startswith("sqlite, 100 steps: took") and "'SELECT': 102" in line for line in worse)


def test_one_more_call_at_the_claim_is_worse(usual: quick.Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = importlib.import_module("durably.execution")  # the name itself is the context manager's
    claim = execution._claim

    def looks_first(plan: Any, *args: Any) -> Any:
        plan.store.read(plan.id, until=1e12)
        return claim(plan, *args)

    monkeypatch.setattr(execution, "_claim", looks_first)
    worse, _ = quick.compare(usual, quick.measure(MEMORY))
    assert any(line.startswith("memory, no step: took") for line in worse)


def test_a_slow_path_is_worse_though_its_requests_are_the_same(
    usual: quick.Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = MemoryStore.append

    def dawdles(store: MemoryStore, segment: Segment, *, until: float) -> bool:
        for _ in range(100):
            str(segment.number)
        return append(store, segment, until=until)

    monkeypatch.setattr(MemoryStore, "append", dawdles)
    worse, _ = quick.compare(usual, quick.measure(MEMORY))
    assert worse
    assert all("instructions" in line for line in worse)
    assert any("instructions of a step" in line for line in worse)


def test_a_cost_that_grows_with_the_steps_before_is_worse(
    usual: quick.Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = MemoryStore.append

    def counts_all(store: MemoryStore, segment: Segment, *, until: float) -> bool:
        for _ in range(segment.number):
            pass
        return append(store, segment, until=until)

    monkeypatch.setattr(MemoryStore, "append", counts_all)
    worse, _ = quick.compare(usual, quick.measure(MEMORY))
    assert any(quick.LATE in line for line in worse)


def test_fewer_requests_are_told_as_well(usual: quick.Baseline) -> None:
    """An append that is missing is no improvement."""
    less = copy.deepcopy(usual)
    less["requests"]["memory"]["100 steps"]["append"] -= 1
    worse, _ = quick.compare(usual, less)
    assert len(worse) == 1


def test_another_python_has_no_ratios_to_compare_with(usual: quick.Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "PYTHON", "3.99")
    measured = {"requests": usual["requests"], "instructions": {"3.99": {}}}
    worse, notes = quick.compare(usual, measured)
    assert worse == []
    assert "no instruction ratios for Python 3.99" in notes[0]


def test_a_fan_out_that_does_not_gather_is_worse() -> None:
    measured = {"requests": {"dynamodb": {"fan-out of 300": {"at most": 15}}}, "instructions": {quick.PYTHON: {}}}
    worse, _ = quick.compare({}, measured)
    assert worse == ["dynamodb, fan-out of 300: 15 requests, 14 at most"]
