"""The same reviewer on the ten lines durably grew from: look an id up; a result is there, return it; else run, store.

They are right as long as nothing dies between `fn` and the INSERT, and nobody else runs at the same time.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import chain
from typing import Any

from . import findings, github
from .github import ChangedFile, PullRequest
from .model import Finding
from .reviewer import WORKERS, analyse, changed_files, pull_request, review_of, summary


def once(id: str, fn: Callable[..., Any], *args: Any) -> Any:
    """The ten lines."""
    with closing(sqlite3.connect(os.environ["CHECKPOINTS_DB"], timeout=30, isolation_level=None)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS checkpoints (id TEXT PRIMARY KEY, result TEXT)")
        row = db.execute("SELECT result FROM checkpoints WHERE id = ?", (id,)).fetchone()
        if row:
            return json.loads(row[0])
        result = fn(*args)
        db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (id, json.dumps(result)))
        return result


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The reviewer's handler, checkpoint by checkpoint."""
    id, pull = event["detail"]["metadata"]["id"], pull_request(event)
    comment = once(f"{id}/start-comment", github.create_comment, pull, "Review started.")
    files = changed_files(partial(github.list_files, pull))
    with ThreadPoolExecutor(WORKERS) as pool:
        each = pool.map(lambda file: once(f"{id}/analyse[{file.path}]", analyse_as_dicts, pull, file), files)
    found = [Finding(**one) for one in chain.from_iterable(each)]
    once(f"{id}/save-findings", findings.save, pull, found)
    threads, text = review_of(files, found)
    review = once(f"{id}/review", github.create_review, pull, text, threads)
    once(f"{id}/done-comment", github.edit_comment, pull, comment, f"Review done: {summary(files, found)}")
    return {"comment": comment, "review": review, "files": len(files), "findings": len(found)}


def analyse_as_dicts(pull: PullRequest, file: ChangedFile) -> list[dict[str, Any]]:
    """A table of JSON gives no dataclasses back."""
    return [asdict(finding) for finding in analyse(pull, file)]
