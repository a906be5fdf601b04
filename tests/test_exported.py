"""Export and import: a line that is no execution is refused whole, and one that goes meanwhile stops nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from durably import DurablyError, SQLiteStore, durable, step
from durably.cli.app import durably as command_line
from durably.history import keeping
from durably.history.exported import from_line
from durably.history.reading import NoSuchExecution, list_executions


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(tmp_path / "d.db")


@pytest.fixture
def line(store: SQLiteStore) -> str:
    return exported(store, "a")


def exported(store: SQLiteStore, id: str) -> str:
    @durable(id=lambda event, context: event["id"], name="shop", store=store)
    def handler(event: Any, context: Any) -> str:
        step("first", lambda: 1)
        step("second", lambda: 2)
        return "done"

    handler({"id": id}, None)
    return keeping.to_line(store, f"shop/{id}")


def durably(store: SQLiteStore, *words: str, text: str | bytes | None = None) -> Any:
    return CliRunner().invoke(command_line, [*words, "--store", f"sqlite:///{store.path}"], input=text)


def head(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda whole: whole["head"].update(fields)


def with_first_entry(**fields: Any) -> Callable[[dict[str, Any]], object]:
    def change(whole: dict[str, Any]) -> None:
        meta, tab, rest = whole["segments"][0][3].partition("\t")
        whole["segments"][0][3] = json.dumps(json.loads(meta) | fields) + tab + rest

    return change


def drop_first_segment(whole: dict[str, Any]) -> None:
    del whole["segments"][0]


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a time out of range": (head(began=1e18), "began is 1e\\+18"),
    "a time that is no number": (head(updated="now"), "updated is 'now'"),
    "no time at all": (head(lease_until=float("nan")), "lease_until is nan"),
    "an expiry of another type": (head(expires_at=True), "expires_at is True"),
    "an id that is no text": (head(id=7), "the id is 7"),
    "an empty id": (head(id=" "), "the id is empty"),
    "an id too long for a key": (head(id="x" * 3000), "the id has 3,000 bytes"),
    "a lone surrogate in the id": (head(id="shop/\ud800"), "surrogates not allowed"),
    "an unknown status": (head(status="asleep"), "status 'asleep'"),
    "an attempt that is no number": (head(attempt="1"), "attempt is '1'"),
    "an attempt that is missing": (head(attempt=9), "in the place of attempt 9"),
    "a list for a head": (lambda whole: whole.update(head=[]), "TypeError"),
    "a head with less": (lambda whole: whole["head"].pop("owner"), "owner"),
    "an event that is no JSON": (lambda whole: whole.update(event="{"), "JSONDecodeError"),
    "an event that is nested without end": (lambda whole: whole.update(event="[" * 100_000), "RecursionError"),
    "a result that is no text": (lambda whole: whole.update(result=1), "the result is 1"),
    "a lone surrogate in the result": (lambda whole: whole.update(result='"\ud800"'), "surrogates"),
    "no segments": (lambda whole: whole.pop("segments"), "'segments' is missing"),
    "a gap": (drop_first_segment, "segment 2 stands in the place of segment 1"),
    "an unknown kind": (lambda whole: whole["segments"][0].__setitem__(3, '{"dreamt":"a"}'), "'dreamt'"),
    "a step that is no text": (with_first_entry(result=5), "a name is 5"),
    "an entry's time out of range": (with_first_entry(at=1e300), "at is 1e\\+300"),
    "an entry of an attempt to come": (with_first_entry(attempt=5), "of attempt 5, and there were 1"),
    "a newer format": (lambda whole: whole.update(durably=99), "newer durably"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_line_that_is_no_execution_is_refused_with_what_is_wrong(
    case: str, line: str, store: SQLiteStore, tmp_path: Path
) -> None:
    change, told = CHANGES[case]
    whole = json.loads(line)
    change(whole)
    with pytest.raises(DurablyError, match=told):
        from_line(json.dumps(whole))
    other = SQLiteStore(tmp_path / "other.db")
    run = durably(other, "import", "-", text=f"{exported(store, 'b')}\n{json.dumps(whole)}\n")
    assert run.exit_code == 1, run.output
    assert "line 2:" in run.output
    listed = durably(other, "ls", "--json")
    assert [one["id"] for one in json.loads(listed.output)["executions"]] == ["shop/b"]


@pytest.mark.parametrize("raw", [b"\xff\xfe\n", b"[" * 100_000, b"null\n", b"[]\n", b'"text"\n', b"1" * 5000, b"{\n"])
def test_bytes_that_are_no_line_are_refused_by_their_number(raw: bytes, store: SQLiteStore) -> None:
    run = durably(store, "import", "-", text=b"\n" + raw)
    assert run.exit_code == 1
    assert "line 2: it is no line of an export" in run.output


def test_a_line_as_it_was_exported_is_read_as_it_was(line: str, store: SQLiteStore) -> None:
    head, segments = from_line(line)
    assert head == store.read("shop/a", until=1e12)
    assert segments == store.load("shop/a", head.generation, until=1e12)
    assert from_line(line.encode()) == (head, segments)


class Purging(SQLiteStore):
    """Deletes one execution when its journal is asked for: between the list and the line."""

    doomed = "shop/b"

    def load(self, execution: str, generation: str, *, until: float) -> Any:
        if execution == self.doomed:
            self.delete(execution, generation, until=until)
        return super().load(execution, generation, until=until)


def test_an_execution_that_goes_while_it_is_read_is_no_half_line(store: SQLiteStore) -> None:
    exported(store, "b")
    with pytest.raises(NoSuchExecution):
        keeping.to_line(Purging(store.path), "shop/b")


def test_an_export_goes_on_when_one_goes_meanwhile(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for id in ("a", "b", "c"):
        exported(store, id)
    assert len(list_executions(store).rows) == 3
    monkeypatch.setattr("durably.cli.shared.open_store", lambda url: Purging(store.path))
    run = durably(store, "export", "-o", str(tmp_path / "all.jsonl"))
    assert run.exit_code == 0, run.output
    assert "2 executions exported, 1 went meanwhile" in run.output
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 2
