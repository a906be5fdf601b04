"""`durably ls`: executions, newest first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import get_args

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..errors import DurablyError
from ..history.as_json import page_data
from ..history.model import ExecutionRow, ExecutionState, Page
from ..history.reading import PATIENCE_S, list_executions
from ..history.spans import duration_text
from ..history.states import STUCK, is_live
from ..stores.protocol import Store
from .output import console, plain, print_json, state_text, when
from .shared import DURATION, MOMENT, find_id, moment_of, takes_json, takes_store

STATES = get_args(ExecutionState)
WATCHED_EVERY_S = 1.0
PIPE_WIDTH = 4000
"""Twice the longest id."""
COLUMNS = {"state": 0, "attempt": 70, "began": 50, "took": 70, "function": 140, "id": 0}
"""From what width of the terminal on each is shown: an id gets a third of it at least."""


@click.command()
@click.option("--status", type=click.Choice(STATES), help="only these; failed: Fatal, or stuck")
@click.option("--function", help="only this function's")
@click.option("--since", type=MOMENT, metavar="TIME", help="begun since then: 1d, 2h, 2026-11-24T12:00")
@click.option("--text", help="a part of the id")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--before", metavar="ID|TIME", help="the page below that execution, or that time")
@click.option("--stuck", type=DURATION, default=STUCK, metavar="TIME", help="idle for longer has failed (default 6h)")
@click.option("--watch", is_flag=True, help="keep the list current until Ctrl-C")
@takes_json
@takes_store
def ls(
    store: Store,
    status: str | None,
    function: str | None,
    since: float | None,
    text: str | None,
    limit: int,
    before: str | None,
    stuck: timedelta,
    watch: bool,
    as_json: bool,
) -> None:
    """Executions, newest first."""
    below = _cursor(store, before)

    def page() -> Page:
        return list_executions(
            store, status=status, function=function, since=since, text=text, limit=limit, before=below, stuck=stuck
        )

    out = console()
    if watch and (as_json or not out.is_terminal):
        raise DurablyError("--watch draws on a terminal. For a program, `durably tail --json` writes a line an event.")
    if watch:
        _watch(store, page, out)
    elif as_json:
        print_json(page_data(page()))
    else:
        found = page()
        # A pipe has no width of its own, and whoever reads it wants whole ids.
        wide = out if out.is_terminal else console(width=PIPE_WIDTH)
        wide.print(_table(found, store.clock.now(), out.width, whole_ids=True))
        out.print(_footer(found), soft_wrap=True)


def _watch(store: Store, page: Callable[[], Page], out: Console) -> None:
    with Live(console=out, screen=True, auto_refresh=False) as live:
        try:
            while True:
                found = page()
                shown = found._replace(rows=found.rows[: max(1, out.height - 3)])
                live.update(Group(_table(shown, store.clock.now(), out.width), _footer(shown)), refresh=True)
                store.clock.sleep(WATCHED_EVERY_S)
        except KeyboardInterrupt:
            return


def _cursor(store: Store, before: str | None) -> tuple[float, str] | None:
    """What `--before` means: an execution, or a time."""
    if before is None:
        return None
    moment = moment_of(before)
    if moment is not None:
        return (moment, "")
    head = store.read(find_id(store, before), until=store.clock.monotonic() + PATIENCE_S)
    if head is None:
        raise DurablyError(f"--before {before!r}: that execution has just gone. Give a time instead.")
    return (head.began, head.id)


def _table(page: Page, now: float, width: int, *, whole_ids: bool = False) -> Table:
    """Where it is narrow columns are left out, and then only the id gives way: cut, or whole over several lines."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=False)
    names = [name for name, from_width in COLUMNS.items() if width >= from_width]
    for name in names:
        # rich takes what is missing from columns that may wrap: ids are cut (`plain`), states and times never.
        is_long = name in ("function", "id")
        table.add_column(name, no_wrap=not is_long, justify="right" if name in ("attempt", "took") else "left")
    for row in page.rows:
        cells = _cells(row, now)
        if whole_ids:
            cells["id"].no_wrap, cells["id"].overflow = False, "fold"
        table.add_row(*(cells[name] for name in names))
    return table


def _cells(row: ExecutionRow, now: float) -> dict[str, Text]:
    head = row.head
    return {
        "state": state_text(row.state),
        "attempt": Text(str(head.attempt)),
        "began": Text(when(head.began)),
        "took": Text(_took(row, now)),
        "function": plain(head.function),
        "id": plain(head.id),
    }


def _took(row: ExecutionRow, now: float) -> str:
    head = row.head
    if head.status == "running" and not is_live(head, now):
        return ""  # killed: nothing wrote down when
    return duration_text((now if is_live(head, now) else head.updated) - head.began)


def _footer(page: Page) -> Text:
    count = len(page.rows)
    told = f"{count:,} execution{'' if count == 1 else 's'}"
    if page.next is not None:
        told += f", more below: --before {page.next[1]}"
        if page.searched > count:
            told += f" (searched {page.searched:,} so far)"
    return plain(told, "dim")
