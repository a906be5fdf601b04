"""A journal as people are shown it: states, order, attempts and the first line, on every store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from durably import NOT_DONE, Fatal, Retry, StepInterrupted, current_step, fan_out, step
from durably.entries import Entry
from durably.history.model import ExecutionView, StepView
from durably.history.reading import read_execution
from durably.history.steps import group_and_key, steps_of

from .clocks import Context, FakeClock
from .stores_for_tests import Attempt, Other, Watched, raising

pytest_plugins = ["tests.stores_for_tests"]


class Boom(Exception):
    pass


class CardRefused(Fatal):
    pass


def boom() -> None:
    raise Boom("no route to host")


def view(store: Watched, **options: Any) -> ExecutionView:
    return read_execution(store.inner, store.execution, **options)


def one(shown: ExecutionView, name: str) -> StepView:
    return next(step for step in shown.steps if step.name == name)


def states(shown: ExecutionView) -> dict[str, str]:
    return {step.name: step.state for step in shown.steps}


def test_a_completed_execution_shows_its_steps_with_results_and_sizes(attempt: Attempt, store: Watched) -> None:
    def body() -> int:
        step("fetch", lambda: {"lines": 3})
        return step("count", lambda: 3)

    attempt(body)
    shown = view(store)
    assert shown.state == "completed"
    assert [(s.name, s.state, s.result, s.size) for s in shown.steps] == [
        ("fetch", "done", '{"lines":3}', 11),
        ("count", "done", "3", 1),
    ]
    assert shown.headline.startswith("completed in ")
    assert shown.headline.endswith("2 steps")
    assert shown.stopped_at == ""
    assert [(a.number, a.how, a.killed, a.steps) for a in shown.attempts] == [
        (1, "completed", False, ("fetch", "count"))
    ]


def test_the_first_line_says_where_it_stopped_why_which_attempt_what_is_done_and_what_comes_next(
    attempt: Attempt, store: Watched
) -> None:
    def body() -> None:
        step("fetch", lambda: 1)
        step("charge", boom)

    for _ in range(3):
        with pytest.raises(Boom):
            attempt(body)
    shown = view(store)
    assert shown.headline == (
        "stopped at step `charge`, attempt 3, 1 of 2 known steps done, Boom: no route to host; next: the trigger's retry, "
        f"or `durably redrive {store.execution}`"
    )
    charge = one(shown, "charge")
    assert (charge.state, charge.attempt, charge.has_outcome) == ("failed", 3, False)
    assert [(f.attempt, str(f.error)) for f in charge.history] == [(n, "Boom: no route to host") for n in (1, 2, 3)]
    assert charge.error is not None
    assert "in boom" in charge.error.traceback
    assert shown.error == charge.error


def test_a_failure_that_the_code_caught_is_history_and_not_where_it_stopped(attempt: Attempt, store: Watched) -> None:
    def body() -> None:
        try:
            step("primary", boom)
        except Boom:
            step("fallback", lambda: "by mail")
        step("save", boom)

    with pytest.raises(Boom):
        attempt(body)
    shown = view(store)
    assert states(shown) == {"primary": "caught", "fallback": "done", "save": "failed"}
    assert shown.stopped_at == "save"


def test_fatal_is_failed_and_nothing_comes_by_itself(attempt: Attempt, store: Watched) -> None:
    def refuse() -> None:
        raise CardRefused("card 4242 was refused")

    with pytest.raises(CardRefused):
        attempt(lambda: step("charge", refuse))
    shown = view(store)
    assert shown.state == "failed"
    assert shown.headline.startswith(
        "failed at step `charge`, attempt 1, 0 of 1 known step done, CardRefused: card 4242"
    )
    assert "nothing by itself" in shown.headline
    assert shown.error is not None
    assert shown.error.class_name == "CardRefused"


def test_a_killed_attempt_says_so_and_its_announced_step_is_interrupted(
    attempt: Attempt, store: Watched, clock: FakeClock, killed: Callable[..., None]
) -> None:
    def body() -> None:
        step("fetch", lambda: 1)
        step("charge", store.die, recover=lambda: NOT_DONE)

    killed(body)
    shown = view(store)
    assert shown.state == "killed"
    assert states(shown) == {"fetch": "done", "charge": "interrupted"}
    assert shown.attempts[0].killed
    assert shown.headline.startswith(
        "killed at step `charge`, attempt 1, 1 of 2 known steps done, it left no end and its lease ran out"
    )


def test_a_killed_attempt_without_an_announced_step_stopped_after_its_last_outcome(
    store: Watched, killed: Callable[..., None]
) -> None:
    def body() -> None:
        step("fetch", lambda: 1)
        step("analyse", store.die)

    killed(body)
    assert view(store).headline.startswith("killed after step `fetch`, attempt 1, 1 of 1 known step done")


def test_nothing_for_longer_than_stuck_is_failed(
    attempt: Attempt, store: Watched, clock: FakeClock, killed: Callable[..., None]
) -> None:
    killed(lambda: step("charge", store.die, recover=lambda: NOT_DONE))
    assert view(store).state == "killed"
    clock.advance(7 * 3600)
    assert view(store).state == "failed"
    assert "nothing has happened for 7 h" in view(store).headline
    assert view(store, stuck=timedelta(hours=8)).state == "killed"


def test_waiting_for_longer_than_stuck_is_failed(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    with pytest.raises(Boom):
        attempt(lambda: step("a", boom))
    assert view(store).state == "waiting"
    clock.advance(6 * 3600 + 1)
    assert view(store).state == "failed"


def test_a_running_step_is_running_only_while_its_attempt_lives(attempt: Attempt, store: Watched) -> None:
    reached, may_end = threading.Event(), threading.Event()

    def charge() -> None:
        reached.set()
        assert may_end.wait(10)

    with_started = {"recover": lambda: NOT_DONE}
    other = Other(attempt, lambda: step("charge", charge, **with_started))
    assert reached.wait(10)
    shown = view(store)
    assert shown.state == "running"
    assert states(shown) == {"charge": "running"}
    assert shown.attempts[0].is_live
    assert shown.headline.startswith("running at step `charge`, attempt 1 for ")
    may_end.set()
    other.result()
    assert states(view(store)) == {"charge": "done"}


def test_an_at_most_once_step_that_was_interrupted_sends_to_resolve(
    attempt: Attempt, store: Watched, killed: Callable[..., None]
) -> None:
    killed(lambda: step("pay out", store.die, at_most_once=True))
    with pytest.raises(StepInterrupted):
        attempt(lambda: step("pay out", lambda: None, at_most_once=True))
    headline = view(store).headline
    assert "stopped at step `pay out`, attempt 2" in headline
    assert f"`durably resolve {store.execution} 'pay out'`" in headline


def test_inner_steps_follow_theirs_and_items_stay_together(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    def review() -> int:
        step("read", lambda: clock.advance(1))
        return len(fan_out("thread", lambda x: x, ["a.py:1", "b.py[2]"], workers=1))

    def body() -> None:
        step("fetch", lambda: clock.advance(1))
        step("review", review)
        step("save", lambda: clock.advance(1))

    attempt(body)
    assert [(s.name, s.depth, s.within, s.group, s.key) for s in view(store).steps] == [
        ("fetch", 0, "", "", ""),
        ("review", 0, "", "", ""),
        ("read", 1, "review", "", ""),
        ("thread[a.py:1]", 1, "review", "thread", "a.py:1"),
        ("thread[b.py[2]]", 1, "review", "thread", "b.py[2]"),
        ("save", 0, "", "", ""),
    ]


def test_a_step_that_died_with_inner_steps_done_is_shown_though_it_left_no_entry(
    store: Watched, killed: Callable[..., None]
) -> None:
    def review() -> None:
        step("read", lambda: 1)
        step("write", store.die, recover=lambda: NOT_DONE)

    killed(lambda: step("review", review))
    shown = view(store)
    assert [(s.name, s.state, s.depth, s.within) for s in shown.steps] == [
        ("review", "interrupted", 0, ""),
        ("read", "done", 1, "review"),
        ("write", "interrupted", 1, "review"),
    ]
    assert shown.headline.startswith("killed at step `write`, attempt 1, 1 of 3 known steps done")


def test_a_step_that_failed_and_then_worked_keeps_its_failures(attempt: Attempt, store: Watched) -> None:
    answers: list[Callable[[], Any]] = [boom, boom, lambda: "done"]

    def body() -> Any:
        return step("charge", lambda: answers.pop(0)())

    for _ in range(2):
        with pytest.raises(Boom):
            attempt(body)
    attempt(body)
    charge = one(view(store), "charge")
    assert (charge.state, charge.attempt, charge.error) == ("done", 3, None)
    assert [failure.attempt for failure in charge.history] == [1, 2]


def test_tries_arguments_and_what_can_not_be_stored_are_shown(attempt: Attempt, store: Watched) -> None:
    answers: list[Any] = [Boom("1"), Boom("2"), 7]

    def flaky(card: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def body() -> None:
        step("flaky", flaky, "4242", retry=Retry(3, on=Boom, delay=timedelta(0)), record_args=True)
        step("odd", object)

    with pytest.raises(Exception, match="can't be stored"):
        attempt(body)
    shown = view(store)
    assert (one(shown, "flaky").tries, one(shown, "flaky").arguments) == (3, '["4242"]')
    odd = one(shown, "odd")
    assert (odd.state, odd.permanent, odd.has_outcome) == ("failed", True, True)
    assert shown.stopped_at == "odd"


def test_the_idempotency_key_is_the_one_the_step_was_given(attempt: Attempt, store: Watched) -> None:
    def key() -> str:
        here = current_step()
        assert here is not None
        return here.idempotency_key

    given: str = attempt(lambda: step("charge", key))
    assert one(view(store), "charge").idempotency_key == given


def test_attempts_the_head_has_forgotten_are_told_by_their_entries(attempt: Attempt, store: Watched) -> None:
    def body() -> None:
        step("charge", boom)

    for _ in range(9):
        with pytest.raises(Boom):
            attempt(body)
    shown = view(store)
    assert [a.number for a in shown.attempts] == list(range(1, 10))
    assert [a.remembered for a in shown.attempts] == [False] * 3 + [True] * 6
    assert all(a.steps == ("charge",) and not a.killed for a in shown.attempts)


def test_a_timed_out_attempt_that_ran_out_of_time_says_why(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    def body() -> None:
        step("a", lambda: clock.advance(9))
        step("b", lambda: None)

    with pytest.raises(Exception, match="was not begun"):
        attempt(body, context=Context(9.5, clock), reserve=timedelta(seconds=1))
    headline = view(store).headline
    assert "stopped after step `a`, attempt 1" in headline
    assert "OutOfTime" in headline


def test_a_store_that_fails_while_the_attempt_ends_is_no_end(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    from durably import StoreError

    store.when("end").before(raising(StoreError("down")))
    with pytest.raises(Boom):
        attempt(lambda: step("a", boom))
    clock.advance(60)
    assert view(store).attempts[0].killed


@pytest.mark.parametrize(
    ("name", "group", "key"),
    [
        ("thread[a]", "thread", "a"),
        ("thread[a[0]]", "thread", "a[0]"),
        ("thread[1]/reply[2]", "thread[1]/reply", "2"),
        ("thread[x]]", "thread", "x]"),
        ("plain", "", ""),
        ("[odd]", "", ""),
        ("a]", "", ""),
    ],
)
def test_an_item_of_a_fan_out_is_known_by_its_name(name: str, group: str, key: str) -> None:
    assert group_and_key(name) == (group, key)


def test_a_step_that_names_itself_as_its_parent_does_not_hang() -> None:
    from durably.entries import Segment

    odd = [Entry("result", "a", "1", 1, 1.0, 2.0, within="b"), Entry("result", "b", "1", 1, 1.0, 2.0, within="a")]
    segment = Segment("e", "g", 1, "o", (*odd, Entry("result", "c", "1", 1, 1.0, 2.0, within="c")))
    assert {s.name for s in steps_of("e", [segment], None)} == {"a", "b", "c"}
