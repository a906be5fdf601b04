"""P4: finished is finished; Fatal is for ever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from durably import Fatal, durable, execution, fan_out, once, step

from .clocks import FakeClock
from .stores_for_tests import Attempt, Watched

pytest_plugins = ["tests.stores_for_tests"]


class Boom(Exception):
    pass


class CardRefused(Fatal):
    def __init__(self, card: str, code: int) -> None:
        super().__init__(f"card {card} was refused")
        self.card = card
        self.code = code


@dataclass
class Answer:
    count: int
    names: tuple[str, ...]


def test_a_completed_execution_returns_its_result_without_running_the_handler(store: Watched) -> None:
    ran: list[int] = []

    @durable(store=store, name="f", id=lambda event, context: "1")
    def handler(event: Any, context: Any) -> Answer:
        ran.append(1)
        return Answer(3, ("a", "b"))

    first, second = handler({}, None), handler({}, None)
    assert first == second == Answer(3, ("a", "b"))
    assert type(first) is type(second) is Answer
    assert ran == [1]


def test_a_redelivery_after_success_costs_one_call(attempt: Attempt, store: Watched) -> None:
    attempt(lambda: step("a", lambda: "done"))
    store.forget()
    assert attempt(lambda: "never") == "done"
    assert store.names() == ["claim"]


def test_a_redelivery_needs_no_time(attempt: Attempt, clock: FakeClock) -> None:
    from .clocks import Context

    attempt(lambda: "done")
    assert attempt(lambda: "never", context=Context(0.01, clock)) == "done"


def test_a_fatal_failure_is_raised_again_without_running_the_handler(attempt: Attempt, store: Watched) -> None:
    ran: list[int] = []

    def body() -> None:
        ran.append(1)
        raise Fatal("no such customer", 7)

    for _ in range(3):
        with pytest.raises(Fatal, match="no such customer") as caught:
            attempt(body)
        assert caught.value.args == ("no such customer", 7)
    assert ran == [1]
    assert store.head().status == "failed"


def test_a_subclass_of_fatal_comes_back_as_itself_with_its_fields(attempt: Attempt) -> None:
    ran: list[int] = []

    def body() -> None:
        ran.append(1)
        raise CardRefused("4242", 51)

    for _ in range(2):
        with pytest.raises(CardRefused) as caught:
            attempt(body)
        assert (caught.value.card, caught.value.code) == ("4242", 51)
        assert str(caught.value) == "card 4242 was refused"
    assert ran == [1]


def test_a_fatal_raised_by_a_step_ends_the_execution(attempt: Attempt) -> None:
    ran: list[str] = []

    def refuse() -> None:
        ran.append("refuse")
        raise CardRefused("4242", 51)

    for _ in range(2):
        with pytest.raises(CardRefused):
            attempt(lambda: step("charge", refuse))
    assert ran == ["refuse"]


def test_a_fatal_raised_by_an_item_of_a_fan_out_ends_the_execution(attempt: Attempt) -> None:
    ran: list[str] = []

    def refuse(item: str) -> None:
        ran.append(item)
        raise CardRefused(item, 51)

    for _ in range(2):
        with pytest.raises(CardRefused):
            attempt(lambda: fan_out("charge", refuse, ["4242"]))
    assert ran == ["4242"]


def test_a_fatal_that_the_handler_catches_is_a_failure_like_any_other(attempt: Attempt) -> None:
    ran: list[str] = []

    def refuse() -> None:
        ran.append("refuse")
        raise CardRefused("4242", 51)

    def body() -> str:
        try:
            step("charge", refuse)
        except CardRefused as refused:
            code = refused.code
            answer = step("invoice", lambda: f"invoiced instead: {code}")
        if ran == ["refuse"]:
            ran.append("fail")
            raise Boom
        return answer

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "invoiced instead: 51"
    assert ran == ["refuse", "fail"]


def test_a_failure_that_was_raised_from_a_fatal_does_not_end_the_execution(attempt: Attempt) -> None:
    """Only what leaves the handler counts: the user wrapped it into something that is retried."""
    ran: list[str] = []

    def body() -> str:
        ran.append("ran")
        if len(ran) == 1:
            try:
                raise Fatal("x")
            except Fatal as fatal:
                raise Boom from fatal
        return "done"

    with pytest.raises(Boom):
        attempt(body)
    assert attempt(body) == "done"


def test_a_fatal_block_raises_at_entry(store: Watched) -> None:
    ran: list[int] = []
    for _ in range(2):
        with pytest.raises(CardRefused), execution("order-1", store=store):
            ran.append(1)
            raise CardRefused("4242", 51)
    assert ran == [1]


def test_a_fatal_once_raises_again(store: Watched) -> None:
    ran: list[int] = []

    def refuse() -> None:
        ran.append(1)
        raise CardRefused("4242", 51)

    for _ in range(2):
        with pytest.raises(CardRefused):
            once("order-1", refuse, store=store)
    assert ran == [1]


def test_a_fatal_with_a_field_that_cannot_be_stored_is_still_fatal(attempt: Attempt) -> None:
    ran: list[int] = []

    def body() -> None:
        ran.append(1)
        raise CardRefused(object(), 51)  # type: ignore[arg-type]

    for _ in range(2):
        with pytest.raises(CardRefused) as caught:
            attempt(body)
        assert caught.value.code == 51
    assert ran == [1]
    with pytest.raises(Exception, match=r"card"):
        repr(caught.value.card.upper())


def test_an_expired_execution_is_new(attempt: Attempt, store: Watched, clock: FakeClock) -> None:
    ran: list[str] = []

    def body() -> str:
        step("a", lambda: ran.append("a"))
        return f"run {len(ran)}"

    assert attempt(body, expires=timedelta(hours=1)) == "run 1"
    clock.advance(1800)
    assert attempt(body, expires=timedelta(hours=1)) == "run 1"
    clock.advance(7200)
    assert attempt(body, expires=timedelta(hours=1)) == "run 2"
    assert ran == ["a", "a"]
