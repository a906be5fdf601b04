"""Crash enumeration where steps run side by side: a fan-out on threads, and tasks on an event loop."""

from __future__ import annotations

import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from durably import DynamoDBStore, SQLiteStore
from durably.fan import BEHIND
from durably.stores.protocol import Store

from . import crash_app, parallel_app
from .clocks import FakeClock
from .contract import KEPT, SessionAt, shared_table

ONCE = {f"pay-{item}" for item in parallel_app.ITEMS} | {"send"}
PLAIN = {f"say-{item}" for item in parallel_app.ITEMS} | {"card-x", "card-y", "card-z", "sum"}
IN_FLIGHT = {"threads": parallel_app.WORKERS + BEHIND, "tasks": len(parallel_app.ITEMS)}
"""How many effects one death may repeat: items under way, and those a quick fan-out lets run ahead of the append."""


@pytest.fixture(autouse=True)
def forks_are_meant() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork beside threads
        yield


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", "dynamodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Store:
    if request.param == "sqlite":
        return SQLiteStore(tmp_path / "durably.db", clock=clock)
    endpoint = request.getfixturevalue("dynamodb_local")
    store = DynamoDBStore(shared_table(endpoint), session=SessionAt(endpoint), clock=clock)
    KEPT.append(store)
    store.clock.offset_s = 0.0
    return store


@pytest.fixture(params=["threads", "tasks"])
def told(
    request: pytest.FixtureRequest, store: Store, clock: FakeClock, tmp_path: Path
) -> Callable[..., tuple[list[str], Counter[str], Any]]:
    """`told(point)`: deliver one event until it is done; the first attempt dies there. What died, what happened, the log."""
    make = getattr(parallel_app, request.param)

    def story(*dies_at: int) -> tuple[list[str], Counter[str], Any]:
        folder, event = tmp_path / uuid.uuid4().hex, {"id": uuid.uuid4().hex}
        folder.mkdir()
        for point in (*dies_at, 0):
            code = crash_app.attempt(store, event, folder, point, make)
            assert code in (crash_app.CRASHED, crash_app.FINISHED), dies_at
            if code == crash_app.FINISHED:
                break
            clock.advance(60)
        log = crash_app.lines(folder / "log")
        died = [line["died"] for line in log if "died" in line]
        return died, Counter(line["effect"] for line in crash_app.lines(folder / "world")), log[-1]

    story.in_flight = IN_FLIGHT[request.param]  # type: ignore[attr-defined]
    return story


def assert_kept(died: list[str], world: Counter[str], last: dict[str, Any], in_flight: int) -> None:
    assert last["result"] == parallel_app.RESULT, died
    assert set(world) == ONCE | PLAIN, died
    assert {name: world[name] for name in ONCE} == dict.fromkeys(ONCE, 1), died
    assert sum((world - Counter(dict.fromkeys(world, 1))).values()) <= in_flight * len(died), (died, world)


@pytest.mark.timeout(120)
def test_a_death_at_any_point_is_made_up_for_side_by_side(told: Any) -> None:
    died, world, last = told()
    assert_kept(died, world, last, 0)
    assert set(world.values()) == {1}
    # Batches differ from run to run, so a few of the last points may lie beyond a run's end.
    for point in range(1, last["points"] + 1):
        assert_kept(*told(point), told.in_flight)


@pytest.mark.timeout(120)
def test_deaths_in_a_row_are_made_up_for_side_by_side(told: Any) -> None:
    for first, second, third in [(5, 5, 5), (9, 7, 11), (14, 14, 2), (20, 9, 9), (31, 6, 12), (38, 3, 3)]:
        assert_kept(*told(first, second, third), told.in_flight)
