"""An exception comes back as the one that was raised; what can't be stored of it is never silently missing."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from durably.codec import Unencodable, decode_exception, encode_exception
from durably.errors import DuplicateStep, NotSerializable


def raised(run: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        run()
    return caught.value


def again(exc: BaseException) -> Any:
    """The exception as a replay gets it."""
    text = encode_exception(exc)
    assert "\n" not in text
    assert "\t" not in text
    return decode_exception(text.encode().decode())


def the_same(one: BaseException, other: BaseException) -> bool:
    return type(one) is type(other) and str(one) == str(other) and repr(one.args) == repr(other.args)


class Quota(Exception):
    def __init__(self, limit: int, *, service: str) -> None:
        super().__init__(f"{service}: over {limit}")
        self.limit = limit
        self.service = service


class Code(enum.Enum):
    GONE = 410


@dataclass(frozen=True)
class Refused(Exception):
    code: Code
    tags: list[str] = field(default_factory=list)


class Slotted(Exception):
    __slots__ = ("empty", "unset", "where")

    def __init__(self, where: str) -> None:
        self.where = where
        self.empty = None


class Both(KeyError, OSError):
    pass


class Holder(Exception):
    """Holds whatever it is given, and builds its text from it."""

    def __init__(self, held: object) -> None:
        super().__init__("held")
        self.held = held


COMMON: list[Callable[[], object]] = [
    lambda: 1 / 0,
    lambda: open("/nope/nope"),
    lambda: Path("/nope/a").rename("/nope/b"),
    lambda: b"\xff".decode(),
    lambda: "\ud800".encode(),
    lambda: json.loads("{"),
    lambda: compile("a b", "f", "exec"),
    lambda: {"b": 1}["a"],
    lambda: [][1],  # noqa: PLE0643
    lambda: None.foo,  # type: ignore[attr-defined]
    lambda: undefined,  # type: ignore[name-defined]  # noqa: F821
    lambda: __import__("nope.nope"),
    lambda: next(iter([])),
    lambda: sys.exit(3),
    lambda: int("x"),
    lambda: subprocess.run(["false"], check=True),
    lambda: subprocess.run(["sleep", "5"], timeout=0.01),
    lambda: getattr(__import__("socket"), "create_connection")(("256.256.256.256", 1)),  # noqa: B009
]


@pytest.mark.parametrize("run", COMMON)
def test_a_common_exception_comes_back_the_same(run: Callable[[], object]) -> None:
    exc = raised(run)
    assert the_same(again(exc), exc)
    assert the_same(again(again(exc)), exc)


def test_decimal_s_signals_keep_class_and_text() -> None:
    exc = raised(lambda: Decimal("x"))
    assert (type(again(exc)), str(again(exc))) == (type(exc), "[<not stored: type>]")


def test_the_fields_of_builtin_exceptions_come_back() -> None:
    gone = again(raised(lambda: open("/nope/nope")))
    assert (gone.errno, gone.strerror, gone.filename, gone.filename2) == (
        2,
        "No such file or directory",
        "/nope/nope",
        None,
    )
    assert again(raised(lambda: Path("/nope/a").rename("/nope/b"))).filename2 == "/nope/b"
    assert again(raised(lambda: sys.exit(3))).code == 3
    assert again(StopIteration(5)).value == 5
    assert again(ImportError("x", name="n", path="p")).path == "p"
    decoding = again(raised(lambda: b"ab\xff".decode()))
    assert (decoding.object, decoding.start, decoding.end, decoding.encoding) == (b"ab\xff", 2, 3, "utf-8")
    parsing = again(raised(lambda: compile("a b", "f", "exec")))
    assert (parsing.lineno, parsing.filename, parsing.text) == (1, "f", "a b\n")
    assert again(raised(lambda: json.loads("{"))).pos == 1
    assert again(raised(lambda: subprocess.run(["false"], check=True))).returncode == 1
    assert again(BlockingIOError(11, "x", 7)).characters_written == 7


@pytest.mark.parametrize(
    "exc",
    [
        Quota(5, service="s"),
        Both("a"),
        KeyError(),
        KeyError(1, 2),
        Exception(None),
        OSError("only"),
        OSError(),
        OSError(2, "x"),
        KeyboardInterrupt(),
        ValueError({"a": (1, b"x")}),
        AssertionError(),
        DuplicateStep("e", "s"),
        NotSerializable("w", "p"),
        UnicodeDecodeError("a", b"b", 0, 1, "c"),
    ],
    ids=repr,
)
def test_an_exception_comes_back_without_its_constructor(exc: BaseException) -> None:
    back = again(exc)
    assert the_same(back, exc)
    assert vars(back) == vars(exc)


def test_a_frozen_dataclass_exception_comes_back_with_classes_from_its_own_annotations() -> None:
    back = again(Refused(Code.GONE, ["a"]))
    assert back == Refused(Code.GONE, ["a"])
    assert back.code is Code.GONE


def test_slots_come_back_set_none_or_unset_as_they_were() -> None:
    back = again(Slotted("here"))
    assert (back.where, back.empty) == ("here", None)
    assert not hasattr(back, "unset")


def test_a_group_comes_back_with_its_members() -> None:
    class Special(ExceptionGroup[Exception]):
        def __new__(cls, code: int, members: list[Exception]) -> Special:
            made = super().__new__(cls, f"code {code}", members)
            made.code = code
            return made

        code: int

    group = Special(7, [ValueError(1), ExceptionGroup("in", [KeyError("k"), Quota(1, service="s")])])
    back = again(group)
    assert (type(back), str(back), back.code) == (Special, str(group), 7)
    assert [type(member) for member in back.exceptions] == [ValueError, ExceptionGroup]
    assert the_same(back.exceptions[1].exceptions[1], Quota(1, service="s"))
    assert type(again(BaseExceptionGroup("b", [KeyboardInterrupt()]))) is BaseExceptionGroup


def test_cause_notes_and_suppression_come_back_and_context_stays_away() -> None:
    try:
        try:
            raise KeyError("k")
        except KeyError as low:
            low.add_note("low")
            raise Quota(1, service="s") from low
    except Quota as high:
        high.add_note("high\n\ttab")
        back = again(high)
    assert back.__notes__ == ["high\n\ttab"]
    assert the_same(back.__cause__, KeyError("k"))
    assert back.__cause__.__notes__ == ["low"]
    assert back.__suppress_context__
    assert back.__context__ is None
    assert not again(ValueError()).__suppress_context__


def test_the_text_has_class_message_and_traceback_at_its_top() -> None:
    record = json.loads(encode_exception(raised(lambda: Quota.__init__(1, 2))))  # type: ignore[call-arg, arg-type]
    assert list(record)[:3] == ["class", "message", "traceback"]
    assert record["class"] == "builtins:TypeError"
    assert "in <lambda>" in record["traceback"]


# Classes


def test_a_class_of_a_function_is_found_below_its_base_the_latest_one() -> None:
    def make() -> type[Exception]:
        class Local(LookupError):
            pass

        return Local

    first = make()
    assert type(again(first("a"))) is first
    second = make()
    assert type(again(first("a"))) is second
    assert type(again(second("a"))) is second


def test_a_class_that_is_not_loaded_comes_back_as_its_nearest_base_saying_so() -> None:
    text = encode_exception(Quota(5, service="s")).replace(f"{__name__}:Quota", "elsewhere.errors:Quota")
    back = decode_exception(text)
    assert type(back) is Exception
    assert str(back) == "s: over 5"
    assert vars(back)["limit"] == 5
    assert back.__notes__ == [
        "durably: elsewhere.errors.Quota was raised; it is not loaded here, and Exception stands for it"
    ]


def test_a_stand_in_that_reads_otherwise_says_how_the_original_did() -> None:
    class Talkative(OSError):
        def __str__(self) -> str:
            return f"talk {self.errno}"

    text = encode_exception(Talkative(2, "x")).replace("Talkative", "Silent")
    back = decode_exception(text)
    assert (type(back), back.errno) == (OSError, 2)  # type: ignore[attr-defined]
    assert back.__notes__[0].endswith("It read: talk 2")


def test_no_text_makes_what_is_no_exception() -> None:
    for name in (
        "builtins:eval",
        "os:system",
        "subprocess:Popen",
        "nowhere",
        "",
        "sys:modules",
        "builtins:object",
        ":",
        "a:b:c",
    ):
        back = decode_exception(json.dumps({"class": name, "message": "m", "args": ["rm"]}))
        assert type(back) is Exception
        assert str(back) == "rm" if name == "builtins:Exception" else "m"
    assert type(decode_exception("{}")) is Exception


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", '{"class": "builtins:ValueError", "args": 3}', '{"mro": 3}', '{"fields": []}', '{"notes": 3}'],
)
def test_malformed_text_is_refused_in_words(text: str) -> None:
    try:
        assert isinstance(decode_exception(text), BaseException)
    except Unencodable as error:
        assert error.why  # noqa: PT017 - either answer is right
