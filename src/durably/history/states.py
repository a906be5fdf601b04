"""PURE: how an execution stands for whoever looks at it, which is a little more than its head's status says."""

from __future__ import annotations

from datetime import timedelta

from ..entries import AttemptRecord, Head
from .model import ExecutionState

STUCK = timedelta(hours=6)
"""An execution that waits, or whose attempt died, for longer than this has failed: Lambda's own retries are over by then."""


OPERATOR = "operator"
"""The request id of an attempt that was an operator's action, and ran no step."""


def action_of(head: Head) -> AttemptRecord | None:
    """The operator's action that came last, if nothing has run since."""
    last = head.attempts[-1] if head.attempts else None
    return last if last is not None and last.request_id == OPERATOR else None


def last_run(head: Head) -> int:
    """The number of the last attempt that ran the handler; of a fork that never ran, that of the fork itself."""
    ran = (record.number for record in reversed(head.attempts) if record.request_id != OPERATOR)
    return next(ran, head.attempt)


def is_live(head: Head, now: float) -> bool:
    """Whether an attempt holds the lease. An index knows no lease (0): there the head's word is taken."""
    return head.status == "running" and (head.lease_until > now or head.lease_until == 0)


def idle_since(head: Head) -> float:
    """Since when nothing has happened to an execution that is not done and that no attempt holds."""
    return head.lease_until if head.status == "running" else head.updated


def is_stuck(head: Head, now: float, stuck: timedelta = STUCK) -> bool:
    """Whether no attempt came for so long that none will come by itself."""
    if head.status not in ("running", "waiting") or is_live(head, now):
        return False
    return now - idle_since(head) > stuck.total_seconds()


def state_of(head: Head, now: float, stuck: timedelta = STUCK) -> ExecutionState:
    """What the head comes to at this time."""
    if head.status in ("completed", "failed", "cancelled"):
        return head.status
    if is_live(head, now):
        return "running"
    if is_stuck(head, now, stuck):
        return "failed"
    return "killed" if head.status == "running" else "waiting"
