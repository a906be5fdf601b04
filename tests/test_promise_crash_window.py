"""P6: the crash window has an answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from durably import NOT_DONE, LeaseLost, OutOfTime, Retry, StepInterrupted, current_step, fan_out, step

from .clocks import Context, FakeClock
from .stores_for_tests import Attempt, Killed, Watched

pytest_plugins = ["tests.stores_for_tests"]

Kill = Callable[..., None]


class Boom(Exception):
    pass


class World:
    """One comment on a pull request, and who looked for it."""

    def __init__(self, store: Watched) -> None:
        self.store = store
        self.comments: list[str] = []
        self.looked = 0
        self.dies_before = False
        self.dies_after = False

    def post(self, text: str = "comment") -> str:
        if self.dies_before:
            self.dies_before = False
            self.store.die()
        self.comments.append(text)
        if self.dies_after:
            self.dies_after = False
            self.store.die()
        return text

    def find(self) -> Any:
        self.looked += 1
        return self.comments[-1] if self.comments else NOT_DONE


@pytest.fixture
def world(store: Watched) -> World:
    return World(store)


def test_started_is_appended_before_a_step_with_recover_runs(attempt: Attempt, store: Watched) -> None:
    seen: list[Any] = []
    attempt(lambda: step("post", lambda: seen.append(store.lines()), recover=lambda: NOT_DONE))
    assert seen == [[("started", "post")]]
    assert store.lines() == [("started", "post"), ("result", "post")]


def test_started_is_appended_before_an_at_most_once_step_runs(attempt: Attempt, store: Watched) -> None:
    seen: list[Any] = []
    attempt(lambda: step("post", lambda: seen.append(store.lines()), at_most_once=True))
    assert seen == [[("started", "post")]]


def test_recover_is_not_asked_on_a_first_run_nor_on_a_replay(attempt: Attempt, world: World) -> None:
    failed: list[int] = []

    def body() -> str:
        posted = step("post", world.post, recover=world.find)
        if not failed:
            failed.append(1)
            raise Boom
        return posted

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "comment"
    assert world.looked == 0
    assert world.comments == ["comment"]


def test_recover_finds_what_an_attempt_did_before_it_died(attempt: Attempt, killed: Kill, world: World) -> None:
    world.dies_after = True

    def body() -> str:
        return step("post", world.post, recover=world.find)

    killed(body)
    assert attempt(body) == "comment"
    assert world.comments == ["comment"]
    assert world.looked == 1


def test_what_recover_found_is_the_outcome_for_ever(
    attempt: Attempt, killed: Kill, world: World, store: Watched
) -> None:
    world.dies_after = True
    killed(lambda: step("post", world.post, recover=world.find))

    def body(fails: bool) -> str:
        posted = step("post", world.post, recover=world.find)
        if fails:
            raise Boom
        return posted

    with pytest.raises(Boom):
        attempt(lambda: body(True))
    assert attempt(lambda: body(False)) == "comment"
    assert world.looked == 1
    assert store.lines() == [("started", "post"), ("result", "post")]


def test_not_done_runs_the_step(attempt: Attempt, killed: Kill, world: World) -> None:
    world.dies_before = True

    def body() -> str:
        return step("post", world.post, recover=world.find)

    killed(body)
    assert attempt(body) == "comment"
    assert world.looked == 1
    assert world.comments == ["comment"]


@pytest.mark.parametrize("value", [None, 0, "", [], False], ids=repr)
def test_a_falsy_answer_of_recover_is_a_result(attempt: Attempt, killed: Kill, store: Watched, value: Any) -> None:
    ran: list[int] = []

    def post() -> None:
        ran.append(1)
        store.die()

    killed(lambda: step("post", post, recover=lambda: value))
    assert attempt(lambda: [step("post", post, recover=lambda: value)]) == [value]
    assert ran == [1]


def test_a_failing_recover_is_a_failed_attempt_and_no_outcome(
    attempt: Attempt, killed: Kill, world: World, store: Watched
) -> None:
    world.dies_after = True
    killed(lambda: step("post", world.post, recover=world.find))

    def broken() -> Any:
        raise Boom("GitHub is down")

    for _ in range(2):
        with pytest.raises(Boom, match="GitHub is down"):
            attempt(lambda: step("post", world.post, recover=broken))
        assert store.head().status == "waiting"
    assert store.lines() == [("started", "post")]
    assert attempt(lambda: step("post", world.post, recover=world.find)) == "comment"
    assert world.comments == ["comment"]


def test_a_failing_recover_that_is_swallowed_is_no_history(
    attempt: Attempt, killed: Kill, world: World, store: Watched
) -> None:
    """It says nothing about the step, so the attempt can't go on as if it did."""
    world.dies_after = True
    killed(lambda: step("post", world.post, recover=world.find))

    def broken() -> Any:
        raise Boom("GitHub is down")

    def swallowing() -> str:
        try:
            return step("post", world.post, recover=broken)
        except Boom:
            return step("fallback", lambda: "posted elsewhere")

    with pytest.raises(Boom):
        attempt(swallowing)
    assert ("error", "post") not in store.lines()
    assert attempt(lambda: step("post", world.post, recover=world.find)) == "comment"


def test_a_failing_recover_of_a_retried_step_is_not_taken_for_the_steps_failure(
    attempt: Attempt, killed: Kill, world: World, store: Watched
) -> None:
    world.dies_after = True
    killed(lambda: step("post", world.post, recover=world.find))

    def broken() -> Any:
        raise Boom

    with pytest.raises(Boom):
        attempt(
            lambda: step("post", world.post, recover=broken, retry=Retry(3, on=ValueError, delay=timedelta(seconds=1)))
        )
    assert world.comments == ["comment"]
    assert ("error", "post") not in store.lines()


def test_recover_that_fails_fatally_is_never_not_done(attempt: Attempt, killed: Kill, world: World) -> None:
    world.dies_after = True
    killed(lambda: step("post", world.post, recover=world.find))

    def broken() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(lambda: step("post", world.post, recover=broken))
    assert world.comments == ["comment"]


def test_an_at_most_once_step_that_was_cut_off_raises_instead_of_running_again(
    attempt: Attempt, killed: Kill, world: World, store: Watched
) -> None:
    world.dies_after = True

    def body() -> str:
        return step("post", world.post, at_most_once=True)

    killed(body)
    for _ in range(2):
        with pytest.raises(StepInterrupted) as caught:
            attempt(body)
        assert "post" in str(caught.value)
        assert "recover=" in str(caught.value)
    assert world.comments == ["comment"]


def test_an_at_most_once_step_that_was_never_begun_runs(
    attempt: Attempt, killed: Kill, world: World, store: Watched
) -> None:
    def body() -> str:
        return step("post", world.post, at_most_once=True)

    store.when("append").before(store.die)
    killed(body)
    assert attempt(body) == "comment"
    assert world.comments == ["comment"]


def test_an_at_most_once_step_that_failed_is_not_run_again(attempt: Attempt) -> None:
    """Its effect may have happened before it raised: `started` and no outcome, so it's interrupted."""
    ran: list[int] = []

    def post() -> None:
        ran.append(1)
        raise Boom

    with pytest.raises(Boom):
        attempt(lambda: step("post", post, at_most_once=True))
    with pytest.raises(StepInterrupted):
        attempt(lambda: step("post", post, at_most_once=True))
    assert ran == [1]


def test_an_at_most_once_step_inside_a_retried_step_is_not_run_again(attempt: Attempt) -> None:
    ran: list[int] = []

    def post() -> None:
        ran.append(1)
        raise OSError

    with pytest.raises(StepInterrupted):
        attempt(
            lambda: step(
                "outer",
                lambda: step("post", post, at_most_once=True),
                retry=Retry(3, on=OSError, delay=timedelta(seconds=1)),
            )
        )
    assert ran == [1]


def test_at_most_once_with_retry_is_refused_or_runs_once(attempt: Attempt) -> None:
    """A further try would be a second run: at most once means once."""
    ran: list[int] = []

    def post() -> None:
        ran.append(1)
        raise OSError

    with pytest.raises((OSError, StepInterrupted, TypeError, ValueError)):
        attempt(lambda: step("post", post, at_most_once=True, retry=Retry(3, on=OSError, delay=timedelta(seconds=1))))
    assert len(ran) <= 1


def test_a_caught_interruption_lets_the_handler_go_on(attempt: Attempt, killed: Kill, world: World) -> None:
    world.dies_after = True
    killed(lambda: step("post", world.post, at_most_once=True))
    failed: list[int] = []

    def body() -> str:
        try:
            return step("post", world.post, at_most_once=True)
        except StepInterrupted:
            answer = step("ask a human", lambda: "asked")
        if not failed:
            failed.append(1)
            raise Boom
        return answer

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "asked"
    assert world.comments == ["comment"]


def test_at_most_once_with_recover_asks_and_then_runs(attempt: Attempt, killed: Kill, world: World) -> None:
    world.dies_before = True

    def body() -> str:
        return step("post", world.post, at_most_once=True, recover=world.find)

    killed(body)
    assert attempt(body) == "comment"
    assert world.comments == ["comment"]


def test_with_neither_a_step_is_at_least_once(attempt: Attempt, killed: Kill, world: World) -> None:
    world.dies_after = True
    killed(lambda: step("post", world.post))
    assert attempt(lambda: step("post", world.post)) == "comment"
    assert world.comments == ["comment", "comment"]


def test_a_failure_that_left_with_recover_asks_recover_first(attempt: Attempt, world: World) -> None:
    """`started` and no outcome: an answer that timed out is a small crash, on the next attempt as on the next try."""

    def post_and_time_out() -> str:
        world.post()
        raise TimeoutError

    with pytest.raises(TimeoutError):
        attempt(lambda: step("post", post_and_time_out, recover=world.find))
    assert attempt(lambda: step("post", post_and_time_out, recover=world.find)) == "comment"
    assert world.comments == ["comment"]


def test_a_further_try_asks_recover_first(attempt: Attempt, world: World, store: Watched) -> None:
    def post_and_time_out() -> str:
        world.post()
        raise TimeoutError

    retry = Retry(4, on=TimeoutError, delay=timedelta(seconds=1))
    assert attempt(lambda: step("post", post_and_time_out, recover=world.find, retry=retry)) == "comment"
    assert world.comments == ["comment"]
    assert world.looked == 1
    assert store.lines() == [("started", "post"), ("result", "post")]


def test_every_further_try_asks_recover_first(attempt: Attempt) -> None:
    order: list[str] = []

    def post() -> str:
        order.append("post")
        if order.count("post") < 3:
            raise TimeoutError
        return "done"

    def find() -> Any:
        order.append("look")
        return NOT_DONE

    retry = Retry(4, on=TimeoutError, delay=timedelta(seconds=1))
    assert attempt(lambda: step("post", post, recover=find, retry=retry)) == "done"
    assert order == ["post", "look", "post", "look", "post"]


def test_a_recover_of_an_item_is_asked_about_its_own(attempt: Attempt, killed: Kill, store: Watched) -> None:
    posted: dict[str, str] = {}
    asked: list[str] = []

    def post(item: str) -> str:
        posted[item] = item.upper()
        if item == "b":
            store.die()
        return posted[item]

    def find(item: str) -> Any:
        asked.append(item)
        return posted.get(item, NOT_DONE)

    def body() -> list[str]:
        return fan_out("thread", post, ["a", "b", "c"], workers=1, recover=find)

    killed(body)
    assert attempt(body) == ["A", "B", "C"]
    assert asked == ["b"]


def test_the_idempotency_key_is_a_uuid_and_the_same_on_every_attempt_and_try(
    attempt: Attempt, killed: Kill, store: Watched
) -> None:
    keys: dict[str, list[str]] = {"a": [], "b": []}
    dies = [True]

    def effect(name: str) -> str:
        running = current_step()
        assert running is not None
        assert running.name == name
        keys[name].append(running.idempotency_key)
        if name == "a" and len(keys["a"]) < 3:
            raise OSError
        if name == "b" and dies:
            dies.pop()
            store.die()
        return name

    def body() -> None:
        step("a", effect, "a", retry=Retry(3, on=OSError, delay=timedelta(seconds=1)))
        step("b", effect, "b")

    killed(body)
    attempt(body)
    assert [len(keys["a"]), len(keys["b"])] == [3, 2]
    assert len(set(keys["a"])) == len(set(keys["b"])) == 1
    assert keys["a"][0] != keys["b"][0]
    assert str(uuid.UUID(keys["a"][0])) == keys["a"][0]


def test_the_idempotency_keys_of_two_executions_differ(attempt: Attempt) -> None:
    keys: list[str] = []
    for event in ("evt-1", "evt-2"):
        attempt(lambda: step("a", lambda: keys.append(current_step().idempotency_key)), event_id=event)  # type: ignore[union-attr]
    assert keys[0] != keys[1]


def test_tries_are_counted_for_the_function_that_runs(attempt: Attempt) -> None:
    tries: list[int] = []

    def flaky() -> None:
        tries.append(current_step().tries)  # type: ignore[union-attr]
        if len(tries) < 3:
            raise OSError

    attempt(lambda: step("a", flaky, retry=Retry(3, on=OSError, delay=timedelta(seconds=1))))
    assert tries == [1, 2, 3]


def test_an_attempt_overtaken_while_it_asked_recover_does_not_run_the_step(
    attempt: Attempt, store: Watched, clock: FakeClock, world: World
) -> None:
    """The successor asked too, was told NOT_DONE, and ran it: the effect would happen twice."""
    world.dies_before = True
    with pytest.raises(Killed):
        attempt(lambda: step("post", world.post, recover=world.find))
    store.revive()
    clock.advance(60)

    def find_slowly() -> Any:
        found = world.find()
        clock.advance(60)
        assert attempt(lambda: step("post", world.post, "successor's", recover=world.find)) == "successor's"
        return found

    with pytest.raises(LeaseLost):
        attempt(lambda: step("post", world.post, "zombie's", recover=find_slowly))
    assert world.comments == ["successor's"]


def test_a_step_is_not_run_when_recover_has_taken_the_time(attempt: Attempt, clock: FakeClock, world: World) -> None:
    def find_slowly() -> Any:
        clock.advance(9.5)
        return NOT_DONE

    with pytest.raises(Boom):
        attempt(lambda: step("post", raise_boom, recover=world.find))
    with pytest.raises(OutOfTime):
        attempt(lambda: step("post", world.post, recover=find_slowly), context=Context(10, clock))
    assert world.comments == []


def raise_boom() -> None:
    raise Boom
