"""`durably purge`, `export` and `import`: what is kept, where, and for how long."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import click
from rich.progress import track

from ..errors import DurablyError
from ..history import keeping
from ..history.exported import from_line
from ..history.reading import NoSuchExecution, list_executions
from ..stores.protocol import Store
from .output import clean, console, print_json
from .shared import DURATION, MOMENT, fail, find_id, takes_json, takes_new_store, takes_store

T = TypeVar("T")

DELETED_AT_ONCE = 8
REDELIVERY = timedelta(days=14)
"""The longest time a source keeps an event for redelivery (SQS)."""


@click.command()
@click.option(
    "--older", type=DURATION, required=True, metavar="TIME", help="nothing has happened to them for so long (90d)"
)
@click.option("--unfinished", is_flag=True, help="also what waits or was killed; never what runs")
@click.option("--dry-run", is_flag=True, help="say what would be deleted, and delete nothing")
@click.option("--yes", is_flag=True, help="do not ask")
@takes_json
@takes_store
def purge(store: Store, older: timedelta, unfinished: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete completed, failed and cancelled executions, and what has expired and still lies there. Asks first.

    An event that is delivered again after its execution was deleted is a new one, and runs from the start.
    """
    before = store.clock.now() - older.total_seconds()
    found = list(keeping.old_executions(store, before, unfinished=unfinished))
    counts = Counter("expired" if one.expired else one.status for one in found)
    if not as_json:
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        console().print(f"{_count(len(found))}{': ' + told if told else ''}")
    if found and not dry_run and not yes:
        soon = (
            " An event may still be delivered again within 14 days, and would then run anew."
            if older < REDELIVERY
            else ""
        )
        click.confirm(f"Delete {_count(len(found))} for good?{soon}", abort=True, err=True)
    deleted = 0 if dry_run else sum(_all_deleted(store, found, quiet=as_json))
    if as_json:
        print_json({"dry_run": dry_run, "found": dict(counts), "deleted": deleted})
    elif not dry_run and found:
        left = len(found) - deleted
        console().print(
            f"{deleted} deleted" + (f", {left} changed since they were listed, and are kept" if left else "")
        )


def _all_deleted(store: Store, found: list[keeping.Old], *, quiet: bool) -> list[bool]:
    with ThreadPoolExecutor(DELETED_AT_ONCE) as pool:
        return list(_bar(pool.map(lambda old: keeping.delete(store, old), found), "deleting", len(found), quiet))


def _bar(things: Iterable[T], told: str, total: int, quiet: bool) -> Iterable[T]:
    return track(things, told, total=total, console=console(stderr=True), transient=True, disable=quiet)


@click.command()
@click.argument("ids", nargs=-1)
@click.option("--since", type=MOMENT, metavar="TIME", help="without IDs: those begun since then (1d, ISO 8601)")
@click.option(
    "-o", "--output", type=click.File("w", lazy=True), default="-", metavar="FILE", help="default: standard output"
)
@takes_store
def export(store: Store, ids: tuple[str, ...], since: float | None, output: Any) -> None:
    """Executions as JSON lines, one each, whole: with events and results, and nothing redacted. Keep the file accordingly."""
    chosen: Iterable[str] = [find_id(store, id) for id in ids] if ids else _all_ids(store, since)
    count = gone = 0
    for id in chosen:
        try:
            line = keeping.to_line(store, id)
        except NoSuchExecution:
            if ids:
                raise
            gone += 1  # it expired, or was purged, after it was listed
            continue
        output.write(line + "\n")
        count += 1
    output.flush()
    click.echo(f"{_count(count)} exported" + (f", {gone} went meanwhile" if gone else ""), err=True)


def _all_ids(store: Store, since: float | None) -> Iterable[str]:
    before: tuple[float, str] | None = None
    while True:
        page = list_executions(store, since=since, limit=200, before=before)
        yield from (row.head.id for row in page.rows)
        if page.next is None:
            return
        before = page.next


@click.command("import")
@click.argument("file", type=click.File("rb"))
@takes_json
@takes_new_store
def import_(store: Store, file: Any, as_json: bool) -> None:
    """Executions from an export (- for standard input). What is there is never overwritten: exit code 1, the rest comes in."""
    imported: list[str] = []
    refused: list[str] = []
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            head, segments = from_line(line)
        except DurablyError as error:
            raise fail(f"line {number}: {error} The lines before it are imported.") from error
        (imported if keeping.bring_in(store, head, segments) else refused).append(head.id)
    if as_json:
        print_json({"imported": imported, "refused": refused})
    else:
        for id in refused:
            console(stderr=True).print(f"refused, it is there already or has expired: {clean(id)}", soft_wrap=True)
        console().print(f"{_count(len(imported))} imported")
    if refused:
        sys.exit(1)


def _count(number: int) -> str:
    return f"{number} execution{'' if number == 1 else 's'}"
