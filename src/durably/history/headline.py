"""PURE: the first line that CLI and page show: where it stopped, why, which attempt, what is done and what comes next."""

from __future__ import annotations

import shlex
from datetime import timedelta

from ..entries import Head
from .model import AttemptView, ExecutionState, StepView
from .spans import duration_text
from .states import idle_since, is_stuck

WHY_CHARS = 120


def stopped_at(head: Head, steps: tuple[StepView, ...]) -> StepView | None:
    """The step that an execution which is not done stopped at, or runs: of nested ones the innermost."""
    if head.status == "completed":
        return None
    here = [step for step in steps if step.attempt == head.attempt and not step.has_outcome]
    here = here or [step for step in steps if step.permanent and step.attempt == head.attempt]
    here = here or [step for step in steps if step.state == "interrupted"]
    return max(here, key=lambda step: (step.depth, step.ended or step.began), default=None)


def headline(
    head: Head,
    state: ExecutionState,
    attempts: tuple[AttemptView, ...],
    steps: tuple[StepView, ...],
    now: float,
    stuck: timedelta,
) -> str:
    """One line on how the execution stands."""
    last = attempts[-1] if attempts else None
    known, done = len(steps), sum(step.has_outcome for step in steps)
    if state == "completed":
        tries = f" by attempt {head.attempt}" if head.attempt > 1 else ""
        return f"completed in {duration_text(head.updated - head.began)}{tries}, {_count(known, 'step')}"
    where = _where(head, steps)
    count = f"{done} of {_count(known, 'known step')} done"
    if state == "running":
        took = duration_text(now - (last.began if last is not None else head.began))
        return f"running {where}, attempt {head.attempt} for {took}, {count}"
    parts = [f"{_verb(head, state)} {where}", f"attempt {head.attempt}", count]
    why = _why(head, last, steps)
    if why:
        parts.append(why)
    if is_stuck(head, now, stuck):
        parts.append(f"nothing has happened for {duration_text(now - idle_since(head))}")
    return ", ".join(parts) + "; " + _next(head, state, steps, stuck=is_stuck(head, now, stuck))


def _verb(head: Head, state: ExecutionState) -> str:
    if head.status == "running":
        return "killed"
    return {"failed": "failed", "cancelled": "cancelled"}.get(head.status, "stopped")


def _where(head: Head, steps: tuple[StepView, ...]) -> str:
    at = stopped_at(head, steps)
    if at is not None:
        return f"at step `{at.name}`"
    ended = [step for step in steps if step.ended is not None]
    if not ended:
        return "before its first step was recorded"
    return f"after step `{max(ended, key=lambda step: step.ended or 0.0).name}`"


def _why(head: Head, last: AttemptView | None, steps: tuple[StepView, ...]) -> str:
    at = stopped_at(head, steps)
    if head.status == "running":
        return "it left no end and its lease ran out"
    if at is not None and at.error is not None and at.attempt == head.attempt:
        return _clipped(str(at.error))
    return _clipped(last.how) if last is not None and last.how not in ("", "completed") else ""


def _next(head: Head, state: ExecutionState, steps: tuple[StepView, ...], *, stuck: bool) -> str:
    id = shlex.quote(head.id)
    at = stopped_at(head, steps)
    if at is not None and at.error is not None and at.error.class_name == "StepInterrupted":
        return f"look whether its effect happened, then `durably resolve {id} {shlex.quote(at.name)}`"
    if head.status in ("failed", "cancelled") or stuck:
        return f"next: nothing by itself, `durably redrive {id}` runs it again"
    return f"next: the trigger's retry, or `durably redrive {id}`"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _clipped(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WHY_CHARS else line[: WHY_CHARS - 1] + "…"
