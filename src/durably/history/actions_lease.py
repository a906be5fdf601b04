"""How an operator's action takes an execution and leaves it: lease first, then one append that fences, then the ending.

An action is an attempt that runs no step. Its record in the head says what was done, so the history shows it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from ..claims import refuse_newer
from ..clock import Clock
from ..entries import Claim, Ending, Entry, Head, Segment
from ..errors import DurablyError, ExecutionInProgress
from ..journal import refuse_gaps
from ..naming import random_id
from ..stores.protocol import SEGMENT_GRACE_S, Store
from .reading import PATIENCE_S, NoSuchExecution
from .states import OPERATOR, is_live

LEASE_S = 30.0

Decide = Callable[[Sequence[Segment]], tuple[Entry, ...]]
"""The journal as it is → what the action appends. Raises DurablyError to refuse."""


class Readable(Protocol):
    """All that looking at an execution takes of a store: what is handed this can change nothing."""

    @property
    def clock(self) -> Clock: ...

    def read(self, execution: str, *, until: float) -> Head | None: ...

    def load(self, execution: str, generation: str, *, until: float) -> list[Segment]: ...


class Taken(NamedTuple):
    """An execution whose lease an action holds, and how it was before."""

    store: Store
    head: Head
    before: Head
    must_fence: bool


def until_of(store: Readable) -> float:
    """How long an action waits for the store."""
    return store.clock.monotonic() + PATIENCE_S


def read_head(store: Readable, execution: str) -> Head:
    """The head as of now. Raises NoSuchExecution, and StoreError for one that a newer durably wrote."""
    head = store.read(execution, until=until_of(store))
    if head is None:
        raise NoSuchExecution(execution)
    refuse_newer(head)
    return head


def read_journal(store: Readable, head: Head) -> list[Segment]:
    """The journal as of now. Raises StoreError where it has a gap."""
    segments = store.load(head.id, head.generation, until=until_of(store))
    refuse_gaps(head.id, segments)
    return segments


def refuse_if_held(store: Readable, head: Head, advice: str) -> None:
    """Raise DurablyError while an attempt holds the lease."""
    if is_live(head, store.clock.now()):
        left = head.lease_until - store.clock.now()
        raise DurablyError(
            f"execution {head.id!r} is running: attempt {head.attempt} holds its lease for another {left:.0f} s. Nothing was "
            f"changed. {advice}"
        )


def take(store: Store, before: Head, *, seize: bool = False) -> Taken:
    """Take the lease; a failed or cancelled execution stays so until the action ends. Raises if completed, gone, or held."""
    claim = Claim(before.id, random_id(8), "", LEASE_S, request_id=OPERATOR, reopen=True, seize=seize)
    standing, head = store.claim(claim, until=until_of(store))
    if standing == "held":
        raise ExecutionInProgress(head.id, head.attempt, head.lease_until - store.clock.now())
    if standing == "finished":
        raise DurablyError(f"execution {head.id!r} completed meanwhile. Nothing was changed.")
    return Taken(store, head, before, standing == "taken over")


def act(taken: Taken, ending: Ending, decide: Decide = lambda segments: ()) -> Head:
    """Append what `decide` makes of the journal, and leave with that ending. What it refuses is left as it was.

    The append comes at the next number, so it is also the fence of whoever wrote before.
    """
    store, head = taken.store, taken.head
    try:
        _append(taken, decide)
    except BaseException:
        # Also at an operator's Ctrl-C: the lease is given back, and a waiting execution need not wait until it runs out.
        with suppress(DurablyError):
            _leave(taken, _as_before(taken.before))
        raise
    if not _leave(taken, ending):
        raise DurablyError(
            f"execution {head.id!r} was taken by another operator before this action was over. Look at it again: durably show "
            f"{shlex.quote(head.id)}"
        )
    return read_head(store, head.id)


def _append(taken: Taken, decide: Decide) -> None:
    store, head, now = taken.store, taken.head, taken.store.clock.now()
    expires_at = None if head.expires_at is None else head.expires_at + SEGMENT_GRACE_S
    while True:
        segments = read_journal(store, head)
        entries = tuple(entry._replace(attempt=head.attempt, began=now, ended=now) for entry in decide(segments))
        if not entries and taken.must_fence:
            entries = (Entry("began", attempt=head.attempt, began=now, ended=now),)
        segment = Segment(head.id, head.generation, len(segments) + 1, head.owner, entries, expires_at)
        if not entries or store.append(segment, until=until_of(store)):
            return


def _leave(taken: Taken, ending: Ending) -> bool:
    return taken.store.end(taken.head.id, taken.head.owner, ending, until=until_of(taken.store))


def _as_before(before: Head) -> Ending:
    status = "waiting" if before.status == "running" else before.status
    # A journal whose last writer may live on is to be fenced by whoever comes next.
    return Ending(status, "an action was refused, nothing changed", before.result, unsettled=status == "waiting")
