"""`fork`: a new execution that keeps the outcomes before a step, so that the rest can be run another way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..entries import AttemptRecord, Entry, Head, Segment
from ..errors import DurablyError
from ..naming import random_id, refuse_long
from ..stores.protocol import SEGMENT_GRACE_S, Store
from .actions_given import (
    has_become_plain,
    outcome_payload,
    payload_of,
    raw_payload,
    refuse_hidden,
    refuse_other_codec,
)
from .actions_identity import event_id_of, event_of, renamed
from .actions_lease import read_head, read_journal, refuse_if_held, until_of
from .actions_settle import listed
from .states import OPERATOR

SEGMENT_CHARS = 200_000
"""Of one append, as attempts write them."""


class Fork(NamedTuple):
    """What came of a fork: the new execution's head, and the names of the steps whose outcomes it keeps."""

    head: Head
    kept: tuple[str, ...]
    edited: tuple[str, ...]
    plain: tuple[str, ...] = ()
    """Of the edited ones, those whose results were more than plain data and now are plain."""


def fork(
    store: Store,
    execution: str,
    step: str,
    *,
    event: Any = None,
    event_id: str | None = None,
    outcomes: Mapping[str, Any] | None = None,
    raw: bool = False,
) -> Fork:
    """Begin a new execution that keeps every outcome which came before the step's first line in the journal.

    `event`: another input, as plain data. `event_id`: the id that the handler finds in that event, where it can't be told
    from here. `outcomes`: results, as data, in place of those that steps had; with `raw` they are the texts that the
    function's own codec= writes. The original is read and not changed; the fork waits to be redriven. Raises DurablyError
    while an attempt of the original runs, where the step is unknown, and where no event can lead to the fork.
    """
    original = read_head(store, execution)
    refuse_if_held(store, original, "Wait until it ends, or cancel it first: a copy taken now would run beside it.")
    old_id = event_id_of(original)
    as_text = raw_payload if raw else outcome_payload
    edited = {name: as_text(value, f"the outcome of {name!r}") for name, value in (outcomes or {}).items()}
    refuse_hidden(event, "the event")
    journal = [entry for segment in read_journal(store, original) for entry in segment.entries]
    if edited and not raw:
        refuse_other_codec(original.id, journal)
    entries = kept_entries(original.id, journal, step, edited)
    given = event_of(original) if event is None else event
    if event_id is None:
        event_id, given = renamed(original, given, f"-fork-{random_id(3)}")
    elif event_id == old_id:
        raise DurablyError(f"{event_id!r} is the id of the original's own event. A fork needs one of its own.")
    head = _head_of(original, refuse_long(original.id[: -len(old_id)] + event_id), step, store.clock.now())
    _write(store, head._replace(event=payload_of(given)), entries)
    kept = tuple(entry.step for entry in entries if entry.kind in ("result", "error") and entry.step not in edited)
    plain = tuple(name for name, payload in edited.items() if not raw and has_become_plain(journal, name, payload))
    return Fork(read_head(store, head.id), kept, tuple(edited), plain)


def kept_entries(execution: str, entries: Sequence[Entry], step: str, edited: Mapping[str, str]) -> tuple[Entry, ...]:
    """PURE: what a fork before that step begins with. Raises DurablyError for names that the journal has not.

    Kept are the outcomes in force whose line stands before the step's first one, and the `started` of steps that have no
    outcome: their effect may have happened. What ran inside the step is run again with it.
    """
    entries = [entry for entry in entries if entry.kind != "began"]
    names = list(dict.fromkeys(entry.step for entry in entries))
    for name in (step, *edited):
        if name not in names:
            raise DurablyError(f"execution {execution!r} has no step {name!r} in its journal. It has: {listed(names)}.")
    first = next(index for index, entry in enumerate(entries) if entry.step == step)
    inside = _inside(entries, step)
    before = (entry for entry in entries[:first] if entry.step not in inside or entry.kind == "started")
    in_force = set(map(id, _in_force(entries)))
    kept = [entry for entry in before if id(entry) in in_force and entry.step not in edited]
    return (*kept, *(_result(entries, name, payload) for name, payload in edited.items()))


def _result(entries: Sequence[Entry], step: str, payload: str) -> Entry:
    """Another result of the step, hidden and placed as the earlier ones are."""
    mine = [entry for entry in entries if entry.step == step]
    redact = next((entry.redact for entry in reversed(mine) if entry.redact), ())
    within = next((entry.within for entry in reversed(mine) if entry.within), "")
    return Entry("result", step, payload, within=within, redact=redact)


def _in_force(entries: Iterable[Entry]) -> list[Entry]:
    """The outcomes that a next attempt would be answered with, and the announcements without one."""
    outcomes: dict[str, Entry] = {}
    started: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind in ("result", "error"):
            outcomes.setdefault(entry.step, entry)
        elif entry.kind == "started":
            started.setdefault(entry.step, entry)
        else:
            outcomes.pop(entry.step, None)
            if entry.kind == "forgotten":
                started.pop(entry.step, None)
    return [*outcomes.values(), *(entry for name, entry in started.items() if name not in outcomes)]


def _inside(entries: Sequence[Entry], step: str) -> set[str]:
    inside = {step}
    for entry in reversed(entries):  # a step's line stands after those of the steps inside it
        if entry.within in inside:
            inside.add(entry.step)
    return inside


def _head_of(original: Head, id: str, step: str, now: float) -> Head:
    owner, lives = random_id(8), None
    if original.expires_at is not None:
        lives = float(int(now + original.expires_at - original.began))
    made = AttemptRecord(1, now, owner, OPERATOR, now, f"forked before {step!r}")
    return Head(
        id=id,
        generation=random_id(4),
        status="waiting",
        attempt=1,
        owner=owner,
        lease_until=0.0,
        function=original.function,
        qualname=original.qualname,
        began=now,
        updated=now,
        expires_at=lives,
        source=original.source,
        attempts=(made,),
    )


def _write(store: Store, head: Head, entries: Sequence[Entry]) -> None:
    """The segments first, and then the head that makes them an execution."""
    if store.read(head.id, until=until_of(store)) is not None:
        raise DurablyError(
            f"there is an execution {head.id!r} already, and a fork overwrites none. Give another --event-id."
        )
    expires_at = None if head.expires_at is None else head.expires_at + SEGMENT_GRACE_S
    now = head.began
    # They are this execution's first attempt's: copied now. When the work was done, the original tells.
    copies = [entry._replace(attempt=1, began=now, ended=now) for entry in entries]
    for number, batch in enumerate(_batches(copies), start=1):
        segment = Segment(head.id, head.generation, number, head.owner, tuple(batch), expires_at)
        store.append(segment, until=until_of(store))
    if not store.restore(head, until=until_of(store)):
        raise DurablyError(
            f"an execution {head.id!r} began meanwhile, and a fork overwrites none. Nothing was changed."
        )


def _batches(entries: Sequence[Entry]) -> list[list[Entry]]:
    batches: list[list[Entry]] = []
    room = 0
    for entry in entries:
        size = len(entry.to_line())
        if size > room or not batches:
            batches.append([])
            room = SEGMENT_CHARS
        batches[-1].append(entry)
        room -= size
    return batches
