"""PURE: the first line that CLI and page show: where it stopped, why, which attempt, what is done and what comes next."""

from __future__ import annotations

import shlex
from datetime import timedelta

from ..entries import Head
from .attempts import of_attempt
from .model import AttemptView, ExecutionState, StepView
from .spans import duration_text
from .states import action_of, idle_since, is_stuck, last_run

WHY_CHARS = 120


def stopped_at(head: Head, steps: tuple[StepView, ...]) -> StepView | None:
    """The step that an execution which is not done stopped at, or runs: of nested ones the innermost."""
    if head.status == "completed":
        return None
    number = last_run(head)
    here = [step for step in steps if step.attempt == number and not step.has_outcome]
    here = here or [step for step in steps if step.permanent and step.attempt == number]
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
    number, action = last_run(head), action_of(head)
    last = of_attempt(attempts, number)
    known, done = len(steps), sum(step.has_outcome for step in steps)
    if state == "completed":
        tries = f" by attempt {head.attempt}" if head.attempt > 1 else ""
        return f"completed in {duration_text(head.updated - head.began)}{tries}, {_count(known, 'step')}"
    where = _where(head, steps)
    count = f"{done} of {_count(known, 'known step')} done"
    if state == "running" and action is not None:
        return f"held by an operator's action, stopped {where}, attempt {number}, {count}"
    if state == "running":
        took = duration_text(now - (last.began if last is not None else head.began))
        return f"running {where}, attempt {head.attempt} for {took}, {count}"
    parts = [f"{_verb(head)} {where}", f"attempt {number}", count]
    why = _why(head, last, steps)
    if why:
        parts.append(why)
    if action is not None and action.number != number:
        parts.append(action.how or "an operator's action left no end")
    if is_stuck(head, now, stuck):
        parts.append(f"nothing has happened for {duration_text(now - idle_since(head))}")
    return ", ".join(parts) + "; " + _next(head, state, steps, stuck=is_stuck(head, now, stuck))


def _verb(head: Head) -> str:
    if head.status == "running":
        return "killed" if action_of(head) is None else "stopped"
    return {"failed": "failed", "cancelled": "cancelled"}.get(head.status, "stopped")


def _where(head: Head, steps: tuple[StepView, ...]) -> str:
    at = stopped_at(head, steps)
    if at is not None:
        return f"at step `{at.name}`"
    ended = [step for step in steps if step.ended is not None and step.has_outcome]
    if not ended:
        return "before its first step was recorded"
    last = max(reversed(ended), key=lambda step: step.ended or 0.0)  # of a fork's all are copied in one moment
    return f"after step `{last.name}`"


def _why(head: Head, last: AttemptView | None, steps: tuple[StepView, ...]) -> str:
    at, action = stopped_at(head, steps), action_of(head)
    if head.status == "running" and action is None:
        return "it left no end and its lease ran out"
    if at is not None and at.error is not None and at.attempt == last_run(head):
        return _clipped(str(at.error))
    return _clipped(last.how) if last is not None and last.how not in ("", "completed") else ""


def _next(head: Head, state: ExecutionState, steps: tuple[StepView, ...], *, stuck: bool) -> str:
    id = shlex.quote(head.id)
    at = stopped_at(head, steps)
    if at is not None and at.error is not None and at.error.class_name == "StepInterrupted":
        return f"look whether its effect happened, then `durably resolve {id} {shlex.quote(at.name)}`"
    if action_of(head) is not None and head.attempt == 1:
        return f"next: `durably redrive {id}` runs it"  # a fork: no trigger knows of it
    if head.status in ("failed", "cancelled") or stuck:
        return f"next: nothing by itself, `durably redrive {id}` runs it again"
    return f"next: the trigger's retry, or `durably redrive {id}`"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _clipped(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WHY_CHARS else line[: WHY_CHARS - 1] + "…"
