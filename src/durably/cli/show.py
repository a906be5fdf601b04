"""`durably show`: one execution, as a waterfall of attempts and steps, or exported."""

from __future__ import annotations

import json
import shlex
from datetime import timedelta

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..errors import DurablyError
from ..history.as_json import execution_data, step_data
from ..history.model import AttemptView, ErrorView, ExecutionView, StepView
from ..history.reading import read_execution
from ..history.rows import Row, rows
from ..history.spans import duration_text, size_text
from ..history.states import STUCK
from ..history.waterfall import Track, waterfall
from ..stores.protocol import Store
from .output import STYLES, clean, clean_lines, console, plain, print_json, state_text, when
from .shared import DURATION, find_id, takes_json, takes_store

SIGNS = {"done": "█", "caught": "█", "failed": "█", "interrupted": "▒", "running": "▓", "replayed": "○"}
TRACEBACK_LINES = 12
TEXT_CHARS = 2000


@click.command()
@click.argument("id")
@click.option("--step", "step_name", metavar="NAME", help="one step: its arguments, result, error, idempotency key")
@click.option("--all", "whole", is_flag=True, help="a row for every step: fan-outs and replays are not gathered")
@click.option("--mermaid", "form", flag_value="mermaid", help="the graph as Mermaid text")
@click.option("--html", "form", flag_value="html", help="a page in one file")
@click.option("--trace", "form", flag_value="trace", help="a trace for ui.perfetto.dev")
@click.option("--stuck", type=DURATION, default=STUCK, metavar="TIME", help="idle for longer has failed (default 6h)")
@takes_json
@takes_store
def show(
    store: Store, id: str, step_name: str | None, whole: bool, form: str | None, stuck: timedelta, as_json: bool
) -> None:
    """One execution. ID is its id, or a part that it alone begins or ends with."""
    view = read_execution(store, find_id(store, id), stuck=stuck)
    if form is not None:
        click.echo(_exported(view, form), nl=False)
    elif step_name is not None:
        step = _step_of(view, step_name)
        print_json(step_data(step)) if as_json else _show_step(step, console())
    elif as_json:
        print_json(execution_data(view))
    else:
        _show(view, console(), whole=whole)


def _exported(view: ExecutionView, form: str) -> str:
    if form == "mermaid":
        from ..history.mermaid import mermaid

        return mermaid(view)
    if form == "html":
        from ..history.html import html

        return html(view)
    from ..history.trace import trace

    return json.dumps(trace(view), separators=(",", ":")) + "\n"


def _step_of(view: ExecutionView, name: str) -> StepView:
    for step in view.steps:
        if step.name == name:
            return step
    raise DurablyError(
        f"execution {view.head.id!r} has no step {name!r}. `durably show {shlex.quote(view.head.id)} --all` lists them."
    )


def _show(view: ExecutionView, out: Console, *, whole: bool) -> None:
    head = view.head
    out.print(Text.assemble((clean(head.id), "bold"), "  ", state_text(view.state)))
    out.print(Text(clean(view.headline)))
    told = [f"began {when(head.began)}", f"function {head.function}", f"id from {head.source}" if head.source else ""]
    if head.expires_at is not None:
        told.append(f"kept until {when(head.expires_at)}")
    out.print(Text(clean(" · ".join(part for part in told if part)), style="dim"))
    for track in waterfall(view):
        out.print()
        out.print(_attempt_line(track.attempt, track))
        table = _rows_table(track, rows(track, whole=whole), out.width)
        if table.row_count:
            out.print(table)
    if view.error is not None:
        out.print()
        _print_error(out, view.stopped_at, view.error)


def _attempt_line(attempt: AttemptView, track: Track) -> Text:
    how = "killed: it left no end" if attempt.killed else "running" if attempt.is_live else attempt.how
    if not attempt.remembered:
        how = "too long ago: how it ended is not kept"
    style = STYLES["killed"] if attempt.killed else STYLES["running"] if attempt.is_live else ""
    style = style or ("green" if how == "completed" else "dim" if not attempt.remembered else "red")
    parts: list[str | tuple[str, str]] = [
        (f"attempt {attempt.number}", "bold"),
        f"  {when(attempt.began)}  {duration_text(track.took_s)}  ",
    ]
    if track.folds:
        parts.append((f"(idle {', '.join(duration_text(fold.took_s) for fold in track.folds)} folded ┊)  ", "dim"))
    return Text.assemble(*parts, (clean(how), style))


def _rows_table(track: Track, made: list[Row], width: int) -> Table:
    facts = [_facts(track, row) for row in made]
    widest = [max((cells[place].cell_len for cells in facts), default=0) for place in range(6)]
    # The figures keep their width; name, bar and what is told share the rest, the bar taking what the others leave.
    rest = width - sum(one + 1 for one in widest[1:5]) - 3
    name = min(widest[0], max(12, rest * 2 // 5))
    room = max(8, min(width // 3, rest - name - min(widest[5], rest // 3)))
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False, expand=False)
    table.add_column(no_wrap=True, overflow="ellipsis", width=name)
    table.add_column(no_wrap=True, width=room)
    for one in widest[1:5]:
        table.add_column(no_wrap=True, justify="right", width=one)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(1, rest - name - room))
    for row, (label, *figures) in zip(made, facts, strict=True):
        table.add_row(label, _bar(track, row, room), *figures)
    return table


def _facts(track: Track, row: Row) -> tuple[Text, ...]:
    """Name, start, length, tries, size, and what else is to be said."""
    name = plain(("  " * (row.depth + 1)) + row.label)
    if row.state == "replayed":
        told = "replayed" if row.steps == 1 else f"{row.steps:,} replayed"
        return (name, Text(), Text(), Text(), Text(), Text(told, style="dim"))
    size = Text(size_text(row.size) if row.size else "")
    if not row.began:
        return (name, Text(), Text(), Text(), size, Text())
    start = Text(f"+{duration_text(row.began - track.attempt.began)}")
    tries = Text(f"{row.tries} tries" if row.tries > 1 else "", style="yellow")
    return (name, start, Text(duration_text(row.took_s)), tries, size, _told(row))


def _told(row: Row) -> Text:
    if row.steps > 1:
        told = ", ".join(f"{count:,} {state}" for state, count in row.counts)
        return plain(f"×{row.steps:,}: {told}" + (f"; {row.error}" if row.error else ""), STYLES[_state(row)])
    if row.error:
        return plain(f"{'caught ' if row.state == 'caught' else ''}{row.error}", STYLES[_state(row)])
    return Text("" if row.state == "done" else row.state, style=STYLES[_state(row)])


def _state(row: Row) -> str:
    return "done" if row.state == "replayed" else row.state


def _bar(track: Track, row: Row, room: int) -> Text:
    """The row's bar, and the folds of its attempt, in that many columns."""
    if row.state == "replayed" or not row.began:
        return Text("○" if row.state == "replayed" else "⋮", style="dim")
    cells = [" "] * room
    for fold in track.folds:
        cells[min(room - 1, int(fold.at * room))] = "┊"
    first = min(room - 1, int(row.at * room))
    last = min(room, max(first + 1, round((row.at + row.width) * room)))
    bar = Text("".join(cells[:first]), style="dim")
    bar.append(SIGNS[row.state] * (last - first), style=STYLES[_state(row)])
    return bar.append("".join(cells[last:]), style="dim")


def _print_error(out: Console, step: str, error: ErrorView) -> None:
    where = f"step `{step}`: " if step else ""
    out.print(Text.assemble((clean(where), "bold"), (clean(str(error), TEXT_CHARS), "red")))
    lines = clean_lines(error.traceback).splitlines()
    if lines:
        cut = (
            [f"… {len(lines) - TRACEBACK_LINES} lines before (--json has them)"] if len(lines) > TRACEBACK_LINES else []
        )
        shown = "\n".join([*cut, *lines[-TRACEBACK_LINES:]])
        out.print(Padding(Text(shown, style="dim"), (0, 0, 0, 2)))


def _show_step(step: StepView, out: Console) -> None:
    out.print(Text.assemble((clean(step.name), "bold"), "  ", state_text(step.state)))
    took = "" if step.ended is None else duration_text(step.ended - step.began)
    facts = {
        "attempt": str(step.attempt),
        "began": when(step.began),
        "took": took,
        "tries": str(step.tries),
        "within": step.within,
        "size": size_text(step.size),
        "idempotency key": step.idempotency_key,
        "arguments": step.arguments,
        "result": step.result or "",
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, Text(clean(value, TEXT_CHARS)))
    out.print(table)
    for failure in step.history:
        error = failure.error
        out.print(
            plain(f"attempt {failure.attempt} failed, taken back: {error if error is not None else ''}", "yellow")
        )
    if step.error is not None:
        _print_error(out, step.name, step.error)
