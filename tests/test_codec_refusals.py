"""What can't come back the same is refused, with path, type and advice."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest

from durably.codec import JSON, Unencodable
from tests.test_codec import again, refused
from tests.test_codec_classes import Circle, Finding, Node, Point, Shape

T = TypeVar("T")
BERLIN = ZoneInfo("Europe/Berlin")


class Sub(dict[str, int]):
    pass


class Text(str):
    __slots__ = ()


async def coroutine() -> None:
    pass


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (object(), "dataclass"),
        (Sub(a=1), "subclass of dict"),
        (Text("x"), "subclass of str"),
        ((n for n in [1]), "list(…)"),
        (threading.Lock(), "plain data"),
        (range(3), "plain data"),
        (Path("x"), "plain data"),
        (len, "plain data"),
        (int, "plain data"),
        (ValueError("x"), "raise it"),
        (sys, "plain data"),
        (iter([]), "list(…)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_exact_form_is_refused_with_path_type_and_advice(value: object, advice: str) -> None:
    error = refused({"items": [0, Point(1, value)]}, dict[str, list[int | Point]])  # type: ignore[arg-type]
    assert error.path == "result['items'][1].y"
    assert error.type_name.endswith(type(value).__qualname__)
    assert advice in error.why


def test_a_coroutine_is_refused_with_a_word_on_await() -> None:
    waiting = coroutine()
    assert "await it" in refused(waiting).why
    waiting.close()


def test_an_open_file_is_refused() -> None:
    with Path(__file__).open() as file:
        assert refused([file]).path == "result[0]"


def test_a_cycle_is_refused_quickly() -> None:
    loop: list[Any] = []
    loop.extend([loop, loop])
    assert "contains itself" in refused(loop).why
    node = Node("a")
    node.up = node
    assert "contains itself" in refused(node, Node).why
    assert len(refused(loop).path) < 250


def test_depth_is_refused_the_same_on_every_stack() -> None:
    def nested(depth: int, leaf: object) -> Any:
        value: object = leaf
        for _ in range(depth):
            value = {"a": value, "$b": 1}
        return value

    assert again(nested(99, 1)) == nested(99, 1)
    assert "nested" in refused(nested(101, 1)).why
    deep: Any = []
    for _ in range(10_000):
        deep = [deep]
    assert "nested" in refused(deep).why


def test_a_key_that_can_t_be_stored_is_named() -> None:
    error = refused({"a": {object: 1}})
    assert error.path.startswith("result['a']<key")


@dataclass
class Raising:
    x: int

    def __getattribute__(self, name: str) -> Any:
        if name == "x":
            raise RuntimeError("not today")
        return super().__getattribute__(name)


def test_a_field_that_raises_when_read_is_named() -> None:
    assert "reading 'x' raised RuntimeError: not today" in refused([Raising(1)]).why


def test_a_missing_annotation_says_what_to_do() -> None:
    error = refused({"items": [Finding("p", 1)]})
    assert error.path == "result['items'][0]"
    assert error.type_name == "tests.test_codec_classes.Finding"
    assert "annotate the function's return type" in error.why
    assert "returns=" in str(error)


def test_a_class_of_the_same_name_elsewhere_is_not_looked_up() -> None:
    text = JSON.encode(Finding("p", 1))
    with pytest.raises(Unencodable, match="annotate"):
        JSON.decode(text)
    with pytest.raises(Unencodable, match="Circle"):
        JSON.decode(text, Circle | Shape | None)


class Meta(type):
    def __getattr__(cls, name: str) -> Any:
        raise RuntimeError("no " + name)


class OfMeta(metaclass=Meta):
    pass


def test_a_class_that_raises_when_it_is_asked_is_refused_like_any_other() -> None:
    error = refused([OfMeta()])
    assert error.path == "result[0]"
    assert "reading it raised RuntimeError" in error.why
