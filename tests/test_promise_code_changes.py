"""P8: code may change between attempts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from durably import DuplicateStep, Retry, current_step, fan_out, step

from .stores_for_tests import Attempt, Watched

pytest_plugins = ["tests.stores_for_tests"]


class Boom(Exception):
    pass


class Log(list[str]):
    def of(self, name: str, result: Any = None) -> Callable[..., Any]:
        def effect(*args: Any) -> Any:
            self.append(name)
            return result

        return effect

    def fails(self) -> None:
        self.append("fail")
        raise Boom


@pytest.fixture
def log() -> Log:
    return Log()


def test_steps_added_removed_and_reordered_keep_every_finished_outcome(attempt: Attempt, log: Log) -> None:
    def first_version() -> None:
        for name in "abc":
            step(name, log.of(name, f"{name}1"))
        log.fails()

    def second_version() -> list[str]:
        return [step(name, log.of(name, f"{name}2")) for name in ("x", "c", "a", "y")]

    with pytest.raises(Boom):
        attempt(first_version)
    assert attempt(second_version) == ["x2", "c1", "a1", "y2"]
    assert log == ["a", "b", "c", "fail", "x", "y"]


def test_a_step_that_came_back_after_a_version_without_it_is_replayed(attempt: Attempt, log: Log) -> None:
    def version(*names: str, fails: bool = True) -> Callable[[], list[str]]:
        def body() -> list[str]:
            results = [step(name, log.of(name, name)) for name in names]
            if fails:
                log.fails()
            return results

        return body

    for body in (version("a", "b"), version("b"), version("c", "b")):
        with pytest.raises(Boom):
            attempt(body)
    assert attempt(version("c", "a", "b", fails=False)) == ["c", "a", "b"]
    assert [name for name in log if name != "fail"] == ["a", "b", "c"]


def test_a_step_moved_into_another_function_or_fan_out_keeps_its_outcome(attempt: Attempt, log: Log) -> None:
    def first_version() -> None:
        step("thread[a]", log.of("a", "A"))
        log.fails()

    def second_version() -> list[str]:
        return fan_out("thread", lambda item: log.of(item, item.upper())(), ["a", "b"], workers=1)

    with pytest.raises(Boom):
        attempt(first_version)
    assert attempt(second_version) == ["A", "B"]
    assert log == ["a", "fail", "b"]


def test_the_items_of_a_fan_out_may_change_and_move(attempt: Attempt, log: Log) -> None:
    def version(items: list[str], fails: bool) -> list[str]:
        results = fan_out("thread", lambda item: log.of(item, item.upper())(), items, workers=1)
        if fails:
            log.fails()
        return results

    with pytest.raises(Boom):
        attempt(lambda: version(["a", "b", "c"], True))
    assert attempt(lambda: version(["d", "c", "a"], False)) == ["D", "C", "A"]
    assert log == ["a", "b", "c", "fail", "d"]


def test_options_of_a_step_may_change_between_attempts(attempt: Attempt, log: Log) -> None:
    with pytest.raises(Boom):
        attempt(lambda: (step("a", log.of("a", 1), repeatable=True), step("b", log.of("b", 2)), log.fails()))
    assert attempt(lambda: [step("b", log.of("b"), repeatable=True), step("a", log.of("a"), at_most_once=True)]) == [
        2,
        1,
    ]
    assert log == ["a", "b", "fail"]


def test_a_name_used_twice_raises_at_once_and_says_how_to_name_the_two(
    attempt: Attempt, log: Log, store: Watched
) -> None:
    def body() -> None:
        step("comment", log.of("first"))
        step("comment", log.of("second"))

    with pytest.raises(DuplicateStep) as caught:
        attempt(body)
    text = str(caught.value)
    assert "'comment'" in text
    assert "f'comment/" in text
    assert store.execution in text
    assert log == ["first"]


def test_a_name_used_twice_raises_on_a_replay_too(attempt: Attempt, log: Log) -> None:
    def body() -> None:
        step("comment", log.of("first"))
        step("comment", log.of("second"))

    for _ in range(2):
        with pytest.raises(DuplicateStep):
            attempt(body)
    assert log == ["first"]


def test_a_name_whose_first_use_failed_is_used_too(attempt: Attempt, log: Log) -> None:
    def body() -> None:
        with pytest.raises(Boom):
            step("comment", log.fails)
        step("comment", log.of("second"))

    with pytest.raises(DuplicateStep):
        attempt(body)
    assert log == ["fail"]


def test_repeatable_steps_and_items_may_not_share_a_name_either(attempt: Attempt, log: Log) -> None:
    def repeatable() -> None:
        step("page", log.of("1"), repeatable=True)
        step("page", log.of("2"), repeatable=True)

    def items() -> None:
        fan_out("thread", log.of("3"), ["a"])
        fan_out("thread", log.of("4"), ["b", "a"])

    with pytest.raises(DuplicateStep):
        attempt(repeatable)
    with pytest.raises(DuplicateStep):
        attempt(items, event_id="evt-2")
    assert log == ["1", "3"]


def test_duplicate_keys_raise_before_any_item_runs(attempt: Attempt, log: Log) -> None:
    with pytest.raises(DuplicateStep) as caught:
        attempt(lambda: fan_out("thread", log.of("ran"), ["a", "b", "a"]))
    assert "thread[a]" in str(caught.value)
    assert "key=" in str(caught.value)
    assert log == []


def test_keys_that_spell_alike_are_duplicates(attempt: Attempt, log: Log) -> None:
    with pytest.raises(DuplicateStep):
        attempt(lambda: fan_out("thread", log.of("ran"), [1, "1"]))
    assert log == []


def test_a_step_inside_a_step_has_its_own_entry_before_its_parents(attempt: Attempt, store: Watched, log: Log) -> None:
    def parent() -> int:
        return 1 + step("inner", log.of("inner", 1))  # type: ignore[no-any-return]

    assert attempt(lambda: step("outer", parent)) == 2
    assert store.lines() == [("result", "inner"), ("result", "outer")]
    assert store.journal()[0].within == "outer"


def test_a_replayed_parent_does_not_run_the_inner_step(attempt: Attempt, log: Log) -> None:
    def parent() -> str:
        step("inner", log.of("inner"))
        return log.of("outer", "done")()  # type: ignore[no-any-return]

    def body() -> str:
        answer = step("outer", parent)
        if "fail" not in log:
            log.fails()
        return answer

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "done"
    assert log == ["inner", "outer", "fail"]


def test_an_inner_step_is_replayed_when_its_parent_was_killed(
    attempt: Attempt, killed: Callable[..., None], store: Watched, log: Log
) -> None:
    def parent() -> str:
        inner = step("inner", log.of("inner", "inner's"))
        if log.count("inner") == 1 and "killed" not in log:
            log.append("killed")
            store.die()
        return f"outer with {inner}"

    killed(lambda: step("outer", parent))
    assert attempt(lambda: step("outer", parent)) == "outer with inner's"
    assert log == ["inner", "killed"]


def test_a_name_used_inside_a_step_and_outside_is_a_duplicate(attempt: Attempt, log: Log) -> None:
    def body() -> None:
        step("outer", lambda: step("a", log.of("inner")))
        step("a", log.of("outside"))

    with pytest.raises(DuplicateStep):
        attempt(body)
    assert log == ["inner"]


def test_an_inner_step_may_not_take_its_parents_name(attempt: Attempt) -> None:
    with pytest.raises(DuplicateStep):
        attempt(lambda: step("a", lambda: step("a", lambda: 1)))


def test_steps_nest_to_any_depth(attempt: Attempt, store: Watched) -> None:
    def down(n: int) -> int:
        return n if n == 5 else step(f"level-{n}", down, n + 1)

    assert attempt(lambda: down(0)) == 5
    assert [name for _, name in store.lines()] == [f"level-{n}" for n in (4, 3, 2, 1, 0)]


def test_current_step_is_the_innermost(attempt: Attempt) -> None:
    names: list[Any] = []

    def now() -> None:
        running = current_step()
        names.append(running.name if running is not None else None)

    def parent() -> None:
        now()
        step("inner", now)
        now()

    attempt(lambda: (now(), step("outer", parent), now()) and None)
    assert names == [None, "outer", "inner", "outer", None]


RETRY = Retry(3, on=Boom, delay=timedelta(seconds=1))


def test_a_new_try_of_the_parent_frees_names_and_keeps_results(attempt: Attempt, log: Log, store: Watched) -> None:
    def parent() -> str:
        found = step("inner", log.of("inner", "x"))
        if log.count("fail") < 2:
            log.fails()
        return f"outer with {found}"

    assert attempt(lambda: step("outer", parent, retry=RETRY)) == "outer with x"
    assert log == ["inner", "fail", "fail"]
    assert store.lines() == [("result", "inner"), ("result", "outer")]


def test_a_new_try_of_the_parent_takes_back_the_failures_of_the_last(attempt: Attempt, log: Log) -> None:
    def flaky() -> str:
        log.append("flaky")
        if log.count("flaky") == 1:
            raise Boom
        return "well"

    def parent() -> str:
        return step("before", log.of("before", "b")) + step("inner", flaky)  # type: ignore[no-any-return]

    def body() -> str:
        answer = step("outer", parent, retry=RETRY)
        if "fail" not in log:
            log.fails()
        return answer

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "bwell"
    assert log == ["before", "flaky", "flaky", "fail"]


def test_a_new_try_takes_back_failures_that_its_own_code_had_handled(attempt: Attempt, log: Log) -> None:
    """Handled inside a try that failed: taken back with it, since no try is half kept."""

    def flaky() -> str:
        log.append("flaky")
        if log.count("flaky") == 1:
            raise LookupError
        return "well"

    def parent() -> str:
        try:
            answer = step("inner", flaky)
        except LookupError:
            step("note it", log.of("noted"))
            log.fails()
        return answer

    assert attempt(lambda: step("outer", parent, retry=RETRY)) == "well"
    assert log == ["flaky", "noted", "fail", "flaky"]


def test_a_fan_out_inside_a_retried_step_runs_only_its_failed_items_again(attempt: Attempt, log: Log) -> None:
    def one(item: str) -> str:
        log.append(item)
        if item == "b" and log.count("b") == 1:
            raise Boom
        return item.upper()

    def parent() -> list[str]:
        return fan_out("thread", one, ["a", "b", "c"], workers=1)

    assert attempt(lambda: step("outer", parent, retry=RETRY)) == ["A", "B", "C"]
    assert log == ["a", "b", "b", "c"]


def test_names_within_one_try_are_still_unique(attempt: Attempt, log: Log) -> None:
    def parent() -> None:
        step("inner", log.of("first"))
        step("inner", log.of("second"))

    with pytest.raises(DuplicateStep):
        attempt(lambda: step("outer", parent, retry=RETRY))
    assert log == ["first"]


def test_names_at_any_depth_are_freed(attempt: Attempt, log: Log) -> None:
    def parent() -> str:
        step("middle", lambda: step("inner", log.of("inner", 1)))
        if log.count("fail") < 1:
            log.fails()
        return "done"

    assert attempt(lambda: step("outer", parent, retry=RETRY)) == "done"
    assert log == ["inner", "fail"]


def test_a_failed_middle_step_frees_its_inner_names_with_the_outer_try(attempt: Attempt, log: Log) -> None:
    def middle() -> None:
        step("inner", log.of("inner", 1))
        if log.count("fail") < 1:
            log.fails()

    def parent() -> str:
        step("middle", middle)
        return "done"

    assert attempt(lambda: step("outer", parent, retry=RETRY)) == "done"
    assert log == ["inner", "fail"]


def test_an_exhausted_parent_that_leaves_takes_back_what_failed_inside(attempt: Attempt, log: Log) -> None:
    def flaky() -> str:
        log.append("flaky")
        if log.count("flaky") <= 3:
            raise Boom
        return "well"

    def body() -> str:
        return step("outer", lambda: step("inner", flaky), retry=RETRY)

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "well"
    assert log == ["flaky"] * 4


def test_an_inner_failure_that_leaves_through_its_parent_takes_both_back(attempt: Attempt, log: Log) -> None:
    def flaky() -> str:
        log.append("flaky")
        if log.count("flaky") == 1:
            raise Boom
        return "well"

    with pytest.raises(Boom):
        attempt(lambda: step("outer", lambda: step("inner", flaky)))
    assert attempt(lambda: step("outer", lambda: step("inner", flaky))) == "well"


def test_an_inner_failure_that_its_parent_wrapped_is_taken_back_too(attempt: Attempt, log: Log) -> None:
    def flaky() -> str:
        log.append("flaky")
        if log.count("flaky") == 1:
            raise Boom
        return "well"

    def parent() -> str:
        try:
            return step("inner", flaky)
        except Boom as boom:
            raise RuntimeError from boom

    with pytest.raises(RuntimeError):
        attempt(lambda: step("outer", parent))
    assert attempt(lambda: step("outer", parent)) == "well"


def test_a_parent_that_handled_an_inner_failure_keeps_it_as_history(attempt: Attempt, log: Log) -> None:
    def flaky() -> str:
        log.append("flaky")
        raise Boom

    def parent() -> str:
        try:
            return step("inner", flaky)
        except Boom:
            return step("instead", log.of("instead", "instead"))  # type: ignore[no-any-return]

    def body() -> str:
        answer = step("outer", parent)
        if "fail" not in log:
            log.fails()
        return answer

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "instead"
    assert log == ["flaky", "instead", "fail"]


def test_a_failed_parent_runs_again_with_its_finished_inner_steps_replayed(attempt: Attempt, log: Log) -> None:
    def parent() -> str:
        step("inner", log.of("inner"))
        if "fail" not in log:
            log.fails()
        return "done"

    with pytest.raises(Boom):
        attempt(lambda: step("outer", parent))
    assert attempt(lambda: step("outer", parent)) == "done"
    assert log == ["inner", "fail"]


def test_a_new_try_with_recover_inside_asks_only_for_what_was_begun(attempt: Attempt, log: Log) -> None:
    def find() -> Any:
        log.append("look")
        return "found"

    def post() -> str:
        log.append("post")
        raise Boom

    def parent() -> str:
        return step("post", post, recover=find)

    assert attempt(lambda: step("outer", parent, retry=RETRY)) == "found"
    assert log == ["post", "look"]
