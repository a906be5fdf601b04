"""What `durably doctor` looks at in a SQLite store."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from .checks import Check

ROOM_MIN_BYTES = 100_000_000


def check_file(path: Path) -> list[Check]:
    """Is it there, can it be written, is it whole, is there room."""
    if not path.exists():
        return [
            Check(
                "file",
                "wrong",
                f"there is no {path}",
                "The first execution makes it; or correct --store, DURABLY_STORE.",
            )
        ]
    checks = [_writable(path)]
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            checks += _inside(database)
    except sqlite3.Error as error:
        checks.append(Check("database", "wrong", f"it can't be read: {error}", "Restore it from a copy."))
    free = shutil.disk_usage(path.parent).free
    room = f"{free / 1e9:.1f} GB free"
    if free < ROOM_MIN_BYTES:
        checks.append(Check("disk", "wrong", room, "Make room: an append that can't be written stops its attempt."))
    else:
        checks.append(Check("disk", "ok", room))
    return checks


def _writable(path: Path) -> Check:
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return Check("file", "ok", f"{path}, {path.stat().st_size / 1e6:.1f} MB")
    fix = f"Let this user write the file and its folder {path.parent}: SQLite keeps its log beside it."
    return Check("file", "wrong", f"{path} can't be written", fix)


def _inside(database: sqlite3.Connection) -> list[Check]:
    told = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if told != "ok":
        return [Check("database", "wrong", told, "Restore it from a copy; `durably export` saves what can be read.")]
    if not {"executions", "journal"} <= tables:
        return [Check("database", "wrong", "it is no durably store", "Correct --store, DURABLY_STORE.")]
    mode = str(database.execute("PRAGMA journal_mode").fetchone()[0])
    count = int(database.execute("SELECT count(*) FROM executions").fetchone()[0])
    return [Check("database", "ok", f"whole, {count} execution{'' if count == 1 else 's'}, journal mode {mode}")]
