"""P5: a failure belongs to the attempt until the user's code handles it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Any

import pytest

from durably import Fatal, OutOfTime, Retry, fan_out, step

from .clocks import Context, FakeClock
from .stores_for_tests import Attempt, Watched

pytest_plugins = ["tests.stores_for_tests"]


class Boom(Exception):
    pass


class Refused(Exception):
    """With fields that no constructor's arguments show."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


class Flaky:
    """A function that fails for its first calls, then gives its result."""

    def __init__(self, failures: int = 1, result: str = "ok", error: Callable[[], BaseException] = Boom) -> None:
        self.calls = 0
        self.failures = failures
        self.result = result
        self.error = error

    def __call__(self, *args: Any) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error()
        return self.result


def test_a_failure_that_leaves_the_handler_is_run_again(attempt: Attempt, store: Watched) -> None:
    flaky = Flaky(2)
    for _ in range(2):
        with pytest.raises(Boom):
            attempt(lambda: step("a", flaky))
    assert attempt(lambda: step("a", flaky)) == "ok"
    assert flaky.calls == 3


def test_a_failure_that_leaves_comes_to_the_caller_as_the_object_that_was_raised(attempt: Attempt) -> None:
    raised = Refused(502, {"a": 1})

    def fail() -> None:
        raise raised

    with pytest.raises(Refused) as caught:
        attempt(lambda: step("a", fail))
    assert caught.value.status == 502
    assert caught.value.body == {"a": 1}


def test_a_handled_failure_is_history_and_comes_back_the_same(attempt: Attempt) -> None:
    flaky = Flaky(1, error=lambda: Refused(422, {"why": ["x"]}))
    seen: list[Any] = []

    def body() -> str:
        try:
            step("primary", flaky)
        except Refused as refused:
            seen.append((type(refused), str(refused), refused.status, refused.body, refused.args))
        answer = step("fallback", lambda: "fallback")
        if len(seen) == 1:
            raise Boom
        return answer

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "fallback"
    assert flaky.calls == 1
    assert seen[0] == seen[1]
    assert seen[0][2:4] == (422, {"why": ["x"]})


def test_a_handled_failure_is_history_even_without_a_later_step(attempt: Attempt) -> None:
    flaky = Flaky(1)
    ran: list[str] = []

    def body() -> str:
        try:
            return step("primary", flaky)
        except Boom:
            ran.append("caught")
        if len(ran) == 1:
            raise LookupError("something else") from None
        return "fallback"

    # "Caught and went on": the LookupError was raised after the except clause, so it has no context.
    with pytest.raises(LookupError):
        attempt(body)
    assert attempt(body) == "fallback"
    assert flaky.calls == 1


def test_a_fallback_once_taken_is_never_un_taken_by_a_kill_inside_it(
    attempt: Attempt, killed: Callable[..., None], store: Watched
) -> None:
    flaky = Flaky(1, "primary's")
    dies = [True]

    def fallback() -> str:
        assert ("error", "primary") in store.lines(), "the failure must be appended before the fallback begins"
        if dies:
            dies.pop()
            store.die()
        return "fallback's"

    def body() -> str:
        try:
            return step("primary", flaky)
        except Boom:
            return step("fallback", fallback)

    killed(body)
    assert attempt(body) == "fallback's"
    assert flaky.calls == 1


def test_a_failure_not_yet_appended_when_the_process_died_is_run_again(
    attempt: Attempt, killed: Callable[..., None], store: Watched
) -> None:
    flaky = Flaky(1)

    def body() -> str:
        try:
            return step("primary", flaky)
        except Boom:
            return step("fallback", lambda: "fallback's")

    store.when("append").before(store.die)
    killed(body)
    assert attempt(body) == "ok"


def test_raise_from_takes_the_cause_back(attempt: Attempt) -> None:
    flaky = Flaky(1)

    def body() -> str:
        try:
            return step("a", flaky)
        except Boom as boom:
            raise RuntimeError("could not") from boom

    with pytest.raises(RuntimeError):
        attempt(body)
    assert attempt(body) == "ok"


def test_raise_from_takes_the_cause_back_though_a_later_step_began(attempt: Attempt) -> None:
    flaky = Flaky(1)

    def body() -> str:
        try:
            return step("a", flaky)
        except Boom as boom:
            step("tell", lambda: None)
            raise RuntimeError("could not") from boom

    with pytest.raises(RuntimeError):
        attempt(body)
    assert attempt(body) == "ok"


def test_a_chain_of_causes_takes_the_last_back(attempt: Attempt) -> None:
    flaky = Flaky(1)

    def body() -> str:
        try:
            try:
                return step("a", flaky)
            except Boom as boom:
                raise LookupError from boom
        except LookupError as lookup:
            raise RuntimeError from lookup

    with pytest.raises(RuntimeError):
        attempt(body)
    assert attempt(body) == "ok"


def test_an_exception_group_takes_back_all_it_holds_at_any_depth(attempt: Attempt) -> None:
    flakies = {name: Flaky(1, name) for name in "abc"}

    def body() -> list[str]:
        errors: list[Exception] = []
        results: list[str] = []
        for name, flaky in flakies.items():
            try:
                results.append(step(name, flaky))
            except Boom as boom:
                errors.append(boom)
        if errors:
            raise ExceptionGroup("some failed", [errors[0], ExceptionGroup("inner", errors[1:])])
        return results

    with pytest.raises(ExceptionGroup):
        attempt(body)
    assert attempt(body) == ["a", "b", "c"]
    assert [flaky.calls for flaky in flakies.values()] == [2, 2, 2]


def test_an_exception_group_with_a_failure_chained_inside_takes_it_back(attempt: Attempt) -> None:
    flaky = Flaky(1)

    def body() -> str:
        try:
            return step("a", flaky)
        except Boom as boom:
            wrapped = RuntimeError("wrapped")
            wrapped.__cause__ = boom
        raise ExceptionGroup("group", [ValueError("other"), wrapped])

    with pytest.raises(ExceptionGroup):
        attempt(body)
    assert attempt(body) == "ok"


def test_an_exception_group_leaves_out_what_it_does_not_hold(attempt: Attempt) -> None:
    flakies = {name: Flaky(1, name) for name in "ab"}

    def body() -> dict[str, str]:
        results: dict[str, str] = {}
        errors: list[Exception] = []
        for name, flaky in flakies.items():
            try:
                results[name] = step(name, flaky)
            except Boom as boom:
                results[name] = "failed"
                errors.append(boom)
        if len(errors) == 2:
            raise ExceptionGroup("only b", [errors[1]])
        return results

    with pytest.raises(ExceptionGroup):
        attempt(body)
    assert attempt(body) == {"a": "failed", "b": "b"}


def test_an_implicit_context_takes_the_failure_back_when_no_step_began_since(attempt: Attempt) -> None:
    flaky = Flaky(1)

    def body() -> str:
        try:
            return step("a", flaky)
        except Boom:
            raise RuntimeError("while handling")  # noqa: B904

    with pytest.raises(RuntimeError):
        attempt(body)
    assert attempt(body) == "ok"


def test_an_implicit_context_leaves_history_alone_when_a_later_step_began(attempt: Attempt) -> None:
    flaky = Flaky(1)
    told: list[str] = []

    def body() -> str:
        try:
            return step("a", flaky)
        except Boom:
            step("tell", lambda: told.append("told"))
            raise RuntimeError("while handling")  # noqa: B904

    for _ in range(3):
        with pytest.raises(RuntimeError):
            attempt(body)
    assert flaky.calls == 1
    assert told == ["told"]


@pytest.mark.parametrize("raises", ["as it is", "from it", "in an except"])
def test_what_failed_inside_the_items_of_a_fan_out_that_leaves_is_run_again_too(attempt: Attempt, raises: str) -> None:
    """Were it history, each attempt would heal one item only: the one whose failure left."""
    well = False
    everybody = threading.Barrier(5)

    def call(item: int) -> int:
        if not well:
            everybody.wait(10)
            raise Boom
        return item

    def item(number: int) -> int:
        try:
            return step(f"call/{number}", call, number)
        except Boom as error:
            if raises == "as it is":
                raise
            if raises == "from it":
                raise RuntimeError(number) from error
            raise RuntimeError(number)  # noqa: B904

    with pytest.raises((Boom, RuntimeError)):
        attempt(lambda: fan_out("item", item, range(5)))
    well = True
    assert attempt(lambda: fan_out("item", item, range(5))) == list(range(5))


def test_what_failed_inside_an_item_is_run_again_when_a_stop_signal_came_first(
    attempt: Attempt, clock: FakeClock
) -> None:
    well = False

    def call() -> str:
        if not well:
            clock.advance(9.5)
            raise Boom
        return "well"

    def item(name: str) -> str:
        return step("call", call) if name == "calls" else step("late", lambda: "late")

    def body() -> list[Any]:
        return fan_out("item", item, ["calls", "late"], workers=1, return_exceptions=True)

    with pytest.raises(OutOfTime):
        attempt(body, context=Context(10, clock))
    well = True
    assert attempt(body) == ["well", "late"]


def test_steps_of_the_items_beside_it_do_not_make_an_items_inner_failure_history(attempt: Attempt) -> None:
    """An item that raises its own error in an `except` would fail for ever, for what its neighbours did meanwhile."""
    well = False
    failed, went_on = threading.Event(), threading.Event()

    def call() -> str:
        failed.set()
        if not well:
            raise Boom
        return "well"

    def item(name: str) -> str:
        if name == "beside":
            failed.wait(10)
            step("beside", went_on.set)
            return name
        try:
            return step("call", call)
        except Boom:
            went_on.wait(10)
            raise RuntimeError(name)  # noqa: B904

    with pytest.raises(RuntimeError):
        attempt(lambda: fan_out("item", item, ["calls", "beside"]))
    well = True
    assert attempt(lambda: fan_out("item", item, ["calls", "beside"])) == ["well", "beside"]


def test_an_inner_failure_from_which_the_code_of_its_item_went_on_is_history(attempt: Attempt) -> None:
    flaky = Flaky(1)
    told: list[str] = []

    def item(name: str) -> str:
        try:
            return step("inner", flaky)
        except Boom:
            step("tell", lambda: told.append("told"))
            raise RuntimeError("while handling")  # noqa: B904

    for _ in range(3):
        with pytest.raises(RuntimeError):
            attempt(lambda: fan_out("item", item, ["a"]))
    assert (flaky.calls, told) == (1, ["told"])


def test_an_inner_failure_from_which_the_code_after_the_fan_out_went_on_is_history(attempt: Attempt) -> None:
    flaky = Flaky(1)

    def item(name: str) -> str:
        try:
            return step("inner", flaky)
        except Boom:
            raise RuntimeError("the item's")  # noqa: B904

    def body() -> str:
        try:
            return fan_out("item", item, ["a"])[0]
        except RuntimeError:
            step("tell", lambda: None)
            raise KeyError("while handling")  # noqa: B904

    for _ in range(3):
        with pytest.raises(KeyError):
            attempt(body)
    assert flaky.calls == 1


def test_a_step_that_failed_in_an_except_clause_leaves_the_first_failure_history(attempt: Attempt) -> None:
    """The fallback's own failure leaves; its context is the primary's, and the fallback is a later step."""
    primary, fallback = Flaky(1, "primary's"), Flaky(1, "fallback's")

    def body() -> str:
        try:
            return step("primary", primary)
        except Boom:
            return step("fallback", fallback)

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "fallback's"
    assert (primary.calls, fallback.calls) == (1, 2)


def test_a_replayed_later_step_counts_as_begun(attempt: Attempt) -> None:
    """On a replay too: the failure that a recorded step follows stays history."""
    flaky = Flaky(1)
    ran: list[int] = []

    def body() -> str:
        ran.append(1)
        try:
            step("a", flaky)
        except Boom:
            step("tell", lambda: None)
            if len(ran) < 3:
                raise RuntimeError("while handling")  # noqa: B904
        return "went on"

    for _ in range(2):
        with pytest.raises(RuntimeError):
            attempt(body)
    assert attempt(body) == "went on"
    assert flaky.calls == 1


def test_a_finally_step_does_not_make_a_failure_permanent(attempt: Attempt, store: Watched) -> None:
    flaky = Flaky(1)
    cleaned: list[str] = []

    def body() -> str:
        try:
            return step("a", flaky)
        finally:
            step("clean", lambda: cleaned.append("clean"))

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "ok"
    assert cleaned == ["clean"]


def test_a_failure_taken_back_after_a_kill_heals_one_attempt_later(
    attempt: Attempt, killed: Callable[..., None], store: Watched
) -> None:
    """Killed between the append before `clean` and the end: a replayed failure that leaves is taken back too."""
    flaky = Flaky(1)
    dies = [True]

    def clean() -> None:
        if dies:
            dies.pop()
            store.die()

    def body() -> str:
        try:
            return step("a", flaky)
        finally:
            step("clean", clean)

    killed(body)
    with pytest.raises(Boom):
        attempt(body)
    assert flaky.calls == 1
    assert attempt(body) == "ok"


def test_a_replayed_failure_that_leaves_is_taken_back(attempt: Attempt) -> None:
    flaky = Flaky(1)

    def catching() -> None:
        with pytest.raises(Boom):
            step("a", flaky)
        step("b", lambda: None)
        raise LookupError

    with pytest.raises(LookupError):
        attempt(catching)
    with pytest.raises(Boom):
        attempt(lambda: step("a", flaky))
    assert flaky.calls == 1
    assert attempt(lambda: step("a", flaky)) == "ok"


def test_a_failure_wrapped_without_a_chain_is_history(attempt: Attempt) -> None:
    flaky = Flaky(1)

    def body() -> str:
        failed = ""
        try:
            step("a", flaky)
        except Boom as boom:
            failed = str(boom) or "failed"
        if failed:
            raise RuntimeError(failed)
        return "healthy"

    for _ in range(2):
        with pytest.raises(RuntimeError):
            attempt(body)
    assert flaky.calls == 1


def test_a_fatal_raised_from_a_failure_ends_the_execution(attempt: Attempt) -> None:
    flaky = Flaky(1)

    def body() -> str:
        try:
            return step("a", flaky)
        except Boom as boom:
            raise Fatal("give up") from boom

    for _ in range(2):
        with pytest.raises(Fatal, match="give up"):
            attempt(body)
    assert flaky.calls == 1


def test_a_failure_raised_twice_leaves_as_itself(attempt: Attempt) -> None:
    """Kept, a step run after it, then raised: the exception that leaves *is* the failure."""
    flaky = Flaky(1)

    def body() -> str:
        kept: Boom | None = None
        try:
            return step("a", flaky)
        except Boom as boom:
            kept = boom
        step("tell", lambda: None)
        assert kept is not None
        raise kept

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "ok"


def test_the_exhausted_failure_of_a_retried_step_is_run_again_when_it_leaves(attempt: Attempt) -> None:
    flaky = Flaky(3)

    def body() -> str:
        from datetime import timedelta

        return step("a", flaky, retry=Retry(3, on=Boom, delay=timedelta(seconds=1)))

    with pytest.raises(Boom):
        attempt(body)
    assert flaky.calls == 3
    assert attempt(body) == "ok"


# ---- fan-out


ITEMS = ["a", "b", "c", "d", "e"]


def all_fail_at_once(seen: list[str]) -> Callable[[str], str]:
    """Five items that all fail on the first attempt, `d` first; healthy afterwards."""
    barrier, d_failed = threading.Barrier(5), threading.Event()

    def one(item: str) -> str:
        seen.append(item)
        if len(seen) > 5:
            return item.upper()
        barrier.wait(3)
        if item != "d":
            # The first failure is d's for certain: the others wait until its outcome is being recorded.
            d_failed.wait(3)
            threading.Event().wait(0.05)
        d_failed.set()
        raise Refused(500, {"item": item})

    return one


def test_five_failures_of_a_fan_out_that_leave_are_all_run_again(attempt: Attempt) -> None:
    seen: list[str] = []
    one = all_fail_at_once(seen)

    def body() -> list[str]:
        return fan_out("thread", one, ITEMS, workers=5)

    with pytest.raises(Refused):
        attempt(body)
    assert attempt(body) == ["A", "B", "C", "D", "E"]
    assert sorted(seen) == sorted(ITEMS * 2)


def test_five_failures_of_a_fan_out_that_is_caught_are_all_history(attempt: Attempt, store: Watched) -> None:
    seen: list[str] = []
    one = all_fail_at_once(seen)
    caught: list[Any] = []

    def body() -> str:
        try:
            fan_out("thread", one, ITEMS, workers=5)
        except Refused as refused:
            caught.append((refused.body["item"], refused.status, list(getattr(refused, "__notes__", ()))))
        answer = step("fallback", lambda: "fallback")
        if len(caught) < 3:
            raise Boom
        return answer

    for _ in range(2):
        with pytest.raises(Boom):
            attempt(body)
    assert attempt(body) == "fallback"
    assert sorted(seen) == ITEMS, "no item ran again"
    assert {item for item, _, _ in caught} == {"d"}, "the same exception at the same step, on every attempt"
    assert len({tuple(notes) for _, _, notes in caught}) == 1, "with the same notes"
    assert sorted(store.lines()) == sorted([*(("error", f"thread[{item}]") for item in ITEMS), ("result", "fallback")])


def test_the_notes_of_a_fan_outs_failure_count_the_others(attempt: Attempt) -> None:
    one = all_fail_at_once([])
    with pytest.raises(Refused) as caught:
        attempt(lambda: fan_out("thread", one, ITEMS, workers=5))
    assert any("4" in note for note in caught.value.__notes__)


def test_a_lone_failure_of_a_fan_out_counts_no_others(attempt: Attempt) -> None:
    def one(item: str) -> str:
        if item == "b":
            raise Boom
        return item

    with pytest.raises(Boom) as caught:
        attempt(lambda: fan_out("thread", one, ["a", "b"], workers=1))
    assert not any("other" in note and "0" not in note for note in getattr(caught.value, "__notes__", ()))


def test_a_caught_fan_out_with_five_failures_is_not_healed_by_another_exception(attempt: Attempt) -> None:
    seen: list[str] = []
    one = all_fail_at_once(seen)

    def body() -> None:
        try:
            fan_out("thread", one, ITEMS, workers=5)
        except Refused:
            step("tell", lambda: None)
            raise RuntimeError  # noqa: B904

    for _ in range(2):
        with pytest.raises(RuntimeError):
            attempt(body)
    assert sorted(seen) == ITEMS


def test_results_of_a_fan_out_that_failed_are_kept(attempt: Attempt) -> None:
    seen: list[str] = []

    def one(item: str) -> str:
        seen.append(item)
        if item == "c" and seen.count("c") == 1:
            raise Boom
        return item.upper()

    def body() -> list[str]:
        return fan_out("thread", one, ["a", "b", "c", "d"], workers=1)

    with pytest.raises(Boom):
        attempt(body)
    assert seen == ["a", "b", "c"], "items not begun when the first fails are not begun"
    assert attempt(body) == ["A", "B", "C", "D"]
    assert seen == ["a", "b", "c", "c", "d"]


def test_a_caught_fan_out_begins_no_more_items_on_a_later_attempt(attempt: Attempt, store: Watched) -> None:
    """What was not begun has no outcome; the failed one stays history, so nothing may begin before it is raised."""
    seen: list[str] = []

    def one(item: str) -> str:
        seen.append(item)
        if item == "b":
            raise Boom(item)
        return item

    def body() -> str:
        with pytest.raises(Boom, match="b"):
            fan_out("thread", one, ["a", "b", "c"], workers=1)
        answer = step("fallback", lambda: "fallback")
        if seen.count("fail") == 0:
            seen.append("fail")
            raise LookupError
        return answer

    with pytest.raises(LookupError):
        attempt(body)
    assert attempt(body) == "fallback"
    assert seen == ["a", "b", "fail"], "a fan-out that failed for good begins no more items"


def test_return_exceptions_gives_what_was_raised_in_place_and_is_history(attempt: Attempt) -> None:
    seen: list[str] = []
    answers: list[Any] = []

    def one(item: str) -> str:
        seen.append(item)
        if item in "bd":
            raise Refused(404, {"item": item})
        return item.upper()

    def body() -> None:
        got = fan_out("thread", one, ["a", "b", "c", "d"], workers=2, return_exceptions=True)
        answers.append([(type(g), g.body) if isinstance(g, Refused) else g for g in got])
        step("tell", lambda: None)
        if len(answers) == 1:
            raise Boom

    with pytest.raises(Boom):
        attempt(body)
    attempt(body)
    assert answers[0] == answers[1] == ["A", (Refused, {"item": "b"}), "C", (Refused, {"item": "d"})]
    assert sorted(seen) == ["a", "b", "c", "d"]


def test_returned_exceptions_raised_as_a_group_are_run_again(attempt: Attempt) -> None:
    seen: list[str] = []

    def one(item: str) -> str:
        seen.append(item)
        if item in "bd" and seen.count(item) == 1:
            raise Boom
        return item.upper()

    def body() -> list[Any]:
        got = fan_out("thread", one, ["a", "b", "c", "d"], workers=2, return_exceptions=True)
        failed = [g for g in got if isinstance(g, Exception)]
        if failed:
            raise ExceptionGroup("some", failed)
        return got

    with pytest.raises(ExceptionGroup):
        attempt(body)
    assert attempt(body) == ["A", "B", "C", "D"]
    assert sorted(seen) == ["a", "b", "b", "c", "d", "d"]


def test_return_exceptions_never_returns_a_stop_signal(attempt: Attempt, clock: Any) -> None:
    from .clocks import Context

    def one(item: str) -> str:
        clock.advance(8)
        return item

    with pytest.raises(OutOfTime):
        attempt(
            lambda: fan_out("thread", one, ["a", "b", "c"], workers=1, return_exceptions=True),
            context=Context(10, clock),
        )


# ---- what comes back


def replayed(attempt: Attempt, error: BaseException) -> BaseException:
    """That failure, caught in one attempt, as a later attempt gets it."""
    seen: list[BaseException] = []

    def fail() -> None:
        if seen:
            raise AssertionError("fn must not be called again")
        raise error

    def body() -> None:
        try:
            step("a", fail)
        except Exception as caught:
            seen.append(caught)
        step("b", lambda: None)
        if len(seen) == 1:
            raise Boom

    with pytest.raises(Boom):
        attempt(body)
    attempt(body)
    return seen[1]


def test_an_oserror_comes_back_with_its_errno(attempt: Attempt) -> None:
    back = replayed(attempt, FileNotFoundError(errno.ENOENT, "No such file", "/x"))
    assert type(back) is FileNotFoundError
    assert isinstance(back, OSError)
    assert (back.errno, back.strerror, back.filename) == (errno.ENOENT, "No such file", "/x")


def test_builtin_failures_come_back_as_themselves(attempt: Attempt) -> None:
    for number, error in enumerate(
        [KeyError("k"), ValueError(1, [2]), ZeroDivisionError(), UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")]
    ):
        back = replayed(lambda body, n=number: attempt(body, event_id=f"e{n}"), error)
        assert type(back) is type(error)
        assert back.args == error.args
        assert str(back) == str(error)


def test_a_boto3_client_error_comes_back_as_client_error_and_says_which_was_meant(attempt: Attempt, table: Any) -> None:
    from botocore.exceptions import ClientError

    _, boto_client = table
    response = {
        "Error": {"Code": "ResourceNotFoundException", "Message": "gone"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    raised = boto_client.exceptions.ResourceNotFoundException(response, "GetItem")
    assert isinstance(raised, ClientError)
    back = replayed(attempt, raised)
    assert isinstance(back, ClientError)
    assert back.response["Error"] == response["Error"]
    assert back.operation_name == "GetItem"
    said = str(back) + repr(back) + " ".join(getattr(back, "__notes__", ()))
    assert "ResourceNotFoundException" in said


def test_a_real_boto3_error_is_caught_as_client_error_on_a_later_attempt(attempt: Attempt, table: Any) -> None:
    from botocore.exceptions import ClientError

    _, boto_client = table
    codes: list[str] = []

    def body() -> str:
        try:
            step("describe", lambda: boto_client.describe_table(TableName="nobody-has-this")["Table"]["TableName"])
        except ClientError as error:
            codes.append(error.response["Error"]["Code"])
        step("tell", lambda: None)
        if len(codes) == 1:
            raise Boom
        return codes[-1]

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "ResourceNotFoundException"


def test_a_class_made_at_run_time_comes_back_as_the_nearest_loaded_one(attempt: Attempt) -> None:
    made = type("Throttled", (Refused,), {"__module__": "nowhere.at_all"})
    back = replayed(attempt, made(429, {"wait": 3}))
    assert isinstance(back, Refused)
    assert (back.status, back.body) == (429, {"wait": 3})
    assert "Throttled" in str(back) + repr(back) + " ".join(getattr(back, "__notes__", ()))


def test_a_field_that_cannot_be_stored_is_a_placeholder_that_raises_when_touched(attempt: Attempt) -> None:
    error = Refused(500, {"fine": 1})
    error.connection = threading.Lock()  # type: ignore[attr-defined]
    back = replayed(attempt, error)
    assert type(back) is Refused
    assert (back.status, back.body) == (500, {"fine": 1})
    connection = back.connection  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="connection") as caught:
        connection.acquire()
    assert (
        not isinstance(caught.value, AttributeError)
        or "placeholder" in str(caught.value)
        or "stored" in str(caught.value)
    )


def test_notes_of_a_failure_come_back(attempt: Attempt) -> None:
    error = Boom("x")
    error.add_note("while posting thread 3")
    assert "while posting thread 3" in replayed(attempt, error).__notes__


def test_a_failure_that_is_a_group_comes_back_with_its_members(attempt: Attempt) -> None:
    back = replayed(attempt, ExceptionGroup("some", [Boom("x"), Refused(1, {})]))
    assert isinstance(back, ExceptionGroup)
    assert [type(member) for member in back.exceptions] == [Boom, Refused]


def test_the_first_run_and_the_replay_raise_the_same_class(attempt: Attempt) -> None:
    class Local(Exception):
        pass

    seen: list[Any] = []

    def fail() -> None:
        raise Local("x")

    def body() -> None:
        try:
            step("a", fail)
        except Local as local:
            seen.append(str(local))
        step("b", lambda: None)
        if len(seen) == 1:
            raise Boom

    with pytest.raises(Boom):
        attempt(body)
    attempt(body)
    assert seen[0] == "x"


@pytest.mark.parametrize("count", [2, 3, 5, 16])
def test_as_many_items_run_at_once_as_there_are_workers(attempt: Attempt, count: int) -> None:
    barrier = threading.Barrier(count)
    assert attempt(lambda: fan_out("n", lambda n: barrier.wait(2) >= 0, range(count), workers=count)) == [True] * count
