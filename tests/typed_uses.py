"""Uses of the public names as a type checker sees them. mypy reads this file with the rest; nothing runs it.

What it must refuse stands in `refused_uses.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from durably import NOT_DONE, Retry, current_step, durable, execution, fan_out, once, step


@dataclass
class Comment:
    id: int


def post(repository: str, number: int) -> Comment:
    return Comment(number)


def find() -> Comment | object:
    return NOT_DONE


def steps_keep_their_functions_types() -> None:
    assert_type(step("post", post, "acme/app", 7), Comment)
    assert_type(step("post", post, "acme/app", 7, retry=Retry(3, on=OSError), recover=find), Comment)
    assert_type(once("key", post, "acme/app", 7), Comment)


def fan_outs_give_lists() -> None:
    assert_type(fan_out("one", str.upper, ["a", "b"]), list[str])
    assert_type(fan_out("one", post_all, [("a", 1)], key=lambda pair: pair[0], workers=4), list[Comment])
    assert_type(fan_out("one", str.upper, ["a"], return_exceptions=True), list[str | Exception])


def post_all(pair: tuple[str, int]) -> Comment:
    return post(*pair)


@step
def decorated(number: int) -> Comment:
    return Comment(number)


@step.named("thread/{number}", repeatable=True, reserve=timedelta(seconds=1))
def named(number: int) -> Comment:
    return Comment(number)


def decorated_steps_keep_their_signatures() -> None:
    assert_type(decorated(1), Comment)
    assert_type(named(number=1), Comment)


@durable
def handler(event: dict[str, Any], context: object) -> dict[str, int]:
    running = current_step()
    if running is not None:
        assert_type(running.idempotency_key, str)
    return {"id": decorated(1).id}


@durable(name="other", wait=timedelta(seconds=5), id=lambda event, context: str(event["id"]))
def other(event: dict[str, Any], context: object = None) -> str:
    return "done"


def handlers_stay_what_they_were() -> None:
    assert_type(handler({}, None), dict[str, int])
    plain: Callable[[dict[str, Any], object], dict[str, int]] = handler
    assert_type(plain({}, None), dict[str, int])
    assert_type(other({}), str)


def blocks_are_context_managers() -> None:
    with execution("order-1", store="memory://", lease=timedelta(seconds=10)) as ex:
        ex.result = 1
        assert_type(ex.finished, bool)
        assert_type(ex.id, str)
