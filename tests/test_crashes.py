"""Crash enumeration: a process dies before and after every effect and every call to the store, and is retried until done."""

from __future__ import annotations

import random
import tempfile
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from durably import DynamoDBStore, SQLiteStore
from durably.stores.protocol import Store

from . import crash_app
from .clocks import FakeClock
from .contract import KEPT, UNTIL, SessionAt, shared_table

MAX_ATTEMPTS = 8
EFFECTS_ONCE = {"pay", "send", "close"}
PURE = {"read", "read-again", "look"}
PLAIN = {"plain", "thread-a", "thread-b", "thread-c", "inner", "outer", "card", "mail", "flaky-1", "flaky-2", "flaky-3"}

Story = tuple[list[str], Counter[str], dict[str, Any], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def forks_are_meant() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork beside threads
        yield


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    """In memory where there is such a place: `os._exit` loses nothing that was written, synced or not."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(params=["sqlite", "dynamodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Store:
    if request.param == "sqlite":
        return SQLiteStore(request.getfixturevalue("quick_folder") / "durably.db", clock=clock)
    endpoint = request.getfixturevalue("dynamodb_local")
    store = DynamoDBStore(shared_table(endpoint), session=SessionAt(endpoint), clock=clock)
    KEPT.append(store)
    # Not warmed by a call: a child must make its own connection, and learns the server's time before ours has moved.
    store.clock.offset_s = 0.0
    return store


@pytest.fixture
def story(store: Store, clock: FakeClock, tmp_path: Path) -> Callable[..., Story]:
    """`story(dies_at=[…])`: deliver one event until it is done; the first attempts die at those points."""

    def told(dies_at: list[int]) -> Story:
        folder, event = tmp_path / uuid.uuid4().hex, {"id": uuid.uuid4().hex}
        folder.mkdir()
        for number in range(MAX_ATTEMPTS):
            code = crash_app.attempt(store, event, folder, dies_at[number] if number < len(dies_at) else 0)
            if code == crash_app.FINISHED:
                break
            assert code == crash_app.CRASHED, f"attempt {number + 1} failed: {crash_app.lines(folder / 'log')}"
            clock.advance(60)
        log = crash_app.lines(folder / "log")
        died = [line["died"] for line in log if "died" in line]
        world = Counter(line["effect"] for line in crash_app.lines(folder / "world"))
        return died, world, log[-1], crash_app.lines(folder / "world")

    return told


def assert_kept(died: list[str], world: Counter[str], last: dict[str, Any]) -> None:
    """What each kind of step promises, wherever the process died."""
    assert last["result"] == crash_app.RESULT, died
    assert set(world) - PURE == EFFECTS_ONCE | PLAIN or set(world) - PURE == (EFFECTS_ONCE | PLAIN) - {"send"}, died
    for name in EFFECTS_ONCE:
        assert world[name] <= 1, (name, died)
    assert world["pay"] == world["close"] == 1, died
    if world["send"] == 0:
        assert any("send" in point or point in ("after append", "before append") for point in died), died
    twice = {name: count - 1 for name, count in world.items() if name not in PURE and count > 1}
    allowed = Counter(kind for point in died for kind in windows(point))
    for name, more in twice.items():
        assert more <= allowed[group(name)] + allowed["any"], (name, died, world)


def group(name: str) -> str:
    """A step tried three times leaves one outcome, and a parent's window includes none of its child's."""
    return "flaky" if name.startswith("flaky") else name


def windows(point: str) -> list[str]:
    """Whose effect may happen once more because of a death there: the one it names, or the one whose append it met."""
    if "effect" in point:
        return [group(point.rpartition(" ")[2])]
    return ["any"] if point == "before append" else []


def test_without_a_crash_everything_happens_once(story: Callable[..., Story]) -> None:
    died, world, last, _ = story([])
    assert died == []
    assert_kept(died, world, last)
    assert set(world.values()) == {1}
    assert "look" not in world
    assert last["points"] >= 60


@pytest.mark.timeout(120)
def test_a_death_at_any_point_is_made_up_for(story: Callable[..., Story], store: Store) -> None:
    points = story([])[2]["points"]
    seen: Counter[str] = Counter()
    for point in range(1, points + 1):
        died, world, last, order = story([point])
        assert len(died) == 1
        seen[died[0]] += 1
        assert_kept(died, world, last)
        again = Counter(world) - Counter(set(world))
        # One death repeats at most the one effect it fell after (a step tried three times: all of its tries).
        assert len({group(name) for name in again if name not in PURE}) <= 1, (died, again)
        assert len({name for name in again if name in PURE}) <= 2, (died, again)
        assert_fallback_is_never_untaken(died, order)
    assert {"before claim", "after claim", "before append", "after append", "before end", "after end"} <= set(seen)
    assert sum("effect" in what for what in seen) == 2 * 16


def assert_fallback_is_never_untaken(died: list[str], order: list[dict[str, Any]]) -> None:
    """Once the fallback has begun, the failure it answers is history: the card is not tried again."""
    names = [line["effect"] for line in order]
    if "mail" in names:
        assert "card" not in names[names.index("mail") :], died


@pytest.mark.timeout(120)
def test_two_deaths_in_a_row_are_made_up_for(story: Callable[..., Story]) -> None:
    points = story([])[2]["points"]
    chosen = random.Random(7)
    for _ in range(25):
        first = chosen.randint(1, points)
        second = chosen.randint(1, max(4, points - first))
        died, world, last, order = story([first, second])
        assert_kept(died, world, last)
        assert_fallback_is_never_untaken(died, order)


def test_four_deaths_around_one_effect_are_made_up_for(story: Callable[..., Story]) -> None:
    for points in ([4, 6, 6, 6], [3, 5, 7, 9], [1, 2, 3, 4], [20, 8, 8, 8]):
        died, world, last, order = story(points)
        assert_kept(died, world, last)
        assert_fallback_is_never_untaken(died, order)


def test_a_duplicate_after_every_story_does_nothing(story: Callable[..., Story], store: Store, tmp_path: Path) -> None:
    event = {"id": uuid.uuid4().hex}
    assert crash_app.attempt(store, event, tmp_path) == crash_app.FINISHED
    before = crash_app.lines(tmp_path / "world")
    assert crash_app.attempt(store, event, tmp_path) == crash_app.FINISHED
    assert crash_app.lines(tmp_path / "world") == before
    assert crash_app.lines(tmp_path / "log")[-1]["result"] == crash_app.RESULT


def test_a_dead_attempts_lease_holds_off_the_next_until_it_runs_out(store: Store, tmp_path: Path) -> None:
    event = {"id": uuid.uuid4().hex}
    assert crash_app.attempt(store, event, tmp_path, dies_at=12) == crash_app.CRASHED
    before = crash_app.lines(tmp_path / "world")
    assert crash_app.attempt(store, event, tmp_path) == crash_app.FAILED
    assert crash_app.lines(tmp_path / "world") == before
    assert store.read(f"crash-app/{event['id']}", until=UNTIL) is not None
