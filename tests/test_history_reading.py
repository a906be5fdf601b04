"""Lists of executions, and what is hidden from everything that is shown."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durably import DynamoDBStore, SQLiteStore, execution, step
from durably.entries import Claim, Ending
from durably.history.as_json import execution_data, page_data
from durably.history.events import events_of
from durably.history.html import html
from durably.history.model import Page
from durably.history.reading import NoSuchExecution, list_executions, read_execution, read_journal
from durably.redaction import patterns_of

from .clocks import FakeClock
from .contract import SessionAt
from .servers import client
from .servers.faults import FaultProxy
from .stores_for_tests import FOREVER, Attempt, Watched

pytest_plugins = ["tests.stores_for_tests"]


class Boom(Exception):
    pass


def make(
    store: Any, id: str, ending: str | None = "completed", function: str = "reviewer", lease_s: float = 30
) -> None:
    store.claim(Claim(id, f"owner-{id}", "g", lease_s, function, function), until=FOREVER)
    if ending is not None:
        assert store.end(id, f"owner-{id}", Ending(ending, ending, "null"), until=FOREVER)  # type: ignore[arg-type]


def ids(page: Page) -> list[str]:
    return [row.head.id for row in page.rows]


@pytest.fixture
def several(tmp_path: Path, clock: FakeClock) -> SQLiteStore:
    """Twelve executions, a minute apart, of two functions and four states."""
    store = SQLiteStore(tmp_path / "d.db", clock=clock)
    for number in range(12):
        ending = ("completed", "waiting", "failed", None)[number % 4]
        make(store, f"e-{number:02}", ending, "reviewer" if number % 2 else "payer")
        clock.advance(60)
    return store


def test_newest_first_in_pages_that_meet(several: SQLiteStore) -> None:
    first = list_executions(several, limit=5)
    second = list_executions(several, limit=5, before=first.next)
    third = list_executions(several, limit=5, before=second.next)
    assert ids(first) + ids(second) + ids(third) == [f"e-{n:02}" for n in reversed(range(12))]
    assert third.next is None


def test_a_page_that_ends_with_the_last_execution_says_there_are_no_more(several: SQLiteStore) -> None:
    assert list_executions(several, limit=12).next is None
    assert list_executions(several, limit=11).next is not None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"status": "completed"}, ["e-08", "e-04", "e-00"]),
        ({"status": "failed"}, ["e-10", "e-06", "e-02"]),
        ({"status": "killed"}, ["e-11", "e-07", "e-03"]),
        ({"function": "payer"}, ["e-10", "e-08", "e-06", "e-04", "e-02", "e-00"]),
        ({"text": "E-1"}, ["e-11", "e-10"]),
        ({"status": "completed", "text": "0", "function": "payer"}, ["e-08", "e-04", "e-00"]),
    ],
)
def test_filters(several: SQLiteStore, wanted: dict[str, str], found: list[str]) -> None:
    assert ids(list_executions(several, **wanted)) == found  # type: ignore[arg-type]


def test_since_ends_the_list(several: SQLiteStore, clock: FakeClock) -> None:
    assert ids(list_executions(several, since=clock.now() - 150)) == ["e-11", "e-10"]


def test_stuck_ones_are_among_the_failed(several: SQLiteStore, clock: FakeClock) -> None:
    clock.advance(6 * 3600)
    found = list_executions(several, status="failed", limit=100)
    assert ids(found) == [f"e-{n:02}" for n in (11, 10, 9, 7, 6, 5, 3, 2, 1)]
    assert list_executions(several, status="failed", stuck=timedelta(hours=10)).rows[0].head.id == "e-10"


def test_a_filtered_list_goes_on_behind_what_it_has_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from durably.history import reading

    monkeypatch.setattr(reading, "SEARCHED_MAX", 200)
    store = SQLiteStore(tmp_path / "d.db")
    for number in range(450):
        make(store, f"e-{number:03}", "completed", "rare" if number == 7 else "common")
    found, before, pages = [], None, 0
    while True:
        page = list_executions(store, function="rare", before=before)
        found, before, pages = found + ids(page), page.next, pages + 1
        if before is None:
            break
    assert (found, pages) == (["e-007"], 3)


def test_a_page_of_many_executions_is_one_query_a_shard_at_the_same_time(
    dynamodb_local: str, fault_proxy: Callable[[str], FaultProxy]
) -> None:
    name = f"many-{uuid.uuid4().hex[:8]}"
    clock = FakeClock()
    DynamoDBStore(name, client=client(dynamodb_local)).create_table()
    proxy = fault_proxy(dynamodb_local)
    store = DynamoDBStore(name, session=SessionAt(proxy.endpoint), clock=clock)
    for number in range(240):
        make(store, f"e-{number:04}")
        clock.advance(1)
    proxy.reset()
    held = [proxy.on("Query").hold() for _ in range(8)]
    proxy.on("Query", times=None).slow(0)
    import threading

    pages: list[Page] = []
    asking = threading.Thread(target=lambda: pages.append(list_executions(store, limit=20)))
    asking.start()
    for rule in held:
        rule.wait_arrived()  # all eight are under way before the first is answered
    for rule in held:
        rule.release()
    asking.join(10)
    assert ids(pages[0]) == [f"e-{n:04}" for n in reversed(range(220, 240))]
    assert [request.operation for request in proxy.requests] == ["Query"] * 8
    # The index is asked for no more than a page of each shard, whatever the table holds.
    assert all(request.body["Limit"] == 22 and "IndexName" in request.body for request in proxy.requests)
    proxy.reset()
    second = list_executions(store, limit=20, before=pages[0].next)
    assert ids(second) == [f"e-{n:04}" for n in reversed(range(200, 220))]
    assert proxy.count() == 8


def test_where_the_list_knows_no_lease_the_head_of_an_old_attempt_is_asked(
    dynamodb_local: str, fault_proxy: Callable[[str], FaultProxy]
) -> None:
    name, clock = f"old-{uuid.uuid4().hex[:8]}", FakeClock()
    DynamoDBStore(name, client=client(dynamodb_local)).create_table()
    proxy = fault_proxy(dynamodb_local)
    store = DynamoDBStore(name, session=SessionAt(proxy.endpoint), clock=clock)
    make(store, "died", None)
    make(store, "alive", None, lease_s=3600)
    make(store, "done")
    clock.advance(90)
    make(store, "young", None)
    proxy.reset()
    page = list_executions(store)
    assert {row.head.id: row.state for row in page.rows} == {
        "died": "killed",
        "alive": "running",
        "done": "completed",
        "young": "running",
    }
    assert proxy.count("GetItem") == 2
    assert ids(list_executions(store, status="killed")) == ["died"]


def test_an_execution_that_is_not_there_is_told_with_what_to_do(store: Watched) -> None:
    with pytest.raises(NoSuchExecution, match=r"no execution 'nope'.*durably ls --text"):
        read_execution(store.inner, "nope")


def test_a_journal_that_an_attempt_overtakes_while_it_is_read_is_read_again(attempt: Attempt, store: Watched) -> None:
    def body(fails: bool) -> None:
        step(f"a-{fails}", lambda: 1)
        if fails:
            raise Boom

    with pytest.raises(Boom):
        attempt(lambda: body(True))
    store.when("load").before(lambda: attempt(lambda: body(False)))
    head, segments = read_journal(store, store.execution)
    assert (head.attempt, head.status, len(segments)) == (2, "completed", 2)


# ---- what is hidden

SECRET = "s3cr3t-value"


def secrets() -> dict[str, Any]:
    return {
        "user": "ann",
        "API_Token": SECRET,
        "deep": [{"password": SECRET, 7: "x"}],
        "body": json.dumps({"token": SECRET}),
    }


def test_redacted_fields_are_in_nothing_that_is_shown(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "d.db", redact=("*token", "password"))
    with execution("1", store=store) as ex:
        step("login", lambda given: secrets(), secrets(), record_args=True)
        ex.result = secrets()
    shown = read_execution(store, "execution/1")
    head, segments = read_journal(store, "execution/1")
    events = events_of(head, segments, 0.0, patterns_of(store))
    assert SECRET in str(segments)
    for told in (json.dumps(execution_data(shown)), html(shown), str(shown), str(events)):
        assert SECRET not in told
    assert shown.steps[0].result is not None
    assert '"user":"ann"' in shown.steps[0].result
    assert "•••" in shown.steps[0].result


def test_a_step_of_its_own_redacts_its_fields_only(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "d.db")
    with execution("1", store=store):
        step("login", secrets, redact=("*token", "password"))
        step("open", lambda: {"token": "shown"})
    shown = read_execution(store, "execution/1")
    assert SECRET not in (shown.steps[0].result or "")
    assert "shown" in (shown.steps[1].result or "")


def test_a_page_as_data_has_the_cursor_of_the_next(several: SQLiteStore) -> None:
    data = page_data(list_executions(several, limit=2))
    assert [row["id"] for row in data["executions"]] == ["e-11", "e-10"]
    assert data["next"] == "e-10"
    assert set(data["executions"][0]) == {"id", "state", "status", "function", "attempt", "began", "updated"}
