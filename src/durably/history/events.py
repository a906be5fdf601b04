"""PURE: an execution as what happened one after the other, for `durably tail` and live pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ..entries import Entry, Head, Segment
from .model import ErrorView
from .states import is_live
from .steps import error_of, patterns_of_all

EventKind = Literal[
    "attempt began",
    "step started",
    "step done",
    "step failed",
    "step taken back",
    "step forgotten",
    "attempt ended",
    "attempt killed",
]

_KINDS: dict[str, EventKind] = {
    "started": "step started",
    "result": "step done",
    "error": "step failed",
    "taken_back": "step taken back",
    "forgotten": "step forgotten",
}


class Event(NamedTuple):
    """Something that happened. `at` is epoch seconds, 0 where it was not written down; `mark` is the same for ever."""

    mark: str
    at: float
    execution: str
    kind: EventKind
    attempt: int
    step: str = ""
    took_s: float = 0.0
    tries: int = 1
    size: int = 0
    how: str = ""
    error: ErrorView | None = None


def events_of(head: Head, segments: Sequence[Segment], now: float, redact: tuple[str, ...] = ()) -> list[Event]:
    """Everything that head and journal tell, by attempt and in the journal's order."""
    by_attempt: dict[int, list[Event]] = {}
    for segment in segments:
        for place, entry in enumerate(segment.entries):
            if entry.step:
                by_attempt.setdefault(entry.attempt, []).append(_of_entry(head, segment, place, entry, redact))
    records = {record.number: record for record in head.attempts}
    events: list[Event] = []
    for number in sorted({*by_attempt, *records}):
        record, mark = records.get(number), f"{head.generation}/{number}"
        if record is not None:
            events.append(Event(f"{mark}/began", record.began, head.id, "attempt began", number))
        events += by_attempt.get(number, ())
        if record is not None and record.ended is not None:
            events.append(Event(f"{mark}/ended", record.ended, head.id, "attempt ended", number, how=record.how))
        elif record is not None and not (number == head.attempt and is_live(head, now)):
            at = head.lease_until if number == head.attempt else 0.0
            events.append(Event(f"{mark}/killed", at, head.id, "attempt killed", number))
    return events


def _of_entry(head: Head, segment: Segment, place: int, entry: Entry, redact: tuple[str, ...]) -> Event:
    hidden = patterns_of_all(redact, entry)
    return Event(
        mark=f"{segment.generation}#{segment.number}#{place}",
        at=entry.ended,
        execution=head.id,
        kind=_KINDS[entry.kind],
        attempt=entry.attempt,
        step=entry.step,
        took_s=max(0.0, entry.ended - entry.began),
        tries=entry.tries,
        size=len(entry.payload.encode("utf-8", "replace")),
        error=error_of(entry.payload, hidden) if entry.kind == "error" else None,
    )
