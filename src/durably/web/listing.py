"""The page of executions: filters, counts, rows, and the same as a fragment for live update."""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple, get_args

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ..history.model import ExecutionState
from ..history.model import Page as Rows
from ..history.reading import PATIENCE_S, list_executions
from .site import Recent, Site, link, page

ROWS = 50
COUNTED = 1_000
"""Of the newest executions: a store has no counts, and counting all of a large table would cost."""
COUNTS_S = 15.0
ENDINGS_READ = 20
"""Heads that one request reads to say why; a live list asks again in two seconds, and has the next ones then."""
ENDINGS_KEPT = 2_000
UNDONE = ("failed", "killed", "waiting", "cancelled")
STATES: tuple[str, ...] = ("failed", "killed", "waiting", "running", "completed", "cancelled")
SINCE_S = {"15m": 900, "1h": 3600, "6h": 21_600, "1d": 86_400, "7d": 604_800, "30d": 2_592_000}
SINCE_NAMES = {
    "15m": "15 minutes",
    "1h": "hour",
    "6h": "6 hours",
    "1d": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
}


class Filters(NamedTuple):
    """What the reader asked for; empty means all."""

    status: str = ""
    function: str = ""
    since: str = ""
    text: str = ""

    def to(self, **changes: str) -> str:
        """The address of the list with these changed, on its first page."""
        return link("/", **(self._asdict() | changes))


class Census(NamedTuple):
    """How the newest executions stand, and the functions they are of."""

    counts: dict[str, int]
    functions: tuple[str, ...]
    of: int
    is_all: bool


def filters_of(query: QueryParams) -> Filters:
    """The filters of an address; what is unknown counts as not given."""
    status, since = query.get("status", ""), query.get("since", "")
    return Filters(
        status if status in get_args(ExecutionState) else "",
        query.get("function", "").strip(),
        since if since in SINCE_S else "",
        query.get("text", "").strip(),
    )


def census_of(site: Site) -> Census:
    """Counts over the newest executions."""
    newest = list_executions(site.store, limit=COUNTED, stuck=site.stuck)
    counts = Counter(row.state for row in newest.rows)
    functions = sorted({row.head.function for row in newest.rows if row.head.function})
    return Census(
        {state: counts.get(state, 0) for state in STATES},  # type: ignore[call-overload]  # the keys are the states
        tuple(functions),
        len(newest.rows),
        newest.next is None,
    )


def before_of(query: QueryParams) -> tuple[float, str] | None:
    """Where a page of older executions begins; None for the first, and for what can't be read."""
    began, _, id = query.get("before", "").partition(":")
    try:
        moment = float(began)
    except ValueError:
        return None
    return (moment, id) if id and math.isfinite(moment) else None


def show_executions(site: Site, census: Recent[Census], endings: Recent[str], request: Request) -> Response:
    """The list; with the header X-Fragment only what changes."""
    filters, before = filters_of(request.query_params), before_of(request.query_params)
    now = site.store.clock.now()
    rows = _rows(site, filters, before, now)
    older = link("/", **filters._asdict(), before=f"{rows.next[0]!r}:{rows.next[1]}") if rows.next else ""
    return page(
        site,
        request,
        "_rows.html" if "x-fragment" in request.headers else "executions.html",
        filters=filters,
        is_filtered=any(filters),
        census=census.get("", COUNTS_S),
        rows=rows,
        whys=whys_of(site, rows, endings),
        older=older,
        is_first=before is None,
        now=now,
        states=STATES,
        since_names=SINCE_NAMES,
    )


def ending_of(site: Site, key: str) -> str:
    """How the last attempt of an execution ended; the key is `updated id`, so a later ending is another key."""
    head = site.store.read(key.partition(" ")[2], until=site.store.clock.monotonic() + PATIENCE_S)
    if head is None or not head.attempts:
        return ""
    last = head.attempts[-1]
    return last.how if last.ended is not None else "it left no end and its lease ran out"


def whys_of(site: Site, rows: Rows, endings: Recent[str]) -> dict[str, str]:
    """Execution → why it is not done. The index has no attempts, so heads are read, a few a request; once each."""
    found: dict[str, str] = {}
    read = 0
    for head in (row.head for row in rows.rows if row.state in UNDONE):
        key = f"{head.updated!r} {head.id}"
        if key not in endings:
            read += 1
        if read <= ENDINGS_READ:
            found[head.id] = endings.get(key, float("inf"))
    return found


def _rows(site: Site, filters: Filters, before: tuple[float, str] | None, now: float) -> Rows:
    return list_executions(
        site.store,
        status=filters.status or None,
        function=filters.function or None,
        since=now - SINCE_S[filters.since] if filters.since else None,
        text=filters.text or None,
        limit=ROWS,
        before=before,
        stuck=site.stuck,
    )
