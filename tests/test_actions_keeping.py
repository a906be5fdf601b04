"""Purge: what was listed and what is there when the operator says yes are not always the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durably import MemoryStore, SQLiteStore, durable, step
from durably.history import keeping
from durably.history.exported import from_line
from durably.stores.protocol import Store

from .clocks import FakeClock

DAY = 86_400.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def make_handler(store: Store, charged: list[str], **options: Any) -> Any:
    @durable(id=lambda event, context: event["id"], name="shop", store=store, **options)
    def handler(event: Any, context: Any) -> str:
        step("charge", lambda: charged.append(event["id"]), record_args=True)
        if event.get("fails"):
            raise ConnectionError("the mail server is down")
        return "done"

    return handler


def listed(store: Store, *, days: float, unfinished: bool = False) -> list[keeping.Old]:
    return list(keeping.old_executions(store, store.clock.now() - days * DAY, unfinished=unfinished))


def test_what_was_redriven_while_the_operator_thought_is_kept_and_not_paid_again(clock: FakeClock) -> None:
    store, charged = MemoryStore(clock=clock), []
    handler = make_handler(store, charged)
    with pytest.raises(ConnectionError):
        handler({"id": "a", "fails": True}, None)
    clock.advance(DAY)
    (old,) = listed(store, days=0.5, unfinished=True)
    handler({"id": "a"}, None)
    assert not keeping.delete(store, old)
    assert handler({"id": "a"}, None) == "done"
    assert charged == ["a"]


def test_what_expired_long_before_it_is_old_is_found(clock: FakeClock) -> None:
    store, charged = MemoryStore(clock=clock), []
    make_handler(store, charged, expires=timedelta(days=30))({"id": "a"}, None)
    clock.advance(31 * DAY)
    (old,) = listed(store, days=90)
    assert old.expired
    assert keeping.delete(store, old)
    assert listed(store, days=90) == []


def test_what_ran_again_after_it_expired_leaves_nothing_when_it_is_purged_soon(
    clock: FakeClock, tmp_path: Path
) -> None:
    store, charged = SQLiteStore(tmp_path / "d.db", clock=clock), []
    handler = make_handler(store, charged, expires=timedelta(days=1))
    handler({"id": "a"}, None)
    line = keeping.to_line(store, "shop/a")
    clock.advance(1.5 * DAY)
    handler({"id": "a"}, None)
    clock.advance(1.5 * DAY)
    # Another takes the place of the expired one, and goes too.
    head, segments = from_line(line)
    assert keeping.bring_in(store, head._replace(expires_at=clock.now() + DAY), segments)
    clock.advance(DAY)
    (old,) = listed(store, days=0.5)
    assert keeping.delete(store, old)
    with closing(sqlite3.connect(tmp_path / "d.db")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM journal").fetchone() == (0,)


def test_nothing_of_an_earlier_generation_stays_behind(clock: FakeClock, tmp_path: Path) -> None:
    store, charged = SQLiteStore(tmp_path / "d.db", clock=clock), []
    handler = make_handler(store, charged, expires=timedelta(days=1))
    handler({"id": "a"}, None)
    clock.advance(20 * DAY)
    handler({"id": "a"}, None)
    clock.advance(2 * DAY)
    (old,) = listed(store, days=1)
    assert keeping.delete(store, old)
    with closing(sqlite3.connect(tmp_path / "d.db")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM journal").fetchone() == (0,)
