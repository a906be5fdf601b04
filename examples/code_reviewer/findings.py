"""The application's own table of findings: DynamoDB where FINDINGS_TABLE names one, else a SQLite file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import asdict

from .github import PullRequest
from .model import Finding


def save(pull: PullRequest, findings: list[Finding]) -> int:
    """Keep the findings. A put by id: done twice it is done once, so the step needs no `recover`."""
    rows = [{**asdict(finding), "id": f"{pull.repo}#{pull.number}@{pull.head}/{finding.id}"} for finding in findings]
    if table := os.environ.get("FINDINGS_TABLE"):
        _put(table, rows)
    else:
        _insert(os.environ.get("FINDINGS_DB", "findings.db"), rows)
    return len(rows)


def _put(table: str, rows: list[dict[str, object]]) -> None:
    import boto3

    # boto3's retries stay on here: the same put again changes nothing.
    with boto3.resource("dynamodb").Table(table).batch_writer(overwrite_by_pkeys=["id"]) as batch:
        for row in rows:
            batch.put_item(Item=row)


def _insert(path: str, rows: list[dict[str, object]]) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE IF NOT EXISTS findings (id TEXT PRIMARY KEY, path, line INTEGER, severity, text)")
        db.executemany("INSERT OR REPLACE INTO findings VALUES (:id, :path, :line, :severity, :text)", rows)
