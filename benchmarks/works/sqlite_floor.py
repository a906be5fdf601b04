"""A durably step on SQLite beside a bare `INSERT` and commit of as many bytes: same disk, same pragmas, in turns.

Spec: `{"file": path, "rounds": n}`.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from typing import Any

from harness import Steps

from durably import SQLiteStore, durable, step

STEPS = 100
ROW = "x" * 190
"""About what a segment of one small step takes."""


def main() -> None:
    spec = json.loads(sys.argv[1])
    bare = sqlite3.connect(spec["file"] + "-bare", isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("CREATE TABLE rows (id TEXT, number INTEGER, text TEXT, PRIMARY KEY (id, number)) WITHOUT ROWID")
    store, rounds = SQLiteStore(spec["file"]), []
    durably_round(store, "warm")
    for number in range(spec["rounds"]):
        pair = {"bare_ms": bare_round(bare, f"r-{number}"), "durably_ms": durably_round(store, f"r-{number}")}
        rounds.append(pair)
    print("\n" + json.dumps(rounds))


def bare_round(connection: sqlite3.Connection, id: str) -> float:
    began = time.perf_counter()
    for number in range(STEPS):
        connection.execute("INSERT INTO rows VALUES (?, ?, ?)", (id, number, ROW))
    return (time.perf_counter() - began) * 1000 / STEPS


def durably_round(store: SQLiteStore, id: str) -> float:
    """Milliseconds a step, between the execution's first and its last: claim and finish apart."""
    trivial, took = Steps().trivial, 0.0

    @durable(store=store, name="bench", id=lambda event, context: id, keep_event=False)
    def handler(event: Any, context: Any) -> None:
        nonlocal took
        began = time.perf_counter()
        for number in range(STEPS):
            step(f"step-{number}", trivial, number)
        took = time.perf_counter() - began

    handler({}, None)
    return took * 1000 / STEPS


if __name__ == "__main__":
    main()
