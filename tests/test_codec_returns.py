"""What a callable returns is found through its wrappers, or not at all."""

from __future__ import annotations

import functools
import typing
from dataclasses import dataclass
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest

from durably.codec import JSON, returns_of
from tests.test_codec_classes import Review, Usage

T = TypeVar("T")
BERLIN = ZoneInfo("Europe/Berlin")


async def coroutine() -> None:
    pass


def annotated(x: int) -> Review:
    raise NotImplementedError


def unresolvable(x: NotThere) -> Review:  # type: ignore[name-defined]  # noqa: F821
    raise NotImplementedError


def nowhere() -> NotThere:  # type: ignore[name-defined]  # noqa: F821
    raise NotImplementedError


def decorate(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


class Service:
    def fetch(self) -> list[Review]:
        raise NotImplementedError

    @classmethod
    def build(cls) -> typing.Self:
        raise NotImplementedError

    @classmethod
    def every(cls) -> list[typing.Self]:
        raise NotImplementedError

    @staticmethod
    def still() -> Review:
        raise NotImplementedError

    def __call__(self) -> Usage:
        raise NotImplementedError


class Hostile:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Endless:
    def __getattr__(self, name: str) -> Any:
        return self


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (annotated, Review),
        (unresolvable, Review),
        (nowhere, None),
        (lambda: 1, None),
        (functools.partial(annotated, 1), Review),
        (decorate(decorate(annotated)), Review),
        (functools.lru_cache(annotated), Review),
        (Service().fetch, list[Review]),
        (Service.build, Service),
        (Service.every, list[typing.Self] | Service),
        (Service.still, Review),
        (Service(), Usage),
        (Review, Review),
        (len, None),
        (dict, dict),
        (functools.partial(functools.partial(Service().fetch)), list[Review]),
        (None, None),
        (3, None),
        (print, None),
        (coroutine, type(None)),
    ],
)
def test_the_return_annotation_is_found_through_wrappers(fn: Any, expected: object) -> None:
    assert returns_of(fn) == expected
    assert returns_of(fn) == expected


def test_an_object_that_answers_anything_breaks_nothing() -> None:
    for fn in (Hostile(), Endless()):
        assert returns_of(fn) is None


def test_a_class_defined_after_the_function_is_found_later() -> None:
    names: dict[str, Any] = {}
    exec("def late() -> 'Later': ...", names)
    assert returns_of(names["late"]) is None
    exec("class Later: ...", names)
    assert returns_of(names["late"]) is names["Later"]


@dataclass
class Page:
    number: int

    @classmethod
    def all(cls) -> dict[str, list[typing.Self]]:
        return {"a": [cls(1)]}


def test_self_inside_a_container_leads_to_the_class_it_means() -> None:
    assert JSON.decode(JSON.encode(Page.all()), returns_of(Page.all)) == Page.all()
