"""PURE: views as plain data for `--json` and for the page. Its fields are documented in docs/history.md and only grow."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .events import Event
from .model import AttemptView, ErrorView, ExecutionRow, ExecutionView, FailureView, Page, StepView

if TYPE_CHECKING:
    from .costs import Costs

Data = dict[str, Any]


def moment(epoch_s: float | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond; None for no time."""
    if not epoch_s:
        return None
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stored(text: str | None) -> Any:
    """A stored text as the JSON it is; as text where a codec of the user's own wrote something else."""
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def page_data(page: Page) -> Data:
    """A page of executions."""
    before = None if page.next is None else page.next[1]
    return {"executions": [row_data(row) for row in page.rows], "next": before, "searched": page.searched}


def row_data(row: ExecutionRow) -> Data:
    """One execution of a list."""
    head = row.head
    return {
        "id": head.id,
        "state": row.state,
        "status": head.status,
        "function": head.function,
        "attempt": head.attempt,
        "began": moment(head.began),
        "updated": moment(head.updated),
    }


def execution_data(view: ExecutionView) -> Data:
    """One execution, whole."""
    head = view.head
    return {
        **row_data(ExecutionRow(head, view.state)),
        "headline": view.headline,
        "stopped_at": view.stopped_at or None,
        "error": _error(view.error),
        "qualname": head.qualname,
        "source": head.source,
        "lease_until": moment(head.lease_until),
        "expires_at": moment(head.expires_at),
        "event": stored(head.event),
        "result": stored(head.result) if head.status == "completed" else None,
        "steps_done": view.done,
        "steps_known": len(view.steps),
        "attempts": [_attempt(attempt) for attempt in view.attempts],
        "steps": [step_data(step) for step in view.steps],
    }


def step_data(step: StepView) -> Data:
    """One step."""
    return {
        "name": step.name,
        "state": step.state,
        "attempt": step.attempt,
        "began": moment(step.began),
        "ended": moment(step.ended),
        "tries": step.tries,
        "within": step.within or None,
        "group": step.group or None,
        "key": step.key or None,
        "arguments": stored(step.arguments),
        "result": stored(step.result),
        "error": _error(step.error),
        "bytes": step.size,
        "permanent": step.permanent,
        "idempotency_key": step.idempotency_key,
        "failures": [_failure(failure) for failure in step.history],
    }


def _attempt(attempt: AttemptView) -> Data:
    return {
        "number": attempt.number,
        "began": moment(attempt.began),
        "ended": moment(attempt.ended),
        "how": attempt.how,
        "killed": attempt.killed,
        "running": attempt.is_live,
        "remembered": attempt.remembered,
        "request_id": attempt.request_id or None,
        "replayable": attempt.replayable,
        "steps": list(attempt.steps),
    }


def _failure(failure: FailureView) -> Data:
    return {
        "attempt": failure.attempt,
        "began": moment(failure.began),
        "ended": moment(failure.ended),
        "tries": failure.tries,
        "error": _error(failure.error),
    }


def _error(error: ErrorView | None) -> Data | None:
    if error is None:
        return None
    return {
        "class": error.class_name,
        "module": error.module or None,
        "message": error.message,
        "traceback": error.traceback,
    }


def event_data(event: Event) -> Data:
    """One line of `tail --json`."""
    return {
        "at": moment(event.at),
        "execution": event.execution,
        "event": event.kind,
        "attempt": event.attempt,
        "step": event.step or None,
        "took_s": round(event.took_s, 3),
        "tries": event.tries,
        "bytes": event.size,
        "how": event.how or None,
        "error": _error(event.error),
    }


def costs_data(execution: str, costs: Costs) -> Data:
    """What an execution has cost, and would elsewhere."""
    lines = [
        {
            "what": line.what,
            "requests": line.requests,
            "write_units": line.write_units,
            "read_units": line.read_units,
            "dollars": line.dollars,
        }
        for line in costs.lines
    ]
    elsewhere = {
        "step_functions": {"transitions": costs.transitions, "dollars": costs.step_functions_dollars},
        "lambda_durable_functions": {"operations": costs.operations, "dollars": costs.lambda_durable_dollars},
    }
    return {
        "id": execution,
        "requests": sum(line.requests for line in costs.lines),
        "write_units": costs.write_units,
        "read_units": costs.read_units,
        "dollars": costs.dollars,
        "lines": lines,
        "elsewhere": elsewhere,
        "assumed": list(costs.assumed),
    }
