"""The three stores, each with a count of what it asked of what is behind it: requests, SQL statements, or calls."""

from __future__ import annotations

import collections
import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from durably import DynamoDBStore, MemoryStore, SQLiteStore
from durably.stores.protocol import Store
from tests.clocks import FakeClock
from tests.servers import AWS_ENVIRONMENT, Unavailable, client, start
from tests.servers.faults import FaultProxy

METHODS = frozenset({"claim", "load", "append", "renew", "end", "read", "newest"})
SERVERS = ("dynamodb-local", "ministack")
TABLE = "quick"


class Killed(BaseException):
    """The process died here, as far as the store can tell."""


class Watched:
    """A store on a clock of its own that can die, and what it took since `restart`."""

    def __init__(self, inner: Store, clock: FakeClock, seen: collections.Counter[str] | None = None) -> None:
        self.inner = inner
        self.clock = clock
        self.dead = False
        self.seen: collections.Counter[str] = collections.Counter() if seen is None else seen
        """What was asked of what is behind the store; of the memory store, the calls of its methods."""
        self._counts_calls = seen is None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name not in METHODS:
            return method

        def called(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise Killed
            if self._counts_calls:
                self.seen[name] += 1
            return method(*args, **kwargs)

        return called

    def restart(self) -> None:
        """Count from nothing."""
        self.seen.clear()

    def die(self) -> None:
        """Kill the process: nothing of it reaches the store any more."""
        self.dead = True
        raise Killed

    def come_back(self) -> None:
        """A new process, when the dead one's lease has run out."""
        self.dead = False
        self.clock.advance(60)


@contextlib.contextmanager
def open_memory(folder: Path) -> Iterator[Watched]:
    clock = FakeClock()
    yield Watched(MemoryStore(clock=clock), clock)


@contextlib.contextmanager
def open_sqlite(folder: Path) -> Iterator[Watched]:
    """Statements are seen by SQLite's own trace."""
    clock, seen = FakeClock(), collections.Counter[str]()
    connect = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.set_trace_callback(lambda statement: seen.update([statement.split(None, 1)[0].upper()]))
        return connection

    with mock.patch("sqlite3.connect", traced):
        store = SQLiteStore(folder / "quick.db", clock=clock)
        store.read("nothing", until=clock.monotonic() + 5)
        yield Watched(store, clock, seen)


@contextlib.contextmanager
def open_dynamodb(folder: Path) -> Iterator[Watched]:
    """Requests are seen by the fault layer before the first server that is installed. Raises Unavailable without one."""
    with _first_server() as endpoint:
        client_of_server = client(endpoint)
        DynamoDBStore(TABLE, client=client_of_server).create_table()
        proxy, clock = _Proxy(endpoint), FakeClock()
        with mock.patch.dict(os.environ, AWS_ENVIRONMENT | {"AWS_ENDPOINT_URL_DYNAMODB": proxy.endpoint}):
            store = DynamoDBStore(TABLE, clock=clock)
            store.read("nothing", until=clock.monotonic() + 5)
            yield Watched(store, clock, proxy.seen)
        proxy.close()


OPEN = {"memory": open_memory, "sqlite": open_sqlite, "dynamodb": open_dynamodb}


class _Proxy(FaultProxy):
    """Its requests by operation."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.seen: collections.Counter[str] = collections.Counter()

    def admit(self, request: Any) -> Any:
        with self.lock:
            self.seen[request.operation] += 1
        return super().admit(request)


@contextlib.contextmanager
def _first_server() -> Iterator[str]:
    told = []
    for name in SERVERS:
        try:
            server = start(name)
        except Unavailable as why:
            told.append(str(why))
            continue
        with server:
            yield server.endpoint
        return
    raise Unavailable("; ".join(told))
