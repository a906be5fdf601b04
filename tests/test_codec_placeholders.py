"""What can't be stored of an exception raises when it is touched, and the text of any exception is bounded."""

from __future__ import annotations

import builtins
import enum
import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durably.codec import JSON, Unencodable, decode_exception, encode_exception
from durably.errors import NotSerializable
from tests.test_codec_exceptions import Code, Holder, Quota, again, raised, the_same

TOUCHES: list[Callable[[Any], object]] = [
    lambda it: it.attribute,
    lambda it: it(),
    str,
    bool,
    list,
    len,
    lambda it: it[0],
    lambda it: it == 1,
    lambda it: it != 1,
    hash,
    lambda it: it + 1,
    lambda it: 1 + it,
    lambda it: 1 in it,
    lambda it: f"{it}",
    lambda it: f"{it!s:>5}",
    int,
    float,
    lambda it: it < 1,
    lambda it: setattr(it, "x", 1),
    lambda it: isinstance(it, str),
    lambda it: it.__enter__(),
    next,
    dir,
    pickle.dumps,
    lambda it: it.__dict__,
    lambda it: it.__class__,
    bytes,
    lambda it: -it,
    vars,
    lambda it: {it: 1},
    lambda it: it["k"],
    lambda it: it.get("k"),
    lambda it: Path(it),
    JSON.encode,
]


@pytest.mark.parametrize("touch", TOUCHES)
def test_a_placeholder_raises_whatever_touches_it(touch: Callable[[Any], object]) -> None:
    held = again(Holder(threading.Lock())).held
    with pytest.raises((NotSerializable, Unencodable)):
        touch(held)


def test_a_placeholder_says_what_it_was_of_which_field_of_which_exception() -> None:
    held = again(Holder(threading.Lock())).held
    assert repr(held) == "<not stored: _thread.lock>"
    text = str(raised(lambda: held.acquire()))
    for word in ("field 'held'", "tests.test_codec_exceptions.Holder", "_thread.lock", "plain data"):
        assert word in text


def test_a_placeholder_stored_again_still_says_what_it_was() -> None:
    back = again(Holder(again(Holder(threading.Lock())).held))
    assert repr(back.held) == "<not stored: _thread.lock>"


def test_only_the_leaf_that_can_t_be_stored_is_missing() -> None:
    back = again(Holder({"a": 1, "b": [threading.Lock(), (2,)], "c": {object(): 1}}))
    assert back.held["a"] == 1
    assert back.held["b"][1] == (2,)
    for missing in (back.held["b"][0], back.held["c"]):
        with pytest.raises(NotSerializable):
            str(missing)


def test_a_class_that_no_annotation_names_is_a_placeholder() -> None:
    back = again(Holder(Code.GONE))
    with pytest.raises(NotSerializable, match="Code"):
        back.held.value  # noqa: B018


def test_exceptions_inside_fields_come_back() -> None:
    back = again(Holder([Quota(1, service="s"), {"why": OSError(2, "x")}]))
    assert the_same(back.held[0], Quota(1, service="s"))
    assert back.held[1]["why"].errno == 2


def test_circles_are_cut() -> None:
    own = Holder(None)
    own.held = own
    own.args = (own, 1)
    assert "not stored" in repr(again(own).held)
    one, two = ValueError(1), ValueError(2)
    one.__cause__, two.__cause__ = two, one
    back = again(one)
    assert str(back.__cause__) == "2"
    assert isinstance(back.__cause__.__cause__, NotSerializable)
    loop: list[Any] = []
    loop.extend([loop, loop, object()])
    assert "not stored" in repr(again(Holder(loop)).held)


def test_a_long_chain_and_a_wide_group_are_bounded_and_say_so() -> None:
    exc: Exception = ValueError(0)
    for number in range(500):
        exc, exc.__cause__ = ValueError(number), exc
    text = encode_exception(exc)
    assert len(text) < 100_000
    assert "too many" in text
    group = ExceptionGroup("wide", [ValueError("x" * 5000) for _ in range(5000)])
    text = encode_exception(group)
    assert len(text) < 4_000_000
    last = decode_exception(text).exceptions[-1]  # type: ignore[attr-defined]
    assert isinstance(last, NotSerializable)
    assert "5000" in str(last)


@pytest.mark.parametrize(
    "held", ["x" * 10_000_000, ["y" * 100] * 10_000, [[[[[0] * 20] * 20] * 20] * 20] * 20, b"z" * 10_000_000]
)
def test_a_large_field_is_a_placeholder(held: object) -> None:
    text = encode_exception(Holder(held))
    assert len(text) < 20_000
    with pytest.raises(NotSerializable, match="too"):
        len(decode_exception(text).held)  # type: ignore[attr-defined]


def test_many_fields_together_are_bounded() -> None:
    exc = Holder(None)
    vars(exc).update({f"f{n}": "x" * 200_000 for n in range(100)})
    assert len(encode_exception(exc)) < 1_200_000


def test_a_long_message_and_traceback_are_cut() -> None:
    record = json.loads(encode_exception(ValueError("x" * 1_000_000)))
    assert len(record["message"]) <= 16 * 1024
    assert len(record["traceback"]) <= 16 * 1024


class Refusal(enum.Enum):
    LIMIT = "limit"


@pytest.mark.parametrize("argument", [threading.Lock(), Path("/a b"), Code.GONE, Refusal.LIMIT, object()])
def test_an_exception_reads_as_it_did_though_its_only_argument_is_missing(argument: object) -> None:
    exc = ValueError(argument)
    back = again(exc)
    assert (str(back), f"{back}", str(again(back))) == (str(exc),) * 3
    assert f"{back.args[0]}" == str(argument)
    with pytest.raises(NotSerializable):
        bool(back.args[0] == argument)


@pytest.mark.parametrize(
    "exc", [FileNotFoundError("no such report", Path("/a b")), SyntaxError(Path("/a b"))], ids=repr
)
def test_a_builtin_exception_that_keeps_its_arguments_apart_reads_as_it_did(exc: Exception) -> None:
    back = again(exc)
    assert (str(back), str(again(back))) == (str(exc),) * 2


class Unreadable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_argument_that_never_read_does_not_begin_to_raise_something_else() -> None:
    assert str(again(ValueError(Unreadable()))) == "<not stored: tests.test_codec_placeholders.Unreadable>"


@pytest.mark.parametrize("position", [0, 1, 300_000])
def test_a_unicode_error_over_a_large_object_can_be_printed(position: int) -> None:
    raw = bytearray(b"a" * 300_001)
    raw[position] = 0xFF
    decoding = again(raised(lambda: raw.decode()))
    assert f"position {position}" in str(decoding)
    assert "invalid start byte" in str(decoding)
    encoding = again(raised(lambda: raw.decode("ascii", "surrogateescape").encode()))
    assert f"position {position}" in str(encoding)
    for back in (decoding, encoding, again(decoding)):
        assert (back.start, back.end) == (position, position + 1)
        for touch in (len, bytes, lambda it: it[0], lambda it: it.decode(), lambda it: it == b""):
            with pytest.raises(NotSerializable):
                touch(back.object)


@pytest.mark.parametrize(("name", "value"), [("object", 5), ("object", ["a"]), ("start", -(10**12))])
@pytest.mark.parametrize("cls", ["UnicodeDecodeError", "UnicodeEncodeError", "UnicodeTranslateError"])
def test_no_stored_unicode_error_reads_memory_that_is_not_its_own(cls: str, name: str, value: object) -> None:
    made = b"b" if cls == "UnicodeDecodeError" else "b"
    sound = (
        UnicodeTranslateError("b", 0, 1, "c") if "Translate" in cls else getattr(builtins, cls)("a", made, 0, 1, "c")
    )
    record = json.loads(encode_exception(sound))
    record["fields"] |= {"start": 10**12, "end": 10**12 + 1, name: value}
    if name == "start":
        record["fields"]["end"] = -(10**12) + 1
    assert "c" in str(decode_exception(json.dumps(record)))
