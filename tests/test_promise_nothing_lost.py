"""P7: nothing acknowledged is lost, and what can't be stored says so."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from durably import NotSerializable, SQLiteStore, durable, fan_out, once, step

from .stores_for_tests import Attempt, Watched

pytest_plugins = ["tests.stores_for_tests"]


class Opaque:
    """No JSON form, no class to come back as."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def test_a_result_that_cannot_be_stored_names_step_path_and_type(attempt: Attempt) -> None:
    with pytest.raises(NotSerializable) as caught:
        attempt(lambda: step("connect", lambda: {"conns": [1, Opaque()]}))
    text = str(caught.value)
    assert "'connect'" in text
    assert "conns" in text
    assert "1" in caught.value.path
    assert "Opaque" in text


def test_an_effect_whose_result_cannot_be_stored_is_not_repeated(attempt: Attempt, store: Watched) -> None:
    ran: list[int] = []

    def effect() -> Any:
        ran.append(1)
        return Opaque()

    texts: set[str] = set()
    for _ in range(3):
        with pytest.raises(NotSerializable) as caught:
            attempt(lambda: step("pay", effect))
        texts.add(str(caught.value))
    assert ran == [1]
    assert len(texts) == 1
    assert "'pay'" in texts.pop()
    assert store.head().status == "waiting"


class OfOnesOwn:
    """A codec that a user wrote, with one mistake in how it treats a dict."""

    def __init__(self, mistake: str) -> None:
        self.mistake = mistake

    def encode(self, value: object) -> Any:
        if not isinstance(value, dict):
            return json.dumps(value)
        if self.mistake == "raises":
            raise TypeError("Object of type Invoice is not JSON serializable")
        text = json.dumps(value, indent=1 if self.mistake == "lines" else None)
        wrong = {"bytes": text.encode(), "tab": f"{text}\t", "half a pair": f"{text}\ud83d", "empty": ""}
        return wrong.get(self.mistake, text)

    def decode(self, text: str, returns: object = None) -> object:
        if self.mistake == "can't read" and text.startswith("{"):
            raise ValueError("not mine")
        return json.loads(text)


@pytest.mark.parametrize("mistake", ["raises", "lines", "bytes", "tab", "half a pair", "empty", "can't read"])
def test_an_effect_whose_result_a_codec_of_ones_own_spoils_is_not_repeated(
    mistake: str, attempt: Attempt, store: Watched
) -> None:
    ran: list[int] = []

    def pay(order: object) -> object:
        ran.append(1)
        return {"paid": order}

    def body() -> None:
        step("pay", pay, {"price": 2}, record_args=True)

    for _ in range(3):
        with pytest.raises(NotSerializable, match=r"'pay'.*codec="):
            attempt(body, codec=OfOnesOwn(mistake))
    assert ran == [1]
    assert store.head().status == "waiting"


def test_a_caught_not_serializable_is_history(attempt: Attempt) -> None:
    ran: list[int] = []

    def effect() -> Any:
        ran.append(1)
        return Opaque()

    def body() -> str:
        try:
            step("pay", effect)
        except NotSerializable:
            answer = step("look up", lambda: "paid")
        if len(ran) == 1:
            ran.append(2)
            raise LookupError
        return answer

    with pytest.raises(LookupError):
        attempt(body)
    assert attempt(body) == "paid"
    assert ran == [1, 2]


def test_a_result_that_cannot_be_stored_is_not_tried_again_by_retry(attempt: Attempt) -> None:
    from datetime import timedelta

    from durably import Retry

    ran: list[int] = []

    def effect() -> Any:
        ran.append(1)
        return Opaque()

    with pytest.raises(NotSerializable):
        attempt(lambda: step("pay", effect, retry=Retry(3, on=Exception, delay=timedelta(seconds=1))))
    assert ran == [1]


def test_an_item_whose_result_cannot_be_stored_is_not_repeated(attempt: Attempt) -> None:
    ran: list[str] = []

    def effect(item: str) -> Any:
        ran.append(item)
        return Opaque() if item == "b" else item

    for _ in range(2):
        with pytest.raises(NotSerializable, match=r"thread\[b\]"):
            attempt(lambda: fan_out("thread", effect, ["a", "b"], workers=1))
    assert ran == ["a", "b"]


@pytest.mark.parametrize(
    "value",
    [lambda: (n for n in [1]), lambda: open(os.devnull), lambda: threading.Lock(), lambda: print, lambda: object()],
    ids=["generator", "file", "lock", "function", "object"],
)
def test_common_mistakes_are_named(attempt: Attempt, value: Any) -> None:
    kept: list[Any] = []

    def effect() -> Any:
        kept.append(value())
        return kept[0]

    with pytest.raises(NotSerializable, match="'give'"):
        attempt(lambda: step("give", effect))
    if hasattr(kept[0], "close"):
        kept[0].close()


def test_a_value_that_holds_itself_is_refused(attempt: Attempt) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotSerializable, match="'give'"):
        attempt(lambda: step("give", lambda: loop))


@pytest.mark.parametrize("open_store", ["memory", "dynamodb"], indirect=True)
def test_a_result_of_30_mb_that_does_not_compress_names_step_and_size(attempt: Attempt, store: Watched) -> None:
    ran: list[int] = []

    def export() -> str:
        ran.append(1)
        return os.urandom(15_000_000).hex()

    for _ in range(2):
        with pytest.raises(NotSerializable) as caught:
            attempt(lambda: step("export", export))
        text = str(caught.value)
        assert "'export'" in text
        assert "17," in text, "what it takes, in bytes"
        assert "10,485,760" in text, "what it may take"
    assert ran == [1], "the effect must not be repeated"


@pytest.mark.parametrize("open_store", ["memory"], indirect=True)
def test_a_30_mb_result_of_the_handler_says_so_and_keeps_the_steps(attempt: Attempt, store: Watched) -> None:
    ran: list[int] = []

    def body(size: int) -> str:
        step("pay", lambda: ran.append(1))
        return os.urandom(size).hex()

    with pytest.raises(NotSerializable, match=r"handler.*17,.*10,485,760"):
        attempt(lambda: body(15_000_000))
    assert store.head().status == "waiting"
    assert len(attempt(lambda: body(10))) == 20
    assert ran == [1]


def test_a_30_mb_result_that_compresses_is_kept(attempt: Attempt) -> None:
    text = "durable " * 3_750_000
    assert attempt(lambda: len(step("export", lambda: text))) == len(text)


def test_a_result_of_5_mb_comes_back_whole(attempt: Attempt) -> None:
    text = os.urandom(2_500_000).hex()
    seen: list[bool] = []

    def body() -> str:
        seen.append(step("export", lambda: text) == text)
        if len(seen) == 1:
            raise LookupError
        return text

    with pytest.raises(LookupError):
        attempt(body)
    assert attempt(body) == text
    assert attempt(body) == text
    assert seen == [True, True]


def test_many_results_in_one_append_of_over_an_item_are_kept(attempt: Attempt) -> None:
    texts = {str(n): os.urandom(100_000).hex() for n in range(6)}
    seen: list[Any] = []

    def body() -> None:
        for n, text in texts.items():
            assert step(f"page-{n}", lambda text=text: text, repeatable=True) == text
        seen.append(fan_out("thread", texts.get, texts))
        if len(seen) == 1:
            raise LookupError

    with pytest.raises(LookupError):
        attempt(body)
    attempt(body)
    assert seen[0] == seen[1] == list(texts.values())


@pytest.mark.parametrize("open_store", ["memory"], indirect=True)
def test_a_failure_too_large_to_store_is_still_remembered(attempt: Attempt) -> None:
    ran: list[int] = []

    def fail() -> None:
        ran.append(1)
        raise ValueError(os.urandom(15_000_000).hex())

    def body() -> str:
        with pytest.raises(Exception):
            step("a", fail)
        return step("b", lambda: "went on")

    assert attempt(body) == "went on"
    assert ran == [1]


def test_a_handlers_own_result_that_cannot_be_stored_fails_the_attempt_and_keeps_the_steps(
    attempt: Attempt, store: Watched
) -> None:
    ran: list[int] = []

    def body(result: Any) -> Any:
        step("pay", lambda: ran.append(1))
        return result

    with pytest.raises(NotSerializable) as caught:
        attempt(lambda: body({"conn": Opaque()}))
    assert "handler" in str(caught.value)
    assert "reviewer" in str(caught.value)
    assert "conn" in str(caught.value)
    assert store.head().status == "waiting"
    assert attempt(lambda: body({"conn": "text"})) == {"conn": "text"}
    assert ran == [1]


@pytest.mark.parametrize(
    "value", [datetime(2026, 1, 2), {1, 2}, {"at": datetime(2026, 1, 2)}, b"x", ["\ud83d"]], ids=ascii
)
def test_under_lambda_a_result_that_is_no_json_fails_before_completed(
    attempt: Attempt, store: Watched, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "reviewer")
    ran: list[int] = []

    def body(result: Any) -> Any:
        step("pay", lambda: ran.append(1))
        return result

    with pytest.raises(NotSerializable) as caught:
        attempt(lambda: body(value))
    assert "reviewer" in str(caught.value)
    assert "Lambda" in str(caught.value)
    assert store.head().status == "waiting"
    assert attempt(lambda: body("2026-01-02")) == "2026-01-02"
    assert ran == [1]


def test_elsewhere_a_datetime_is_a_result_like_any_other(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    assert [attempt(lambda: datetime(2026, 1, 2)) for _ in range(2)] == [datetime(2026, 1, 2)] * 2


def test_under_lambda_a_steps_result_may_be_a_datetime(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "reviewer")
    assert attempt(lambda: step("when", lambda: datetime(2026, 1, 2)).isoformat()) == "2026-01-02T00:00:00"


def test_under_lambda_a_decimal_passes_as_lambdas_own_json_takes_it(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """awslambdaric's encoder writes a Decimal as a number."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "reviewer")
    assert [attempt(lambda: {"price": Decimal("1.10")}) for _ in range(2)] == [{"price": Decimal("1.10")}] * 2


def test_once_says_which_result_it_cannot_keep(store: Watched) -> None:
    for _ in range(2):
        with pytest.raises(NotSerializable):
            once("k", Opaque, store=store)


def test_a_result_that_cannot_be_stored_releases_the_lease_at_once(attempt: Attempt) -> None:
    with pytest.raises(NotSerializable):
        attempt(lambda: Opaque())
    assert attempt(lambda: "done") == "done"


def test_sqlite_is_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "durably.db"

    @durable(store=SQLiteStore(path), name="f", id=lambda event, context: "1")
    def handler(event: Any, context: Any) -> int:
        return step("a", lambda: 1)

    handler({}, None)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_strings_that_json_finds_hard_come_back(attempt: Attempt) -> None:
    value = ["\x00", "\ud800", "é\u2028", "\t\n", 2**80, -0.0, 1e308, {"__durably__": 1, "$type": "x", "": None}]
    seen: list[Any] = []

    def body() -> None:
        seen.append(step("odd", lambda: value))
        if len(seen) == 1:
            raise LookupError

    with pytest.raises(LookupError):
        attempt(body)
    attempt(body)
    assert seen == [value, value]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=repr)
def test_numbers_that_json_does_not_have_come_back_or_say_so(attempt: Attempt, value: float) -> None:
    seen: list[Any] = []

    def body() -> None:
        try:
            seen.append(repr(step("odd", lambda: value)))
        except NotSerializable as error:
            seen.append(str(error))
        if len(seen) == 1:
            raise LookupError

    with pytest.raises(LookupError):
        attempt(body)
    attempt(body)
    assert seen[0] == seen[1]
    assert seen[0] == repr(value) or "'odd'" in seen[0]
