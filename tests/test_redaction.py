"""`redact=`: what history never shows, and what of it is never stored."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from durably import MemoryStore, SQLiteStore, StoreError, execution, step
from durably.entries import Entry, entry_from_line
from durably.redaction import redacted
from durably.stores.url import open_store

from .contract import UNTIL


def charge(card: dict[str, str], token: str, *notes: str) -> dict[str, str]:
    return {"receipt": "r-1", "secret": "s3cret"}


def outcome_of(store: Any, name: str) -> Entry:
    head = store.read("execution/e", until=UNTIL)
    entries = [entry for segment in store.load(head.id, head.generation, until=UNTIL) for entry in segment.entries]
    return next(entry for entry in entries if entry.step == name and entry.kind == "result")


def run(store: Any, **options: Any) -> Any:
    with execution("e", store=store):
        return step("charge", charge, {"number": "4242", "name": "Ann"}, "t0ken", "n1", record_args=True, **options)


def test_arguments_that_match_by_field_or_parameter_are_not_stored() -> None:
    store = MemoryStore()
    run(store, redact=("Number", "tok*"))
    assert json.loads(outcome_of(store, "charge").arguments) == [{"number": "•••", "name": "Ann"}, "•••", "n1"]


def test_a_variadic_parameter_is_known_by_its_name() -> None:
    store = MemoryStore()
    run(store, redact="notes")
    assert json.loads(outcome_of(store, "charge").arguments)[2] == "•••"


class Sealing:
    """A codec whose text is no JSON, as one that encrypts has."""

    def encode(self, value: object) -> str:
        if value == "t0ken":
            raise KeyError("no key")
        return "sealed:" + json.dumps(value).encode().hex()

    def decode(self, text: str, returns: object = None) -> object:
        return json.loads(bytes.fromhex(text.removeprefix("sealed:")))


def test_arguments_of_a_codec_whose_text_is_no_json_are_hidden_whole_and_the_step_runs() -> None:
    store = MemoryStore(redact="number")
    with execution("e", store=store, codec=Sealing()):
        done = step("charge", charge, {"number": "4242"}, "t0ken", record_args=True)
    assert done == charge({}, "")
    assert json.loads(outcome_of(store, "charge").arguments) == ["•••", {"$not_stored": "str"}]


def test_a_result_is_stored_whole_and_replays_so(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "d.db")
    first = run(store, redact=["secret"])
    entry = outcome_of(store, "charge")
    assert entry.redact == ("secret",)
    assert json.loads(entry.payload) == first == {"receipt": "r-1", "secret": "s3cret"}
    assert run(store, redact=["secret"]) == first


def test_what_the_store_hides_is_hidden_of_every_step() -> None:
    store = MemoryStore(redact="token")
    run(store)
    assert json.loads(outcome_of(store, "charge").arguments)[1] == "•••"


@pytest.mark.parametrize("url", ["sqlite:///{}/d.db?redact=token,*secret*", "memory://?redact=token,*secret*"])
def test_a_url_names_what_is_hidden(url: str, tmp_path: Path) -> None:
    assert open_store(url.format(tmp_path)).redact == ("token", "*secret*")  # type: ignore[attr-defined]
    assert not (tmp_path / "d.db?redact=token,*secret*").exists()


def test_another_parameter_in_a_url_is_refused() -> None:
    with pytest.raises(StoreError, match="one parameter"):
        open_store("dynamodb://table?redact=a&region=x")


def test_an_entry_keeps_what_is_hidden_of_it() -> None:
    entry = Entry("result", "a", "1", 1, 2.0, 3.0, redact=("token", "käse"))
    assert entry_from_line(entry.to_line()) == entry


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"a":{"token":"x","b":[{"TOKEN":1}]}}', '{"a":{"token":"•••","b":[{"TOKEN":"•••"}]}}'),
        ('{"body":"{\\"token\\": \\"x\\"}"}', '{"body":"{\\"token\\":\\"•••\\"}"}'),
        ("not json", '"•••"'),
        ("", ""),
    ],
)
def test_fields_are_hidden_at_any_depth(text: str, shown: str) -> None:
    assert redacted(text, ["token"]) == shown


@pytest.mark.parametrize(
    "value",
    ['\n{"token":"LEAK"}', '"{\\"token\\": \\"LEAK\\"}"', b'{"token": "LEAK"}', [' [{"Token": "LEAK"}]']],
    ids=["white space", "twice a string", "bytes", "in a list"],
)
def test_json_in_disguise_is_hidden_too(value: Any) -> None:
    store = MemoryStore(redact="token")
    with execution("e", store=store):
        step("s", lambda given: None, value, record_args=True)
    stored = outcome_of(store, "s").arguments
    assert "LEAK" not in stored
    assert not any(b"LEAK" in base64.b64decode(part) for part in re.findall(r"[\w+/]{16,}=*", stored))


def test_plain_text_and_bytes_stay_what_they_are() -> None:
    for text in ('{"body":"{not json"}', '{"body":"\\"quoted\\""}', '{"$bytes":"/w=="}', '{"$bytes":17}'):
        assert json.loads(redacted(text, ["token"])) == json.loads(text)
