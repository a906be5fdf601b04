"""`durably tail`: what executions do, as it happens."""

from __future__ import annotations

from datetime import timedelta

import click
from rich.text import Text

from ..claims import WrittenByNewer
from ..entries import Head
from ..history.as_json import event_data
from ..history.events import Event, events_of
from ..history.reading import NoSuchExecution, list_executions, read_journal
from ..history.spans import duration_text, size_text
from ..history.states import is_live
from ..redaction import patterns_of
from ..stores.protocol import Store
from .output import clean, console, print_json_line, when
from .shared import DURATION, MOMENT, find_id, takes_json, takes_store

WATCHED = 200
"""Of the newest executions."""

_STYLES = {
    "attempt began": "cyan",
    "step done": "green",
    "step failed": "red",
    "attempt ended": "bold",
    "attempt killed": "magenta",
}


@click.command()
@click.argument("id", required=False)
@click.option("--function", help="only this function's executions")
@click.option("--since", type=MOMENT, metavar="TIME", help="begin with what happened since then, not with now")
@click.option("--every", type=DURATION, default="1s", metavar="TIME", help="how often the store is asked (default 1s)")
@click.option("--once", is_flag=True, help="stop when everything up to now is told")
@takes_json
@takes_store
def tail(
    store: Store, id: str | None, function: str | None, since: float | None, every: timedelta, once: bool, as_json: bool
) -> None:
    """What executions do, as it happens: of all of the 200 newest, or of one."""
    whole = find_id(store, id) if id is not None else None
    out = console()
    watch = _Watch(store, whole, function, store.clock.now() if since is None else since)
    try:
        while True:
            asked = store.clock.monotonic()
            for event in watch.news():
                if as_json:
                    print_json_line(event_data(event))
                else:
                    out.print(_line(event, with_id=whole is None), soft_wrap=True)
            if once:
                return
            # A long journal is read whole each time: leave the store more time than that takes.
            took = store.clock.monotonic() - asked
            store.clock.sleep(max(every.total_seconds(), 4 * took))
    except KeyboardInterrupt:
        return


class _Watch:
    """What was told already, and which executions may have news."""

    def __init__(self, store: Store, id: str | None, function: str | None, since: float) -> None:
        self._store = store
        self._id = id
        self._function = function
        self._since = since
        self._told: dict[str, set[str]] = {}
        self._settled: dict[str, tuple[str, int, float]] = {}

    def news(self) -> list[Event]:
        """What happened since the last call, in the order of time."""
        found: list[tuple[float, Event]] = []
        for id in self._restless():
            reached = 0.0
            for event in self._news_of(id):
                # Of one execution the journal's order holds, whatever the clocks of its attempts say.
                reached = max(reached, event.at)
                found.append((reached, event))
        return [event for _, event in sorted(found, key=lambda pair: pair[0])]

    def _restless(self) -> list[str]:
        """Executions that run, or whose head has changed since nothing was going on in them."""
        if self._id is not None:
            return [self._id]
        page = list_executions(self._store, function=self._function, limit=WATCHED)
        now = self._store.clock.now()
        # Once settled, an execution moves only by a claim, and that changes its head.
        return [
            row.head.id
            for row in page.rows
            if is_live(row.head, now) or self._settled.get(row.head.id) != _state_of(row.head)
        ]

    def _news_of(self, id: str) -> list[Event]:
        try:
            head, segments = read_journal(self._store, id)
        except NoSuchExecution:
            return []
        except WrittenByNewer:
            if self._id is not None:
                raise
            return []  # the others can be told of
        now = self._store.clock.now()
        told = self._told.setdefault(id, set())
        events = events_of(head, segments, now, patterns_of(self._store))
        new = [event for event in _dated(events) if event.mark not in told]
        told.update(event.mark for event in new)
        if not is_live(head, now):
            self._settled[id] = _state_of(head)
        return [event for event in new if event.at >= self._since]


def _state_of(head: Head) -> tuple[str, int, float]:
    return head.status, head.attempt, head.updated


def _dated(events: list[Event]) -> list[Event]:
    """Events without a time of their own take that of the one before, which keeps them in their place."""
    dated: list[Event] = []
    for event in events:
        before = dated[-1].at if dated else 0.0
        dated.append(event if event.at else event._replace(at=before))
    return dated


def _line(event: Event, *, with_id: bool) -> Text:
    line = Text.assemble((f"{when(event.at)[11:]}  ", "dim"))
    if with_id:
        line.append(f"{clean(event.execution)}  ", style="bold")
    line.append(f"#{event.attempt} ", style="dim")
    line.append(event.kind, style=_STYLES.get(event.kind, ""))
    if event.step:
        line.append(f" {clean(event.step)}")
    facts = []
    if event.kind in ("step done", "step failed"):
        facts.append(duration_text(event.took_s))
        facts += [f"{event.tries} tries"] if event.tries > 1 else []
        facts += [size_text(event.size)] if event.kind == "step done" else []
    if facts:
        line.append(f"  {', '.join(facts)}", style="dim")
    told = str(event.error) if event.error is not None else event.how
    if told:
        line.append(f"  {clean(told, 300)}", style="red" if event.error is not None else "")
    return line
