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
UNBOUNDED = 10_000
"""The width of what is no terminal: grep and awk want an execution on a line, with its whole id."""


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
        table = _table(found, store.clock.now(), out.width, whole_ids=True)
        if not out.is_terminal:
            out.width = UNBOUNDED
        out.print(table)
        out.print(_footer(found))


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
    """Where it is narrow only the id gives way: cut, or whole over several lines."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=False)
    for name in ("state", "attempt", "began", "took"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("attempt", "took") else "left")
    if width >= 140:
        table.add_column("function", no_wrap=True, overflow="ellipsis")
    table.add_column("id")
    for row in page.rows:
        head = row.head
        cells: list[str | Text] = [state_text(row.state), str(head.attempt), when(head.began), _took(row, now)]
        shown = plain(head.id)
        if whole_ids:
            shown.no_wrap, shown.overflow = False, "fold"
        table.add_row(*cells, *([plain(head.function)] if width >= 140 else []), shown)
    return table


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
