"""The store in one SQLite file: the default on a laptop, safe between processes.

WAL with synchronous=FULL: what was acknowledged is on disk (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TypeVar

from .. import claims
from ..clock import SYSTEM, Clock
from ..entries import Claim, Claimed, Ending, Head, Segment, entries_to_text, segment_from_text
from ..errors import StoreError
from .heads import head_to_text, stored_head

T = TypeVar("T")

WAIT_MAX_MS = 60_000
_open_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()
_closed_for_fork: list[SQLiteStore] = []
_forking = threading.Lock()

_TABLES = """
CREATE TABLE IF NOT EXISTS executions (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, began REAL NOT NULL, head TEXT NOT NULL, event TEXT, result TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS executions_newest ON executions (began, id);
CREATE TABLE IF NOT EXISTS journal (
    execution TEXT NOT NULL, generation TEXT NOT NULL, number INTEGER NOT NULL, owner TEXT NOT NULL,
    entries TEXT NOT NULL, expires_at REAL, PRIMARY KEY (execution, generation, number)
) WITHOUT ROWID;
"""


class SQLiteStore:
    """Journals in the SQLite file at `path`, which is made, with its folder, at first use."""

    def __init__(
        self, path: str | os.PathLike[str], *, redact: str | Sequence[str] = (), clock: Clock = SYSTEM
    ) -> None:
        self.path = Path(path)
        self.redact = redact
        self.clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._wait_ms = 0
        self._file: tuple[int, int] | None = None
        with _forking:
            _open_stores.add(self)

    def __del__(self) -> None:
        # Python 3.13 warns of a connection that is collected open.
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()

    def claim(self, claim: Claim, *, until: float) -> Claimed:
        """See Store.claim."""

        def work(connection: sqlite3.Connection) -> Claimed:
            now = self.clock.now()
            head = self._head(connection, claim.id)
            standing = claims.standing(head, claim, now)
            if head is not None and standing in ("held", "finished"):
                return Claimed(standing, head)
            new = claims.claimed(head, claim, now)
            self._put(connection, new, head)
            return Claimed(standing, new)

        return self._transaction(work, until)

    def load(self, execution: str, generation: str, *, until: float) -> list[Segment]:
        """See Store.load."""
        query = "SELECT number, owner, entries, expires_at FROM journal WHERE execution = ? AND generation = ? ORDER BY number"
        rows = self._with_connection(lambda db: db.execute(query, (execution, generation)).fetchall(), until)
        return [
            segment_from_text(execution, generation, number, owner, text, expires_at)
            for number, owner, text, expires_at in rows
        ]

    def append(self, segment: Segment, *, until: float) -> bool:
        """See Store.append."""
        key = (segment.execution, segment.generation, segment.number)
        text = entries_to_text(segment.entries)

        def work(connection: sqlite3.Connection) -> bool:
            try:
                connection.execute(
                    "INSERT INTO journal (execution, generation, number, owner, entries, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
                    (*key, segment.owner, text, segment.expires_at),
                )
            except sqlite3.IntegrityError:
                query = "SELECT owner FROM journal WHERE execution = ? AND generation = ? AND number = ?"
                return bool(connection.execute(query, key).fetchone()[0] == segment.owner)
            return True

        return self._with_connection(work, until, in_the_same_file=True)

    def renew(self, execution: str, owner: str, lease_s: float, *, until: float) -> bool:
        """See Store.renew."""
        return self._change(execution, owner, lambda head, now: head._replace(lease_until=now + lease_s), until)

    def end(self, execution: str, owner: str, ending: Ending, *, until: float) -> bool:
        """See Store.end."""
        return self._change(execution, owner, lambda head, now: claims.ended(head, ending, now), until)

    def read(self, execution: str, *, until: float) -> Head | None:
        """See Store.read."""
        head = self._with_connection(lambda connection: self._head(connection, execution), until)
        return None if head is None or claims.is_expired(head, self.clock.now()) else head

    def newest(
        self, limit: int, *, before: tuple[float, str] | None = None, expired: bool = False, until: float
    ) -> list[Head]:
        """See Store.newest."""
        query = "SELECT id, head FROM executions WHERE (began, id) < (?, ?) ORDER BY began DESC, id DESC"

        def work(connection: sqlite3.Connection) -> list[Head]:
            now = self.clock.now()
            # Closed, not left to the collector: a statement that is still open holds up the WAL's checkpoint.
            with closing(connection.execute(query, before or (9e99, ""))) as rows:
                found = (stored_head(id, text, None, None) for id, text in rows)
                return list(islice((head for head in found if expired or not claims.is_expired(head, now)), limit))

        return [head._replace(attempts=()) for head in self._with_connection(work, until)]

    def restore(self, head: Head, *, until: float) -> bool:
        """See Store.restore."""

        def work(connection: sqlite3.Connection) -> bool:
            there = self._head(connection, head.id)
            if there is not None and not claims.is_expired(there, self.clock.now()):
                return False
            self._put(connection, head, there)
            return True

        return self._transaction(work, until)

    def delete(self, execution: str, generation: str, *, updated: float | None = None, until: float) -> bool:
        """See Store.delete."""

        def work(connection: sqlite3.Connection) -> bool:
            if not claims.is_deletable(self._head(connection, execution), generation, updated, self.clock.now()):
                return False
            connection.execute("DELETE FROM executions WHERE id = ?", (execution,))
            # And what an earlier generation left, which has no head to be found by.
            gone = "DELETE FROM journal WHERE execution = ? AND (generation = ? OR expires_at <= ?)"
            connection.execute(gone, (execution, generation, self.clock.now()))
            return True

        return self._transaction(work, until)

    def _change(self, execution: str, owner: str, change: Callable[[Head, float], Head], until: float) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            head = self._head(connection, execution)
            if head is None or not claims.is_holder(head, owner):
                return False
            head = change(head, self.clock.now())
            connection.execute(
                "UPDATE executions SET status = ?, head = ?, result = ? WHERE id = ?",
                (head.status, head_to_text(head), head.result, execution),
            )
            return True

        return self._transaction(work, until)

    def _wait_for_others(self, connection: sqlite3.Connection, left_ms: float) -> None:
        """SQLite waits by itself for another process's write to end; at least a little, also when time is short."""
        wait_ms = min(WAIT_MAX_MS, max(100, int(left_ms)))
        # Telling it costs a third of a small append, and a wait that is a tenth longer harms nobody.
        if not wait_ms <= self._wait_ms <= wait_ms * 1.1:
            connection.execute(f"PRAGMA busy_timeout = {wait_ms}")
            self._wait_ms = wait_ms

    @staticmethod
    def _put(connection: sqlite3.Connection, head: Head, there: Head | None) -> None:
        if there is not None and there.generation != head.generation:
            # No head would lead a purge to it any more, and nothing here expires by itself.
            gone = "DELETE FROM journal WHERE execution = ? AND generation = ?"
            connection.execute(gone, (there.id, there.generation))
        connection.execute(
            "INSERT OR REPLACE INTO executions (id, status, began, head, event, result) VALUES (?, ?, ?, ?, ?, ?)",
            (head.id, head.status, head.began, head_to_text(head), head.event, head.result),
        )

    @staticmethod
    def _head(connection: sqlite3.Connection, execution: str) -> Head | None:
        row = connection.execute("SELECT head, event, result FROM executions WHERE id = ?", (execution,)).fetchone()
        return None if row is None else stored_head(execution, *row)

    def _transaction(self, work: Callable[[sqlite3.Connection], T], until: float) -> T:
        def whole(connection: sqlite3.Connection) -> T:
            try:
                connection.execute("BEGIN IMMEDIATE")
                answer = work(connection)
                connection.execute("COMMIT")
            finally:
                _leave_transaction(connection)
            return answer

        return self._with_connection(whole, until)

    def _with_connection(
        self, work: Callable[[sqlite3.Connection], T], until: float, *, in_the_same_file: bool = False
    ) -> T:
        with self._lock:
            try:
                connection = self._connect(until, in_the_same_file)
                _leave_transaction(connection)
                self._wait_for_others(connection, (until - self.clock.monotonic()) * 1000)
                return work(connection)
            except (sqlite3.Error, OSError) as error:
                raise self._told(error) from error

    def _connect(self, until: float, in_the_same_file: bool) -> sqlite3.Connection:
        if self._file is not None and self._file != self._file_there():
            # Deleted, or replaced: what is written to it from now on nobody would ever read, and other processes already
            # have another. Attempts that run lose their lease, and append nothing to a file that has no head of theirs.
            if in_the_same_file:
                raise FileNotFoundError("the file was deleted or replaced while an attempt was at work on it")
            if self._connection is not None:
                self._connection.close()
            self._connection = self._file = None
        while self._connection is None:
            if str(self.path) == ":memory:":
                raise StoreError(
                    "SQLite keeps ':memory:' for one connection, and a fork ends it. Use memory:// instead."
                )
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(_TABLES)
                self._connection, self._wait_ms, self._file = connection, 0, self._file_there()
            except sqlite3.OperationalError as error:
                connection.close()
                # Several processes that make the file WAL at once: SQLite says "locked" to all but one without waiting,
                # since two that wait for each other's lock would wait for ever.
                if "locked" not in str(error) or self.clock.monotonic() >= until:
                    raise
                self.clock.sleep(0.01)
            except BaseException:
                connection.close()
                raise
        return self._connection

    def _file_there(self) -> tuple[int, int] | None:
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return None
        return there.st_dev, there.st_ino

    def _told(self, error: Exception) -> StoreError:
        return StoreError(
            f"the SQLite store {str(self.path)!r} can't be used: {error}. Check that its folder can be written, that the "
            "disk has room and that it is a SQLite file; another store is set by DURABLY_STORE, e.g. sqlite:///path."
        )


def _leave_transaction(connection: sqlite3.Connection) -> None:
    """Roll back what an interrupt or an error left open: it locks the file for all, and what is written inside it is lost.

    A full disk rolls back by itself, and a rollback of nothing would hide what went wrong.
    """
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _close_before_fork() -> None:
    """No connection crosses a fork: a child would take its parent's locks on the file for its own
    (https://www.sqlite.org/howtocorrupt.html, section 2.6). Both open it again at their next call."""
    _forking.acquire()  # one thread at a time: two that fork at once would give back each other's locks
    for store in list(_open_stores):
        store._lock.acquire()
        _closed_for_fork.append(store)
        if store._connection is not None:
            store._connection.close()
            store._connection = None


def _go_on_after_fork() -> None:
    while _closed_for_fork:
        _closed_for_fork.pop()._lock.release()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_before_fork, after_in_parent=_go_on_after_fork, after_in_child=_go_on_after_fork)
