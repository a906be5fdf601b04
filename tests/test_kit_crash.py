"""`crash_everywhere` on threads: what a crash is there, and that each planted bug is found and named."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from durably import NOT_DONE, ExecutionInProgress, Retry, aio, durable, execution, fan_out, once, step
from durably.testing import Report, counted, crash_everywhere

EVENT = {"id": "evt-1"}


class World:
    def __init__(self) -> None:
        self.comments: list[str] = []
        self.mails: list[str] = []
        self.notes: list[str] = []

    def comment(self) -> str:
        self.comments.append("c")
        return f"comment {len(self.comments)}"

    def find_comment(self) -> Any:
        return "comment 1" if self.comments else NOT_DONE

    def mail(self) -> str:
        self.mails.append("m")
        return "sent"


EFFECTS: dict[str, Callable[[World], Any]] = {
    "comment": lambda world: world.comments,
    "mail": lambda world: len(world.mails),
    "note": lambda world: {note: world.notes.count(note) for note in world.notes},
}


class Kit:
    """`kit(body)`: crash_everywhere on a durable handler whose body is given the world of its story."""

    def __init__(self) -> None:
        self.world = World()

    def fresh(self) -> World:
        self.world = World()
        return self.world

    def handler(self, body: Callable[[World], Any], **options: Any) -> Callable[[Any, Any], Any]:
        @durable(id=lambda event, context: event["id"], name="kit", **options)
        def handler(event: Any, context: Any) -> Any:
            return body(self.world)

        return handler

    def __call__(self, body: Callable[[World], Any], **options: Any) -> Report:
        return crash_everywhere(self.handler(body), EVENT, world=self.fresh, effects=EFFECTS, **options)


@pytest.fixture
def kit() -> Kit:
    return Kit()


def safe(world: World) -> str:
    comment = step("comment", world.comment, recover=world.find_comment)
    step("mail", lambda: world.mails or world.mail())
    return str(comment)


def test_a_handler_that_survives_everything_is_reported_so(kit: Kit) -> None:
    report = kit(safe)
    report.assert_exactly_once("comment", "mail")
    report.assert_exactly_once()
    report.assert_same_result()
    report.assert_nothing_wrong()
    assert (report.wrong, report.differing, report.unmet) == ((), (), ())
    assert [str(story.point) for story in report.stories] == [
        f"{side} {what}"
        for what in (
            "claim",
            "append started comment",
            "append result comment",
            "append result mail",
            "end completed",
        )
        for side in ("before", "after")
    ]
    assert "always the same" in str(report)


# ---- planted bugs


def test_a_missing_recover_is_found_with_its_step_and_its_cure(kit: Kit) -> None:
    report = kit(lambda world: step("start-comment", world.comment) and "done")
    with pytest.raises(AssertionError, match=r"comment did not happen exactly once[\s\S]*in step start-comment"):
        report.assert_exactly_once("comment")
    [wrong] = report.wrong
    assert str(wrong) == "before append result start-comment: comment happened 2 times instead of 1"
    effect = report.effects["comment"]
    assert (effect.least, effect.most, effect.place, effect.is_right) == (1, 2, "start-comment", False)
    for cure in ("recover=", "idempotency key", "at_most_once=True"):
        assert cure in effect.cure
    report.assert_same_result()


def test_a_recover_that_does_not_find_the_effect_is_told_from_a_missing_one(kit: Kit) -> None:
    report = kit(lambda world: step("comment", world.comment, recover=lambda: NOT_DONE) and "done")
    assert report.effects["comment"].most == 2
    assert report.effects["comment"].cure.startswith("its recover= did not find it")


def test_an_effect_outside_a_step_is_found(kit: Kit) -> None:
    def body(world: World) -> str:
        step("comment", world.comment, recover=world.find_comment)
        world.mail()
        return str(step("note", lambda: world.notes.append("n") or "noted", repeatable=True))

    report = kit(body)
    assert report.effects["mail"].place == "outside any step"
    assert "put it into a step" in report.effects["mail"].cure
    assert len(report.effects["mail"].repeated) >= 2
    assert report.effects["comment"].is_right


def test_an_effect_between_the_end_of_a_step_and_the_next_append_is_outside_too(kit: Kit) -> None:
    def body(world: World) -> None:
        step("first", lambda: 1)
        world.mail()
        step("second", lambda: 2, at_most_once=True)

    assert kit(body).effects["mail"].place == "outside any step"


def test_a_result_that_is_another_on_replay_is_found() -> None:
    """Ten lines that keep JSON: the first run has the tuple that `fn` returned, a replay a list."""
    checkpoints: dict[str, str] = {}

    def once(id: str, fn: Callable[[], Any]) -> Any:
        if id in checkpoints:
            return json.loads(checkpoints[id])
        result = fn()
        checkpoints[id] = json.dumps(result)
        return result

    pick = counted("pick", lambda: ("a", "b"))
    tell = counted("tell", lambda: None)

    def handler(event: Any, context: Any) -> Any:
        picked = once("pick", pick)
        once("tell", tell)
        return picked

    report = crash_everywhere(handler, EVENT, world=checkpoints.clear)
    with pytest.raises(AssertionError, match="the result was not always the same"):
        report.assert_same_result()
    assert "returned ['a', 'b'] instead of ('a', 'b')" in str(report)
    assert "returned ('a', 'b'), and a duplicate was given ['a', 'b']" in str(report)


def test_a_step_declared_repeatable_that_is_not_is_found_by_the_result(kit: Kit) -> None:
    def body(world: World) -> list[Any]:
        number = step("draw", lambda: world.notes.append("drawn") or len(world.notes), repeatable=True)
        return [number, step("comment", world.comment, recover=world.find_comment)]

    report = kit(body, may_repeat=["note"])
    assert {str(story.point) for story in report.differing} == {
        "before append result draw",
    }


def test_a_name_that_depends_on_the_clock_is_found(kit: Kit) -> None:
    report = kit(lambda world: step(f"comment-{time.time_ns()}", world.comment) and "done")
    assert len(report.wrong) >= 3
    assert "name changes between attempts" in report.effects["comment"].cure
    assert "Recorded, and never asked for by the retry: comment-1" in str(report)


def test_a_name_that_stays_is_not_taken_for_one_that_changes(kit: Kit) -> None:
    assert all(not story.forgotten for story in kit(safe).stories)


def test_a_step_inside_a_replayed_step_has_not_changed_its_name(kit: Kit) -> None:
    def body(world: World) -> Any:
        return step("outer", lambda: step("comment", world.comment, recover=world.find_comment))

    report = kit(body)
    report.assert_nothing_wrong()
    assert all(not story.forgotten for story in report.stories)


def test_an_execution_inside_the_handler_is_killed_and_taken_up_too(kit: Kit) -> None:
    def body(world: World) -> str:
        with execution("child") as child:
            if not child.finished:
                child.result = step("comment", world.comment, recover=world.find_comment)
        return once("mailed", world.mail)

    report = kit(body)
    report.assert_exactly_once("comment")
    report.assert_same_result()
    assert all(not story.forgotten for story in report.stories)
    assert report.effects["mail"].most == 2
    assert report.effects["mail"].cure.startswith("recover= if it can be looked for")


def test_what_only_a_retry_does_is_not_blamed_on_the_step_that_died(kit: Kit) -> None:
    def body(world: World) -> Any:
        def find() -> Any:
            world.mail()
            return world.find_comment()

        return step("comment", world.comment, recover=find)

    mail = kit(body).effects["mail"]
    assert (mail.place, sum(mail.undisturbed.values()), mail.most) == ("only on a retry", 0, 1)
    assert "recover= that does more than look" in mail.cure


def test_a_lease_longer_than_lambdas_patience_is_found() -> None:
    kit = Kit()
    handler = kit.handler(safe, lease=timedelta(minutes=15))
    report = crash_everywhere(handler, EVENT, world=kit.fresh, effects=EFFECTS, timeout=timedelta(minutes=15))
    assert f"never finished: {ExecutionInProgress.__name__}" in str(report)
    with pytest.raises(AssertionError):
        report.assert_nothing_wrong()


def test_a_duplicate_that_does_it_all_again_is_wrong() -> None:
    mail = counted("mail", lambda: "sent")
    report = crash_everywhere(lambda event, context: mail(), EVENT)
    assert {str(wrong) for wrong in report.wrong} == {
        "before mail: a duplicate after the end did it again",
        "after mail: mail happened 2 times instead of 1; a duplicate after the end did it again",
    }


def test_at_most_once_is_reported_as_never_more_and_sometimes_not_finished(kit: Kit) -> None:
    report = kit(lambda world: step("mail", world.mail, at_most_once=True))
    report.assert_at_most_once()
    with pytest.raises(AssertionError):
        report.assert_exactly_once("mail")
    assert "never finished: StepInterrupted" in str(report)


def test_what_may_repeat_may_do_so_once_for_one_death(kit: Kit) -> None:
    def twice(world: World) -> None:
        step("comment", lambda: (world.comments and world.comment() and world.comment()) or world.comment())

    kit(lambda world: step("comment", world.comment) and "done", may_repeat=["comment"]).assert_nothing_wrong()
    report = kit(twice, may_repeat=["comment"])
    assert "comment happened 3 times instead of 1" in str(report)
    with pytest.raises(ValueError, match="names no effect"):
        kit(safe, may_repeat=["typo"])


# ---- what a crash is


def test_no_except_and_no_finally_of_a_dead_attempt_runs_before_its_story_is_over(kit: Kit) -> None:
    def body(world: World) -> str:
        try:
            step("comment", world.comment, recover=world.find_comment)
            return str(step("mail", lambda: "sent" if world.mails else world.mail()))
        except BaseException:
            world.notes.append("caught")
            raise
        finally:
            world.notes.append("finally")

    report = kit(body)
    report.assert_exactly_once("comment", "mail")
    report.assert_same_result()
    assert report.effects["note"].undisturbed == {"finally": 1}
    # Only where the attempt died after its handler had returned.
    assert {str(story.point) for story in report.effects["note"].repeated} == {"before end completed"}


def test_a_handler_that_swallows_everything_can_not_swallow_its_death(kit: Kit) -> None:
    def body(world: World) -> str:
        for _ in range(3):
            try:
                return str(step("comment", world.comment, recover=world.find_comment))
            except BaseException:
                world.notes.append("swallowed")
        return "never"

    report = kit(body)
    report.assert_same_result()
    assert report.effects["comment"].is_right
    assert "note" not in report.effects or report.effects["note"].most == 0


def test_nothing_is_left_of_hundreds_of_deaths(kit: Kit) -> None:
    def body(world: World) -> list[int]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda n: n, fan_out("n", lambda n: n, range(12), workers=4)))

    kit(body)
    before = threading.active_count()
    for _ in range(3):
        assert len(kit(body).stories) >= 4
    assert threading.active_count() <= before


def test_a_fan_outs_threads_die_with_it(kit: Kit) -> None:
    def body(world: World) -> list[str]:
        def one(n: int) -> str:
            if f"n{n}" not in world.notes:
                world.notes.append(f"n{n}")
            return f"n{n}"

        return fan_out("n", one, range(8), workers=4)

    report = kit(body)
    report.assert_exactly_once("note")
    report.assert_same_result()
    assert len(report.effects["note"].undisturbed) == 8


def test_waits_cost_no_time(kit: Kit) -> None:
    tries: list[int] = []

    def flaky(world: World) -> str:
        tries.append(1)
        if len(tries) % 3:
            raise ConnectionError
        return world.comment()

    began = time.monotonic()
    again = Retry(3, on=ConnectionError, delay=timedelta(minutes=5), max_delay=timedelta(minutes=5), jitter=0)
    kit(lambda world: step("flaky", flaky, world, retry=again), timeout=timedelta(hours=1))
    assert time.monotonic() - began < 5


def test_an_async_handler_is_killed_as_well() -> None:
    world = World()

    @aio.durable(id=lambda event, context: event["id"], name="async-kit")
    async def handler(event: Any, context: Any) -> str:
        async def comment() -> str:
            await asyncio.sleep(0)
            return world.comment()

        async def find() -> Any:
            return world.find_comment()

        return await aio.step("comment", comment, recover=find)

    report = crash_everywhere(
        handler,
        EVENT,
        world=lambda: world.__init__(),
        effects={"comment": lambda: world.comments},  # type: ignore[misc]
    )
    assert len(report.stories) == 8
    report.assert_nothing_wrong()


def test_a_lock_that_a_dead_attempt_holds_is_told_of(kit: Kit) -> None:
    lock = threading.Lock()

    def body(world: World) -> str:
        with lock:
            return str(step("comment", world.comment))

    with pytest.raises(Exception, match="lock that the killed attempt held"):
        kit(body, patience=timedelta(seconds=0.2))
    assert lock.acquire(timeout=2)


# ---- what is asked of it


def test_the_undisturbed_run_must_succeed(kit: Kit) -> None:
    def body(world: World) -> None:
        raise ValueError("no")

    with pytest.raises(RuntimeError, match=r"fails undisturbed.*ValueError: no"):
        kit(body)


def test_a_handler_with_no_point_is_told_how_to_get_some() -> None:
    with pytest.raises(RuntimeError, match=r"tap=\[…\], or wrap"):
        crash_everywhere(lambda event, context: 1, EVENT)


def test_an_effect_that_is_not_counted_can_not_be_asserted(kit: Kit) -> None:
    with pytest.raises(KeyError, match="no effect 'comments' was counted; there are"):
        kit(safe).assert_exactly_once("comments")


def test_the_event_is_a_fresh_one_each_time(kit: Kit) -> None:
    event = {"id": "evt-1", "left": [1, 2]}

    @durable(id=lambda event, context: event["id"], name="kit")
    def handler(event: Any, context: Any) -> Any:
        return step("take", event["left"].pop)

    crash_everywhere(handler, event).assert_same_result()
    assert event["left"] == [1, 2]


def test_a_result_is_compared_by_what_matters_of_it(kit: Kit) -> None:
    def body(world: World) -> dict[str, Any]:
        return {"at": time.time_ns(), "comment": step("comment", world.comment, recover=world.find_comment)}

    assert kit(body).differing
    kit(body, result=lambda value: value["comment"]).assert_same_result()


def test_a_world_may_be_a_context(kit: Kit) -> None:
    states: list[str] = []

    @contextmanager
    def world() -> Iterator[World]:
        states.append("made")
        yield kit.fresh()
        states.append("gone")

    report = crash_everywhere(kit.handler(safe), EVENT, world=world, effects=EFFECTS)
    assert states == ["made", "gone"] * (len(report.stories) + 1)
    report.assert_exactly_once("comment")
