"""PURE: head, segments and the time → the view of an execution that terminal, page and exports all show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ..entries import Head, Segment, entries_to_text
from ..redaction import redacted
from .attempts import attempts_of
from .headline import headline, stopped_at
from .model import ErrorView, ExecutionView, StepView
from .states import STUCK, action_of, is_live, state_of
from .steps import error_of, steps_of


def tell(
    head: Head,
    segments: Sequence[Segment],
    now: float,
    *,
    stuck: timedelta = STUCK,
    redact: tuple[str, ...] = (),
) -> ExecutionView:
    """The whole view. `redact` are the store's patterns; an entry's own are added for its step."""
    live = head.attempt if is_live(head, now) else None
    attempts = attempts_of(head, segments, now)
    steps = steps_of(head.id, segments, live, redact)
    state = state_of(head, now, stuck)
    at = stopped_at(head, steps)
    return ExecutionView(
        head=_shown(head, redact),
        state=state,
        attempts=attempts,
        steps=steps,
        headline=headline(head, state, attempts, steps, now, stuck),
        now=now,
        stopped_at=at.name if at is not None else "",
        error=_error(head, at, redact),
        segments=tuple(len(entries_to_text(segment.entries).encode("utf-8", "replace")) for segment in segments),
    )


def _shown(head: Head, redact: tuple[str, ...]) -> Head:
    event = None if head.event is None else redacted(head.event, redact)
    return head._replace(event=event, result=None if head.result is None else redacted(head.result, redact))


def _error(head: Head, at: StepView | None, redact: tuple[str, ...]) -> ErrorView | None:
    if head.status == "failed":
        return error_of(head.result, redact)
    if head.status == "completed":
        return None
    if at is not None and at.error is not None:
        return at.error
    how = head.attempts[-1].how if head.attempts and action_of(head) is None else ""
    name, colon, message = how.partition(": ")
    return ErrorView(name, message) if colon or (how and " " not in how and how != "failed") else None
