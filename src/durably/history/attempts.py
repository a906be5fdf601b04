"""PURE: a head's records and a journal's entries → one AttemptView an attempt, the long forgotten ones too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..entries import AttemptRecord, Entry, Head, Segment
from .model import AttemptView
from .states import is_live


class _Seen:
    """What the entries tell of one attempt."""

    __slots__ = ("began", "latest", "replayable", "steps")

    def __init__(self, replayable: int) -> None:
        self.began = float("inf")
        self.latest = 0.0
        self.steps: dict[str, None] = {}
        self.replayable = replayable


def attempts_of(head: Head, segments: Iterable[Segment], now: float) -> tuple[AttemptView, ...]:
    """Every attempt, by number. The head keeps the last six; of earlier ones the entries tell what they can."""
    seen = _seen(head, segments)
    records = {record.number: record for record in head.attempts}
    numbers = sorted({*seen, *records, *range(1, head.attempt + 1)} - {0})
    live = head.attempt if is_live(head, now) else None
    return tuple(_attempt_view(number, records.get(number), seen.get(number), live, now) for number in numbers)


def _seen(head: Head, segments: Iterable[Segment]) -> dict[int, _Seen]:
    found: dict[int, _Seen] = {}
    standing: set[str] = set()
    last = 0
    for segment in segments:
        for entry in segment.entries:
            for number in range(last + 1, entry.attempt + 1):
                found[number] = _Seen(len(standing))
            last = max(last, entry.attempt)
            if entry.attempt in found:
                _take_in(found[entry.attempt], entry)
            _stand(standing, entry)
    for number in range(last + 1, head.attempt + 1):
        found[number] = _Seen(len(standing))
    return found


def _take_in(one: _Seen, entry: Entry) -> None:
    if entry.began:
        one.began = min(one.began, entry.began)
        one.latest = max(one.latest, entry.ended)
    if entry.step and entry.kind in ("started", "result", "error"):
        one.steps[entry.step] = None


def _stand(standing: set[str], entry: Entry) -> None:
    if entry.kind in ("result", "error"):
        standing.add(entry.step)
    elif entry.kind in ("taken_back", "forgotten"):
        standing.discard(entry.step)


def _attempt_view(
    number: int, record: AttemptRecord | None, seen: _Seen | None, live: int | None, now: float
) -> AttemptView:
    steps = tuple(seen.steps) if seen is not None else ()
    replayable = seen.replayable if seen is not None else 0
    latest = seen.latest if seen is not None else 0.0
    if record is None:
        began = seen.began if seen is not None and latest else 0.0
        return AttemptView(number, began, None, "", False, "", steps, latest, False, replayable)
    killed = record.ended is None and number != live
    end = record.ended if record.ended is not None else now if number == live else max(latest, record.began)
    return AttemptView(
        number, record.began, record.ended, record.how, killed, record.request_id, steps, end, True, replayable
    )


def of_attempt(attempts: Sequence[AttemptView], number: int) -> AttemptView | None:
    """The attempt of that number."""
    return next((attempt for attempt in reversed(attempts) if attempt.number == number), None)
