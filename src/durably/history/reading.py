"""Executions out of a store, as views: one whole, or a page of them. The only part of history that does I/O."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from ..claims import refuse_newer
from ..entries import Head, Segment
from ..errors import DurablyError
from ..redaction import patterns_of
from ..stores.protocol import Store
from .model import ExecutionRow, ExecutionView, Page
from .states import STUCK, state_of
from .telling import tell

PATIENCE_S = 20.0
BATCH = 200
"""Heads read at once when a filter may pass few of them."""
SEARCHED_MAX = 10_000
"""Heads looked at for one page; then the page ends, and says where to go on."""
SURE_S = 60.0
"""An attempt begun less than this ago is taken for alive where the list tells no lease: twice the default lease."""


class NoSuchExecution(DurablyError):
    """The store has no execution of that id, or it has expired."""

    def __init__(self, execution: str) -> None:
        super().__init__(execution)
        self.execution = execution

    def __str__(self) -> str:
        return (
            f"there is no execution {self.execution!r} in this store. It may have expired, or stand in another store "
            "(--store, DURABLY_STORE). `durably ls --text PART` finds an id by a part of it."
        )


def read_execution(store: Store, execution: str, *, stuck: timedelta = STUCK) -> ExecutionView:
    """The view of one execution, as of now. Raises NoSuchExecution, StoreError."""
    head, segments = read_journal(store, execution)
    return tell(head, segments, store.clock.now(), stuck=stuck, redact=patterns_of(store))


def read_journal(store: Store, execution: str) -> tuple[Head, list[Segment]]:
    """Head and segments of one moment, unredacted. Raises NoSuchExecution, StoreError."""
    until = store.clock.monotonic() + PATIENCE_S
    while True:
        head = store.read(execution, until=until)
        if head is None:
            raise NoSuchExecution(execution)
        refuse_newer(head)
        segments = store.load(execution, head.generation, until=until)
        # An attempt that began between the two reads has entries that this head knows nothing of.
        if all(entry.attempt <= head.attempt for segment in segments[-1:] for entry in segment.entries):
            return head, segments


def list_executions(
    store: Store,
    *,
    status: str | None = None,
    function: str | None = None,
    since: float | None = None,
    text: str | None = None,
    limit: int = 50,
    before: tuple[float, str] | None = None,
    stuck: timedelta = STUCK,
) -> Page:
    """A page of executions, newest first. `since` and the time in `before` are epoch seconds; `text` is part of the id.

    `status` is a state as `ExecutionState` has them, so `failed` finds the stuck ones too.
    """
    until, now = store.clock.monotonic() + PATIENCE_S, store.clock.now()
    wanted = _filter(function, text)
    is_plain = status is None and function is None and text is None
    rows: list[ExecutionRow] = []
    searched = 0
    while True:
        asked = limit - len(rows) + 1 if is_plain else BATCH
        heads = store.newest(asked, before=before, until=until)
        for head in heads:
            if since is not None and head.began < since:
                return Page(tuple(rows), None, searched)
            if len(rows) == limit:
                return Page(tuple(rows), before, searched)
            searched += 1
            before = (head.began, head.id)
            if wanted(head):
                row = _row(store, head, status, now, stuck, until)
                if status is None or row.state == status:
                    rows.append(row)
        if len(heads) < asked:
            return Page(tuple(rows), None, searched)
        if searched >= SEARCHED_MAX:
            return Page(tuple(rows), before, searched)


def _filter(function: str | None, text: str | None) -> Callable[[Head], bool]:
    part = text.lower() if text else ""
    return lambda head: (function is None or head.function == function) and part in head.id.lower()


def _row(store: Store, head: Head, status: str | None, now: float, stuck: timedelta, until: float) -> ExecutionRow:
    is_of_interest = status not in ("waiting", "completed", "cancelled")
    if head.status == "running" and head.lease_until == 0 and now - head.updated > SURE_S and is_of_interest:
        # The index has no lease, and an attempt of that age is alive only if it was renewed: its head knows.
        head = (store.read(head.id, until=until) or head)._replace(event=None, result=None, attempts=())
    return ExecutionRow(head, state_of(head, now, stuck))
