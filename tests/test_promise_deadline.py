"""P10: deadline-aware, and stops that stick."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from durably import (
    NOT_DONE,
    DurablyError,
    Fatal,
    LeaseLost,
    OutOfTime,
    Retry,
    StoreError,
    execution,
    fan_out,
    step,
)

from .clocks import Context, FakeClock
from .stores_for_tests import Attempt, Watched, raising

pytest_plugins = ["tests.stores_for_tests"]


class Boom(Exception):
    pass


def spend(clock: FakeClock, seconds: float) -> Callable[[], str]:
    def effect() -> str:
        clock.advance(seconds)
        return "spent"

    return effect


# ---- reserve


def test_the_default_reserve_is_a_second(attempt: Attempt, clock: FakeClock) -> None:
    ran: list[str] = []

    def body() -> None:
        step("long", spend(clock, 98.8))
        step("1.2 s left", lambda: ran.append("1.2"))
        step("spend", spend(clock, 0.4))
        step("0.8 s left", lambda: ran.append("0.8"))

    with pytest.raises(OutOfTime) as caught:
        attempt(body, context=Context(100, clock))
    assert ran == ["1.2"]
    assert "'0.8 s left'" in str(caught.value)
    assert caught.value.remaining == pytest.approx(0.8, abs=0.05)
    assert caught.value.reserve == pytest.approx(1.0)


def test_the_default_reserve_is_a_tenth_of_a_short_time(attempt: Attempt, clock: FakeClock) -> None:
    ran: list[str] = []

    def body() -> None:
        step("long", spend(clock, 2.6))
        step("0.4 s left", lambda: ran.append("0.4"))
        step("spend", spend(clock, 0.15))
        step("0.25 s left", lambda: ran.append("0.25"))

    with pytest.raises(OutOfTime):
        attempt(body, context=Context(3, clock))
    assert ran == ["0.4"]


def test_a_reserve_of_the_decorators_own(attempt: Attempt, clock: FakeClock) -> None:
    def body() -> None:
        step("long", spend(clock, 75))
        step("late", lambda: 1)

    with pytest.raises(OutOfTime, match="late"):
        attempt(body, context=Context(100, clock), reserve=timedelta(seconds=30))


def test_a_reserve_of_the_steps_own(attempt: Attempt, clock: FakeClock) -> None:
    ran: list[str] = []

    def body() -> None:
        step("quick", lambda: ran.append("quick"), reserve=timedelta(0))
        step("long", lambda: ran.append("long"), reserve=timedelta(seconds=60))

    with pytest.raises(OutOfTime, match="long"):
        attempt(body, context=Context(50, clock))
    assert ran == ["quick"]


def test_a_step_s_reserve_may_be_smaller_than_the_attempts(attempt: Attempt, clock: FakeClock) -> None:
    def body() -> str:
        step("long", spend(clock, 99.8))
        return step("quick", lambda: "done", reserve=timedelta(seconds=0.1))

    assert attempt(body, context=Context(100, clock)) == "done"


def test_out_of_time_before_the_first_step_says_that_reserve_or_timeout_is_wrong(
    attempt: Attempt, clock: FakeClock
) -> None:
    with pytest.raises(OutOfTime) as caught:
        attempt(lambda: step("a", lambda: 1), context=Context(3, clock), reserve=timedelta(seconds=5))
    assert "first step" in str(caught.value)
    assert "timeout" in str(caught.value)
    assert "reserve" in str(caught.value)


def test_out_of_time_later_does_not_say_so(attempt: Attempt, clock: FakeClock) -> None:
    with pytest.raises(OutOfTime) as caught:
        attempt(lambda: (step("a", spend(clock, 99.5)), step("b", lambda: 1)), context=Context(100, clock))
    assert "first step" not in str(caught.value)


def test_out_of_time_after_replayed_steps_alone_is_before_the_first_step(attempt: Attempt, clock: FakeClock) -> None:
    """An attempt that only replayed got nowhere either, so it is told the same or at least not that all is well."""
    ran: list[str] = []

    def body() -> None:
        step("a", lambda: ran.append("a"))
        if len(ran) == 1:
            ran.append("fail")
            raise Boom
        clock.advance(29.5)
        step("b", lambda: ran.append("b"))

    with pytest.raises(Boom):
        attempt(body, context=Context(30, clock))
    with pytest.raises(OutOfTime, match="'b'"):
        attempt(body, context=Context(30, clock))
    assert ran == ["a", "fail"]


def test_out_of_time_releases_the_lease_and_keeps_what_is_done(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    ran: list[str] = []

    def body() -> str:
        step("a", lambda: ran.append("a") or clock.advance(9.5))
        return step("b", lambda: ran.append("b") or "done")

    with pytest.raises(OutOfTime):
        attempt(body, context=Context(10, clock))
    assert store.head().status == "waiting"
    assert store.lines() == [("result", "a")]
    assert attempt(body, context=Context(10, clock)) == "done"
    assert ran == ["a", "b"]


def test_out_of_time_is_no_outcome_and_sticks(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    ran: list[str] = []
    raised: list[OutOfTime] = []

    def body() -> str:
        step("a", spend(clock, 9.5))
        for name in "bcd":
            try:
                step(name, lambda: ran.append("ran"), reserve=timedelta(0) if name != "b" else None)
            except OutOfTime as error:
                raised.append(error)
        return "swallowed"

    with pytest.raises(OutOfTime):
        attempt(body, context=Context(10, clock))
    assert ran == []
    assert len(raised) == 3
    assert len({str(error) for error in raised}) == 1, "the first is raised again"
    assert store.lines() == [("result", "a")]
    assert store.head().status == "waiting"


def test_after_a_stop_signal_a_recorded_step_raises_it_too(attempt: Attempt, clock: FakeClock) -> None:
    raised: list[str] = []

    def first() -> None:
        step("recorded", lambda: 1)
        raise Boom

    def body() -> None:
        clock.advance(9.5)
        for name in ("new", "recorded"):
            try:
                step(name, lambda: 1)
            except OutOfTime as error:
                raised.append(error.step)

    with pytest.raises(Boom):
        attempt(first)
    with pytest.raises(OutOfTime):
        attempt(body, context=Context(10, clock))
    assert raised == ["new", "new"]


def test_a_swallowed_out_of_time_discards_the_handlers_result(attempt: Attempt, clock: FakeClock) -> None:
    def body() -> str:
        step("a", spend(clock, 9.5))
        try:
            return step("b", lambda: "whole")
        except OutOfTime:
            return "half"

    with pytest.raises(OutOfTime):
        attempt(body, context=Context(10, clock))
    assert attempt(body, context=Context(10, clock)) == "whole"


def test_a_swallowed_out_of_time_does_not_make_another_exception_its_own(attempt: Attempt, clock: FakeClock) -> None:
    """Another exception that leaves: the attempt failed, lease released; whichever is raised, nothing is history."""

    def body() -> str:
        step("a", spend(clock, 9.5))
        try:
            return step("b", lambda: "whole")
        except OutOfTime:
            raise Boom  # noqa: B904

    with pytest.raises((Boom, OutOfTime)):
        attempt(body, context=Context(10, clock))
    assert attempt(body, context=Context(10, clock)) == "whole"


def test_a_fatal_made_of_a_stop_signal_ends_the_attempt_and_not_the_execution(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    """`except Exception` meets stop signals too: too little time is no reason to give up for good."""

    def body() -> str:
        step("a", spend(clock, 9.5))
        try:
            return step("b", lambda: "whole")
        except Exception as error:
            raise Fatal("gave up") from error

    with pytest.raises(Fatal):
        attempt(body, context=Context(10, clock))
    assert store.head().status == "waiting"
    assert attempt(body, context=Context(10, clock)) == "whole"


def test_a_failure_before_a_stop_signal_is_taken_back(attempt: Attempt, clock: FakeClock) -> None:
    ran: list[int] = []

    def flaky() -> str:
        ran.append(1)
        if len(ran) == 1:
            clock.advance(9.5)
            raise Boom
        return "well"

    def body() -> str:
        try:
            return step("a", flaky)
        except Boom:
            return step("fallback", lambda: "fallback's")

    with pytest.raises(OutOfTime):
        attempt(body, context=Context(10, clock))
    # The fallback was not begun: whichever way it goes on, one of the two is taken, and taken once.
    assert attempt(body, context=Context(10, clock)) in ("well", "fallback's")


def test_a_fan_out_stops_when_time_is_out_and_goes_on_in_the_next_attempt(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    ran: list[int] = []

    def one(n: int) -> int:
        ran.append(n)
        clock.advance(4)
        return n

    def body() -> list[int]:
        return fan_out("n", one, range(7), workers=1)

    for _ in range(2):
        with pytest.raises(OutOfTime):
            attempt(body, context=Context(10, clock))
    assert attempt(body, context=Context(10, clock)) == list(range(7))
    assert ran == list(range(7))


def test_recover_is_not_begun_without_time_either(
    attempt: Attempt, killed: Callable[..., None], store: Watched, clock: FakeClock
) -> None:
    asked: list[int] = []
    killed(lambda: step("a", store.die, recover=lambda: NOT_DONE))

    def body() -> None:
        clock.advance(9.8)
        step("a", lambda: None, recover=lambda: asked.append(1))

    with pytest.raises(OutOfTime):
        attempt(body, context=Context(10, clock))
    assert asked == []


# ---- Retry


def test_retry_never_sleeps_past_the_deadline(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    ran: list[int] = []

    def flaky() -> None:
        ran.append(1)
        raise OSError("again")

    context = Context(9.5, clock)
    with pytest.raises(OutOfTime):
        attempt(
            lambda: step("a", flaky, retry=Retry(9, on=OSError, delay=timedelta(seconds=3), factor=2, jitter=False)),
            context=context,
        )
    assert context.get_remaining_time_in_millis() > 0
    assert len(ran) == 2
    assert store.head().status == "waiting"
    assert attempt(lambda: step("a", lambda: "next attempt"), context=Context(10, clock)) == "next attempt"


def test_a_retry_cut_short_is_no_history_though_swallowed(attempt: Attempt, clock: FakeClock) -> None:
    def flaky() -> None:
        raise OSError("again")

    def body(fn: Callable[[], Any]) -> Any:
        try:
            return step("a", fn, retry=Retry(9, on=OSError, delay=timedelta(seconds=30), jitter=False))
        except OutOfTime:
            return "swallowed"

    with pytest.raises(OutOfTime):
        attempt(lambda: body(flaky), context=Context(10, clock))
    assert clock.slept == [], "a pause that would end after the deadline is not begun"
    assert attempt(lambda: body(lambda: "well"), context=Context(10, clock)) == "well"


def test_retry_waits_as_it_was_told(attempt: Attempt, clock: FakeClock) -> None:
    def flaky() -> None:
        raise OSError

    retry = Retry(5, on=OSError, delay=timedelta(seconds=1), factor=3, max_delay=timedelta(seconds=5), jitter=False)
    with pytest.raises(OSError):
        attempt(lambda: step("a", flaky, retry=retry))
    assert clock.slept == pytest.approx([1, 3, 5, 5])


def test_jitter_only_shortens(attempt: Attempt, clock: FakeClock) -> None:
    def flaky() -> None:
        raise OSError

    with pytest.raises(OSError):
        attempt(lambda: step("a", flaky, retry=Retry(6, on=OSError, delay=timedelta(seconds=2), factor=1)))
    assert len(clock.slept) == 5
    assert all(0 <= slept <= 2 for slept in clock.slept)


def test_retry_after_is_honoured(attempt: Attempt, clock: FakeClock) -> None:
    class Limited(Exception):
        retry_after = 17

    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise Limited
        return "done"

    assert attempt(lambda: step("a", flaky, retry=Retry(3, on=Limited, delay=timedelta(seconds=1)))) == "done"
    assert sum(clock.slept) == pytest.approx(17, abs=0.5)


def test_a_retry_after_of_timedelta_is_honoured(attempt: Attempt, clock: FakeClock) -> None:
    class Limited(Exception):
        retry_after = timedelta(seconds=17)

    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise Limited
        return "done"

    assert attempt(lambda: step("a", flaky, retry=Retry(3, on=Limited, delay=timedelta(seconds=1)))) == "done"
    assert sum(clock.slept) == pytest.approx(17, abs=0.5)


def test_an_odd_retry_after_is_no_crash(attempt: Attempt, clock: FakeClock) -> None:
    for number, odd in enumerate(["Wed, 21 Oct 2026 07:28:00 GMT", None, -5, float("nan"), object()]):
        tries: list[int] = []

        def flaky(odd: Any = odd, tries: list[int] = tries) -> str:
            tries.append(1)
            if len(tries) == 1:
                error = OSError("limited")
                error.retry_after = odd  # type: ignore[attr-defined]
                raise error
            return "done"

        retry = Retry(3, on=OSError, delay=timedelta(seconds=1))
        assert attempt(functools.partial(step, "a", flaky, retry=retry), event_id=f"e{number}") == "done"


def test_retry_takes_a_predicate_and_classes(attempt: Attempt, clock: FakeClock) -> None:
    def tried(error: Exception, on: Any, event: str) -> int:
        tries: list[int] = []

        def flaky() -> None:
            tries.append(1)
            raise error

        with pytest.raises(type(error)):
            attempt(lambda: step("a", flaky, retry=Retry(3, on=on, delay=timedelta(seconds=1))), event_id=event)
        return len(tries)

    assert tried(OSError(), (OSError, LookupError), "1") == 3
    assert tried(KeyError(), (OSError, LookupError), "2") == 3
    assert tried(ValueError(), (OSError, LookupError), "3") == 1
    assert tried(ValueError("yes"), lambda error: str(error) == "yes", "4") == 3
    assert tried(ValueError("no"), lambda error: str(error) == "yes", "5") == 1


def test_retry_does_not_try_a_stop_signal_again(attempt: Attempt, clock: FakeClock) -> None:
    tries: list[int] = []

    def parent() -> None:
        tries.append(1)
        step("inner", spend(clock, 9.5))
        step("late", lambda: 1)

    with pytest.raises(OutOfTime):
        attempt(
            lambda: step("outer", parent, retry=Retry(5, on=Exception, delay=timedelta(0))), context=Context(10, clock)
        )
    assert tries == [1]


def test_a_stop_signal_is_not_its_parents_outcome(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    def parent() -> str:
        step("inner", spend(clock, 9.5))
        return step("late", lambda: "done")

    def body() -> str:
        try:
            return step("outer", parent)
        except OutOfTime:
            return "swallowed"

    with pytest.raises(OutOfTime):
        attempt(body, context=Context(10, clock))
    assert store.lines() == [("result", "inner")]
    assert attempt(body, context=Context(10, clock)) == "done"


def test_a_parent_that_swallows_a_stop_signal_has_no_outcome_either(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    def parent() -> str:
        step("inner", spend(clock, 9.5))
        try:
            return step("late", lambda: "whole")
        except OutOfTime:
            return "half"

    with pytest.raises(OutOfTime):
        attempt(lambda: step("outer", parent), context=Context(10, clock))
    assert store.lines() == [("result", "inner")]
    assert attempt(lambda: step("outer", parent), context=Context(10, clock)) == "whole"


def test_a_parent_that_turns_a_stop_signal_into_its_own_error_has_no_outcome_either(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    def parent() -> str:
        step("inner", spend(clock, 9.5))
        try:
            return step("late", lambda: "whole")
        except OutOfTime as error:
            raise Boom from error

    def body() -> str:
        try:
            return step("outer", parent)
        except Boom:
            return "handled"

    with pytest.raises(OutOfTime):
        attempt(body, context=Context(10, clock))
    assert ("error", "outer") not in store.lines()
    assert attempt(body, context=Context(10, clock)) == "whole"


# ---- StoreError


def test_a_store_error_sticks_and_is_no_outcome(attempt: Attempt, store: Watched) -> None:
    ran: list[str] = []

    def body() -> str:
        store.when("append").before(raising(StoreError("no answer")))
        for name in "abc":
            try:
                step(name, lambda name=name: ran.append(name))
            except StoreError:
                ran.append(f"{name} stopped")
        return "swallowed"

    with pytest.raises(StoreError, match="no answer"):
        attempt(body)
    assert ran == ["a", "a stopped", "b stopped", "c stopped"]
    assert store.head().status == "waiting"


def test_after_a_store_error_the_next_attempt_finishes(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    for side in ("before", "after"):
        ran: list[str] = []

        def body(ran: list[str] = ran) -> str:
            step("a", lambda: ran.append("a"))
            return step("b", lambda: ran.append("b") or "done")

        getattr(store.when("append", 2), side)(raising(StoreError("no answer")))
        with pytest.raises(StoreError):
            attempt(body, event_id=side)
        assert attempt(body, event_id=side) == "done"
        assert ran == (["a", "b", "b"] if side == "before" else ["a", "b"])


def test_a_store_error_at_the_claim_runs_nothing(attempt: Attempt, store: Watched) -> None:
    ran: list[int] = []
    store.when("claim").before(raising(StoreError("no such table")))
    with pytest.raises(StoreError, match="no such table"):
        attempt(lambda: ran.append(1))
    assert ran == []


def test_a_store_error_at_the_load_runs_nothing_and_leaves_the_execution_sound(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    ran: list[str] = []

    def body() -> str:
        step("a", lambda: ran.append("a"))
        if len(ran) == 1:
            ran.append("fail")
            raise Boom
        return "done"

    with pytest.raises(Boom):
        attempt(body)
    store.when("load").before(raising(StoreError("no answer")))
    with pytest.raises(StoreError):
        attempt(body)
    clock.advance(60)
    assert attempt(body) == "done"
    assert ran == ["a", "fail"]


def test_a_store_error_at_the_end_leaves_the_result_to_the_next_attempt(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    ran: list[str] = []

    def body() -> str:
        step("a", lambda: ran.append("a"))
        return "done"

    store.when("end").before(raising(StoreError("no answer")))
    with pytest.raises(StoreError):
        attempt(body)
    clock.advance(60)
    assert attempt(body) == "done"
    assert ran == ["a"]


def test_a_store_error_at_an_end_that_took_effect_does_not_open_what_is_finished(
    attempt: Attempt, store: Watched
) -> None:
    store.when("end").after(raising(StoreError("no answer")))
    with pytest.raises(StoreError):
        attempt(lambda: "done")
    assert store.head().status == "completed"
    assert attempt(lambda: "never") == "done"


def test_a_store_error_while_releasing_does_not_hide_the_handlers_own_exception(
    attempt: Attempt, store: Watched
) -> None:
    def body() -> None:
        step("a", lambda: 1)
        store.when("end").before(raising(StoreError("no answer")))
        raise Boom("mine")

    with pytest.raises(Boom, match="mine"):
        attempt(body)


def test_a_store_error_the_handler_raised_itself_is_its_own_failure(attempt: Attempt, store: Watched) -> None:
    """From another execution, say: it leaves, the lease is released, nothing is remembered."""

    def body() -> None:
        step("a", lambda: 1)
        raise StoreError("of my own")

    with pytest.raises(StoreError, match="of my own"):
        attempt(body)
    assert store.head().status == "waiting"


def test_a_stop_signal_of_another_execution_inside_a_step_is_no_outcome_of_it(attempt: Attempt, store: Watched) -> None:
    """A step that uses a nested execution whose store fails: by the letter, stop signals are never an outcome."""

    def inner() -> None:
        raise StoreError("the inner one's")

    def body() -> str:
        try:
            step("a", inner)
        except StoreError:
            return "swallowed"
        return "never"

    with pytest.raises(StoreError):
        attempt(body)
    assert ("error", "a") not in store.lines()


def test_the_lost_lease_of_another_execution_inside_a_step_does_not_keep_this_ones(
    attempt: Attempt, store: Watched
) -> None:
    def inner() -> None:
        raise LeaseLost("execution/inner", 1)

    with pytest.raises(LeaseLost):
        attempt(lambda: step("a", inner))
    assert store.head().status == "waiting"


# ---- BaseException


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr)
def test_a_base_exception_in_a_step_is_no_outcome_and_leaves_unchanged(
    attempt: Attempt, store: Watched, error: BaseException
) -> None:
    ran: list[int] = []

    def effect() -> str:
        ran.append(1)
        if len(ran) == 1:
            raise error
        return "done"

    with pytest.raises(type(error)) as caught:
        attempt(lambda: step("a", effect))
    assert caught.value is error
    assert store.lines() == []
    assert store.head().status == "waiting"
    assert attempt(lambda: step("a", effect)) == "done"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_a_base_exception_in_the_handler_releases_the_lease(
    attempt: Attempt, store: Watched, error: BaseException
) -> None:
    def body() -> None:
        step("a", lambda: 1)
        raise error

    with pytest.raises(type(error)) as caught:
        attempt(body)
    assert caught.value is error
    assert store.head().status == "waiting"
    assert store.lines() == [("result", "a")]


def test_a_base_exception_is_not_tried_again(attempt: Attempt) -> None:
    ran: list[int] = []

    def effect() -> None:
        ran.append(1)
        raise SystemExit

    with pytest.raises(SystemExit):
        attempt(lambda: step("a", effect, retry=Retry(3, on=lambda error: True, delay=timedelta(0))))
    assert ran == [1]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_system_exit_in_an_item_leaves_the_fan_out(attempt: Attempt, store: Watched, workers: int) -> None:
    def one(n: int) -> int:
        if n == 2:
            raise SystemExit(7)
        return n

    with pytest.raises(SystemExit) as caught:
        attempt(lambda: fan_out("n", one, range(4), workers=workers, return_exceptions=True))
    assert caught.value.code == 7
    assert ("error", "n[2]") not in store.lines()
    assert attempt(lambda: fan_out("n", lambda n: n, range(4))) == [0, 1, 2, 3]


def test_a_keyboard_interrupt_in_a_block_releases_the_lease(store: Watched) -> None:
    with pytest.raises(KeyboardInterrupt), execution("x", store=store):
        raise KeyboardInterrupt
    with execution("x", store=store) as ex:
        ex.result = "done"
    assert store.head().status == "completed"


def test_a_swallowed_keyboard_interrupt_is_the_handlers_affair(attempt: Attempt) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    def body() -> str:
        try:
            step("a", stop)
        except KeyboardInterrupt:
            return step("b", lambda: "went on")
        return "never"

    assert attempt(body) == "went on"


def test_stop_signals_are_ordinary_exceptions() -> None:
    for stop in (OutOfTime, LeaseLost, StoreError):
        assert issubclass(stop, DurablyError)
        assert issubclass(stop, Exception)
