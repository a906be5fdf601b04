"""Old executions deleted, executions written out and read in again: each whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..claims import is_expired
from ..entries import Head, Segment
from ..naming import random_id
from ..stores.protocol import Store
from . import exported
from .actions_lease import read_head, until_of
from .states import is_live

PAGE = 500
FINISHED = ("completed", "failed", "cancelled")


class Old(NamedTuple):
    """An execution that may be deleted, as it was when it was listed."""

    id: str
    generation: str
    status: str
    updated: float
    expired: bool


def old_executions(store: Store, before: float, *, unfinished: bool = False) -> Iterator[Old]:
    """What nothing has happened to since that time (epoch seconds), and what has expired and still lies there.

    Only what is completed, failed or cancelled; with `unfinished` also what waits or was killed, never what runs.
    """
    now = store.clock.now()
    # From the newest on: what expires after a month has long done so when "old" means three.
    last: tuple[float, str] | None = None
    while True:
        heads = store.newest(PAGE, before=last, expired=True, until=until_of(store))
        for head in heads:
            expired = is_expired(head, now)
            if expired or (head.updated <= before and _may_go(store, head, unfinished)):
                yield Old(head.id, head.generation, head.status, head.updated, expired)
        if len(heads) < PAGE:
            return
        last = (heads[-1].began, heads[-1].id)


def _may_go(store: Store, head: Head, unfinished: bool) -> bool:
    if head.status in FINISHED or not unfinished:
        return head.status in FINISHED
    whole = store.read(head.id, until=until_of(store)) if head.status == "running" else head
    return whole is not None and not is_live(whole, store.clock.now())


def delete(store: Store, old: Old) -> bool:
    """Delete it. False when it is another by now, gone, or anything has happened to it since it was listed.

    A redrive may have paid for something meanwhile, and a deleted execution would pay again at the next delivery.
    """
    return store.delete(old.id, old.generation, updated=old.updated, until=until_of(store))


def to_line(store: Store, execution: str) -> str:
    """An execution as one line of JSON, whole or not at all. Raises NoSuchExecution, also when it goes while it is read."""
    while True:
        head = read_head(store, execution)
        segments = store.load(head.id, head.generation, until=until_of(store))
        # A deletion takes the head last, an attempt that began in between has entries this head knows nothing of.
        after = read_head(store, execution)
        if (after.generation, after.attempt) == (head.generation, head.attempt):
            return exported.to_line(head, segments)


def bring_in(store: Store, head: Head, segments: list[Segment]) -> bool:
    """Write an exported execution. False, and nothing changes, when there is one of its id, or it has expired.

    An attempt that ran when it was exported does not run here: the execution waits, and the next attempt goes on from it.
    """
    head = head._replace(lease_until=0.0)
    if is_expired(head, store.clock.now()):
        return False
    if store.read(head.id, until=until_of(store)) is not None:
        return False
    # A generation of its own: what an earlier import or deletion left behind is not met.
    head = head._replace(generation=random_id(4))
    if head.status == "running":
        head = head._replace(status="waiting", unsettled=False)
    for segment in segments:
        store.append(segment._replace(generation=head.generation), until=until_of(store))
    return store.restore(head, until=until_of(store))
