"""Old executions deleted, executions written out and read in again: one JSON line an execution, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..claims import is_expired
from ..entries import FORMAT, Head, Segment, entries_from_text, entries_to_text
from ..errors import DurablyError
from ..execution import random_id
from ..stores.heads import head_from_text, head_to_text
from ..stores.protocol import Store
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
    """An execution as one line of JSON: its head, event, result, and its segments' texts. Nothing is redacted."""
    while True:
        head = read_head(store, execution)
        segments = store.load(head.id, head.generation, until=until_of(store))
        # An attempt that began between the two reads has entries that this head knows nothing of.
        if all(entry.attempt <= head.attempt for segment in segments[-1:] for entry in segment.entries):
            break
    whole = {
        "durably": FORMAT,
        "head": json.loads(head_to_text(head)),
        "event": head.event,
        "result": head.result,
        "segments": [[one.number, one.owner, one.expires_at, entries_to_text(one.entries)] for one in segments],
    }
    return json.dumps(whole, separators=(",", ":"))


def from_line(line: str) -> tuple[Head, list[Segment]]:
    """What `to_line` wrote. Raises DurablyError for anything else, and for what a newer durably wrote."""
    try:
        whole: dict[str, Any] = json.loads(line)
        if whole["durably"] > FORMAT:
            raise DurablyError(
                f"it was exported by a newer durably (format {whole['durably']}; this one reads up to {FORMAT})."
            )
        head = head_from_text(json.dumps(whole["head"]), whole["event"], whole["result"])
        segments = [
            Segment(head.id, head.generation, number, owner, entries_from_text(text), expires_at)
            for number, owner, expires_at, text in whole["segments"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DurablyError(f"it is no line of an export ({type(error).__name__}: {error}).") from error
    return head, segments


def bring_in(store: Store, head: Head, segments: list[Segment]) -> bool:
    """Write an exported execution. False, and nothing changes, when there is one of its id, or it has expired.

    An attempt that ran when it was exported does not run here: the execution waits, and the next attempt goes on from it.
    """
    if is_expired(head._replace(status="waiting"), store.clock.now()):
        return False
    if store.read(head.id, until=until_of(store)) is not None:
        return False
    # A generation of its own: what an earlier import or deletion left behind is not met.
    head = head._replace(generation=random_id(4))
    if head.status == "running":
        head = head._replace(status="waiting", lease_until=0.0, unsettled=False)
    for segment in segments:
        store.append(segment._replace(generation=head.generation), until=until_of(store))
    return store.restore(head, until=until_of(store))
