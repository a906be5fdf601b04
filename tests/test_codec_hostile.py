"""Exceptions of anybody's making, and texts of anybody's: neither breaks the codec."""

from __future__ import annotations

import gc
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durably.codec import JSON, Unencodable, decode_exception, encode_exception
from tests.test_codec_exceptions import Holder, Quota, again


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no str")

    __repr__ = __str__

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no " + name)

    @property
    def request(self) -> Any:
        raise RuntimeError("not set")


class NoAccess(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no " + name)


class NoSetting(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError("no " + name)


class Lying:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")

    @__class__.setter
    def __class__(self, value: object) -> None:
        pass


class Deep(Exception):
    def __str__(self) -> str:
        return str(self)


HOSTILE: list[Callable[[], BaseException]] = [
    lambda: Hostile("a"),
    lambda: NoAccess("a"),
    lambda: NoSetting("a"),
    lambda: Holder(Lying()),
    lambda: Holder(Hostile(1)),
    lambda: Deep(),
    lambda: Quota.__new__(Quota),
]


@pytest.mark.parametrize("make", HOSTILE)
def test_a_hostile_exception_breaks_nothing(make: Callable[[], BaseException]) -> None:
    exc = make()
    back = decode_exception(encode_exception(exc))
    assert type(back) is type(exc)


def test_lone_surrogates_in_messages_and_notes_can_be_stored() -> None:
    exc = ValueError("\ud800")
    exc.add_note("\udfff")
    assert again(exc).args == ("\ud800",)


def test_class_of_a_vanished_function_becomes_its_base() -> None:
    def make() -> str:
        class Gone(KeyError):
            pass

        return encode_exception(Gone("k"))

    text = make()
    gc.collect()
    back = decode_exception(text)
    assert type(back) is KeyError
    assert str(back) == "'k'"


class Shouting:
    """A codec of a user's own."""

    def encode(self, value: object) -> str:
        return JSON.encode(value).upper() if isinstance(value, str) else JSON.encode(value)

    def decode(self, text: str, returns: object = None) -> object:
        return JSON.decode(text, returns)


def test_another_codec_is_used_for_arguments_and_fields() -> None:
    back = decode_exception(encode_exception(Holder("abc"), Shouting()), Shouting())
    assert (back.args, back.held) == (("HELD",), "ABC")  # type: ignore[attr-defined]
    nested = decode_exception(encode_exception(Holder(ValueError("abc")), Shouting()), Shouting())
    assert str(nested.held) == "ABC"  # type: ignore[attr-defined]


json_like = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "class",
                    "message",
                    "mro",
                    "args",
                    "fields",
                    "group",
                    "cause",
                    "notes",
                    "errors",
                    "$missing",
                    "why",
                    "$exception",
                    "$text",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    json_like,
    st.sampled_from(
        [
            "builtins:ValueError",
            "builtins:OSError",
            "builtins:ExceptionGroup",
            "pydantic_core._pydantic_core:ValidationError",
        ]
    ),
)
def test_no_stored_text_does_more_than_give_an_exception_or_be_refused(data: Any, name: str) -> None:
    record = {**data, "class": data.get("class", name)} if isinstance(data, dict) else data
    try:
        assert isinstance(decode_exception(json.dumps(record)), BaseException)
    except Unencodable as error:
        assert error.why  # noqa: PT017 - either answer is right


def test_a_stored_name_imports_no_lazy_module_and_asks_no_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "waiting.py").write_text("raise SystemExit('imported')")
    spec = importlib.util.spec_from_file_location("waiting", tmp_path / "waiting.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    monkeypatch.setitem(sys.modules, "waiting", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(sys.modules["waiting"])
    monkeypatch.setitem(globals(), "proxy", Proxy())
    for name in ("waiting:Error", f"{__name__}:proxy.Error", f"{__name__}:proxy"):
        text = json.dumps({"class": name, "message": "m", "mro": ["builtins:ValueError"], "args": ["m"]})
        assert type(decode_exception(text)) is ValueError


class Proxy:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"asked for {name}")
