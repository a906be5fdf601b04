"""`race_everywhere`: two attempts of one event at every write; stores and handlers that lose the race are found."""

from __future__ import annotations

import time
from typing import Any

import pytest

from durably import NOT_DONE, MemoryStore, durable, step
from durably.entries import Claim, Claimed, Segment
from durably.testing import Report, counted, crash_everywhere, race_everywhere

EVENT = {"id": "evt-1"}
done: list[str] = []


def do(name: str) -> str:
    done.append(name)
    return name


def found(name: str) -> Any:
    return name if name in done else NOT_DONE


@durable(id=lambda event, context: event["id"], name="race-kit")
def guarded(event: Any, context: Any) -> str:
    step("one", do, "one", recover=lambda: found("one"))
    return step("two", do, "two", recover=lambda: found("two"))


@durable(id=lambda event, context: event["id"], name="race-kit")
def unguarded(event: Any, context: Any) -> str:
    step("one", do, "one")
    return step("two", do, "two")


EFFECTS = {"one": lambda: done.count("one"), "two": lambda: done.count("two")}


def race(handler: Any, **options: Any) -> Report:
    return race_everywhere(handler, EVENT, effects=EFFECTS, world=done.clear, **options)


def test_a_guarded_handler_wins_every_race() -> None:
    report = race(guarded)
    report.assert_nothing_wrong()
    report.assert_exactly_once("one", "two")
    report.assert_same_result()
    assert len(report.stories) > 100
    assert {story.rival for story in report.stories} == {"duplicate", "zombie"}


def test_a_duplicate_runs_nothing_while_the_first_attempt_lives() -> None:
    race(unguarded, rivals=["duplicate"]).assert_exactly_once("one", "two")


def test_a_zombies_effect_that_it_could_not_record_is_done_again_and_the_cure_is_a_key() -> None:
    report = race(unguarded, rivals=["zombie"])
    assert report.effects["one"].most == report.effects["two"].most == 2
    assert "idempotency key" in report.effects["one"].cure
    assert {wrong.story.point.what for wrong in report.wrong if wrong.story.point} == {
        "append result one",
        "append result two",
    }
    assert "zombie at: before append result one" in str(report)
    report.assert_same_result()


def test_where_a_recover_would_win_the_race_the_cure_says_so() -> None:
    assert race(unguarded).effects["one"].cure.startswith("recover= if it can be looked for")

    @durable(id=lambda event, context: event["id"], name="race-kit")
    def lies(event: Any, context: Any) -> str:
        return step("one", do, "one", recover=lambda: NOT_DONE)

    assert "its recover= did not find it" in race(lies).effects["one"].cure


def test_a_name_that_depends_on_the_clock_is_found_by_a_race_too() -> None:
    @durable(id=lambda event, context: event["id"], name="race-kit")
    def handler(event: Any, context: Any) -> str:
        return step(f"one-{time.time_ns()}", do, "one")

    assert "name changes between attempts" in race(handler).effects["one"].cure


def test_a_zombie_held_inside_an_effect_is_what_no_journal_can_undo() -> None:
    charge = counted("charge", lambda: "ch_1")

    @durable(id=lambda event, context: event["id"], name="race-kit")
    def handler(event: Any, context: Any) -> str:
        return step("charge", charge, recover=lambda: NOT_DONE)

    race_everywhere(handler, EVENT, rivals=["duplicate"], at="everything").assert_exactly_once("charge")
    report = race_everywhere(handler, EVENT, rivals=["zombie"], at="calls")
    assert report.effects["charge"].most == 2
    assert "a client timeout below the lease" in report.effects["charge"].cure


def test_a_plain_handler_loses_every_race() -> None:
    send = counted("send", lambda: None)
    report = race_everywhere(lambda event, context: send(), EVENT, at="calls")
    assert len(report.wrong) == len(report.stories) > 0
    assert report.effects["send"].place == "outside any step"


# ---- planted bugs in a store


class ClaimsWithoutCondition(MemoryStore):
    """Whoever asks gets the lease."""

    def claim(self, claim: Claim, *, until: float) -> Claimed:
        return super().claim(claim._replace(seize=claim.id in self._heads), until=until)


class AppendsWithoutCondition(MemoryStore):
    """An unconditional put: the last writer of a number wins."""

    def append(self, segment: Segment, *, until: float) -> bool:
        with self._lock:
            self._segments.setdefault((segment.execution, segment.generation), {})[segment.number] = segment
            return True


def test_a_store_that_claims_without_a_condition_is_found() -> None:
    report = race(guarded, rivals=["duplicate"], store=lambda clock: ClaimsWithoutCondition(clock=clock))
    assert report.wrong
    with pytest.raises(AssertionError):
        report.assert_nothing_wrong()


def test_a_store_that_puts_without_a_condition_is_found() -> None:
    report = race(guarded, rivals=["zombie"], store=lambda clock: AppendsWithoutCondition(clock=clock))
    assert any("the store acknowledged and lost: append" in str(wrong) for wrong in report.wrong), str(report)


def test_a_store_that_forgets_what_it_acknowledged_is_found_by_a_crash_too() -> None:
    class Forgets(MemoryStore):
        def append(self, segment: Segment, *, until: float) -> bool:
            return segment.number == 2 or super().append(segment, until=until)

    report = crash_everywhere(
        unguarded, EVENT, effects=EFFECTS, world=done.clear, store=lambda clock: Forgets(clock=clock)
    )
    assert "the store acknowledged and lost: append result two" in str(report)
