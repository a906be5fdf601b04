"""One execution from claim to finish: who may run it, and how an attempt leaves it. Decorator, `execution` and `once` use it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .attempt import Attempt
from .codec import Unencodable, decode_exception, encode_exception
from .current import count_live
from .entries import Claim, Claimed, Ending, Entry, Head, Segment
from .errors import DurablyError, ExecutionInProgress, LeaseLost, NotSerializable, StoreError, is_fatal
from .journal import refuse_gaps
from .lease import Lease
from .naming import random_id
from .outcomes import encode_result
from .plan import Plan
from .stores.protocol import SEGMENT_GRACE_S

POLL_S = 1.0

log = logging.getLogger("durably")


class Opened:
    """An execution that was claimed: to be run by `attempt`, or finished already."""

    def __init__(self, plan: Plan, head: Head, attempt: Attempt | None) -> None:
        self.plan = plan
        self.head = head
        self.attempt = attempt


def open_execution(plan: Plan) -> Opened:
    """Claim the execution and load its journal. Raises ExecutionInProgress while another attempt holds it."""
    reserve_s = plan.reserve_s()
    claimed, lease = _claim_or_wait(plan, reserve_s)
    head = claimed.head
    if claimed.standing == "finished":
        return Opened(plan, head, None)
    try:
        segments = _journal_so_far(plan, claimed)
    except BaseException as error:
        _give_back(plan, claimed, error)
        raise
    attempt = Attempt(
        plan.store, head, segments, codec=plan.codec, lease=lease, remaining=plan.remaining, reserve_s=reserve_s
    )
    log.debug(
        "attempt %d of %s (%s), id from %s",
        head.attempt,
        head.id,
        claimed.standing,
        plan.source or "the caller",
        extra={"execution": head.id, "attempt": head.attempt, "identity_source": plan.source},
    )
    lease.start_heartbeat(lambda: attempt.stop(LeaseLost(head.id, head.attempt)))
    count_live(+1)
    return Opened(plan, head, attempt)


def finished_result(plan: Plan, head: Head) -> Any:
    """The remembered result of a finished execution. Raises what it failed with, or that it was cancelled."""
    if head.status == "failed":
        raise decode_exception(head.result or "{}", plan.codec)
    if head.status == "cancelled":
        raise DurablyError(f"execution {head.id!r} was cancelled, so nothing was run. Redrive it, or use another id.")
    try:
        return plan.codec.decode(head.result or "null", plan.returns)
    except Unencodable as why:
        raise NotSerializable(
            f"the remembered result of execution {head.id!r}", why.path, why.type_name, why.why
        ) from None


def replay_of(plan: Plan, head: Head) -> Attempt:
    """An attempt that only replays: of a finished execution, for a `with` body that can't be skipped."""
    segments = plan.store.load(head.id, head.generation, until=plan.until())
    attempt = Attempt(plan.store, head, segments, codec=plan.codec, lease=None)
    attempt.left_as = head.status
    return attempt


def complete(opened: Opened, value: object, check: Callable[[object, str], None] | None = None) -> Any:
    """Finish with the handler's result and return it as a replay will. Raises the stop signal that was swallowed.

    The result is encoded before anything says "completed". Whatever is raised here leaves the attempt failed.
    """
    plan, attempt = opened.plan, _attempt_of(opened)
    if attempt.stopped is not None:
        raise attempt.stopped
    if attempt.is_a_forks:
        raise LeaseLost(plan.id, attempt.head.attempt, "this process was forked from the one that holds it")
    what = f"the result of the handler {plan.qualname or plan.function!r} in execution {plan.id!r}"
    text, shown = encode_result(plan.codec, value, plan.returns, what)
    if check is not None:
        check(shown, what)
    attempt.settle(attempt.appender.release_all())
    _close(attempt)
    attempt.completed = True
    if attempt.running:
        log.warning(
            "%s is completed while %d of its steps are running; their outcomes are lost", plan.id, len(attempt.running)
        )
    ending = Ending("completed", "completed", text, expires_s=_seconds(plan.expires))
    if not plan.store.end(attempt.head.id, attempt.head.owner, ending, until=attempt.until()):
        raise attempt.stop(LeaseLost(attempt.head.id, attempt.head.attempt))
    attempt.left_as = "completed"
    return shown


def leave(opened: Opened, error: BaseException | None, how: str | None = None) -> None:
    """End the attempt without a result: what left the handler is taken back, the rest is history, the lease is released.

    Never raises: the handler's own exception is on its way. Where the store fails, the lease is left to run out.
    """
    attempt = _attempt_of(opened)
    if attempt.is_a_forks:
        return  # the lease is its parent's, which is still running
    attempt.left_with = error
    _close(attempt)
    if isinstance(attempt.stopped, LeaseLost) and attempt.stopped.execution == attempt.head.id:
        return
    if attempt.running:
        log.warning(
            "attempt %d of %s ended while %d of its steps were running; its lease is left to run out",
            attempt.head.attempt,
            attempt.head.id,
            len(attempt.running),
        )
        return
    try:
        unsettled = _settle_what_is_left(attempt, error)
        ending = Ending("waiting", how or _how(error), unsettled=unsettled)
        if error is not None and is_fatal(error) and not _is_built_on_a_stop(attempt):
            ending = Ending("failed", _how(error), encode_exception(error, attempt.codec), unsettled)
        if attempt.store.end(attempt.head.id, attempt.head.owner, ending, until=attempt.until()):
            attempt.left_as = ending.status
    except (StoreError, LeaseLost) as trouble:
        log.warning("could not release the lease of %s, it is left to run out: %s", attempt.head.id, trouble)


def _is_built_on_a_stop(attempt: Attempt) -> bool:
    """Whether what the handler made of it came after a stop signal: like a result then, it is not remembered."""
    return attempt.stopped is not None and not is_fatal(attempt.stopped)


def _claim_or_wait(plan: Plan, reserve_s: float) -> tuple[Claimed, Lease]:
    """The claim's answer once no other attempt holds the lease. Raises ExecutionInProgress when `wait` is over."""
    owner = random_id(8)
    lease = Lease(plan.store, plan.id, owner, seconds=plan.lease.total_seconds(), remaining=plan.remaining)
    give_up = plan.store.clock.monotonic() + (_seconds(plan.wait) or 0.0)
    while True:
        claimed = _claim(plan, lease, owner)
        if claimed.standing != "held":
            return claimed, lease
        _await_holder(plan, claimed.head, give_up, reserve_s)


def _claim(plan: Plan, lease: Lease, owner: str) -> Claimed:
    asked_at, length = plan.store.clock.monotonic(), lease.length()
    claim = Claim(
        id=plan.id,
        owner=owner,
        generation=random_id(4),
        lease_s=length,
        function=plan.function,
        qualname=plan.qualname,
        source=plan.source,
        fingerprint=plan.fingerprint,
        request_id=plan.request_id,
        event=plan.event,
        expires_s=_seconds(plan.expires),
    )
    claimed = plan.store.claim(claim, until=plan.until())
    lease.taken(asked_at, length)
    return claimed


def _await_holder(plan: Plan, head: Head, give_up: float, reserve_s: float) -> None:
    """Poll the head until its holder has finished or died. Raises ExecutionInProgress when there is no more time to wait."""
    clock = plan.store.clock
    now: Head | None = head
    while now is not None and now.status == "running" and now.lease_until > clock.now():
        left = give_up - clock.monotonic()
        if plan.remaining is not None:
            left = min(left, plan.remaining() - reserve_s)
        if left <= 0:
            raise ExecutionInProgress(plan.id, now.attempt, now.lease_until - clock.now())
        clock.sleep(min(POLL_S, left))
        now = plan.store.read(plan.id, until=plan.until())


def _journal_so_far(plan: Plan, claimed: Claimed) -> list[Segment]:
    """The journal up to where this attempt may append. After a takeover a fence goes in first: no user code before it."""
    if claimed.standing == "new":
        return []
    head = claimed.head
    while True:
        segments = plan.store.load(head.id, head.generation, until=plan.until())
        refuse_gaps(head.id, segments)
        if claimed.standing == "resumed":
            return segments
        fence = _fence(plan, head, len(segments) + 1)
        if plan.store.append(fence, until=plan.until()):
            return [*segments, fence]


def _give_back(plan: Plan, claimed: Claimed, error: BaseException) -> None:
    """Release a lease under which nothing was run. Its fence may be on its way, or still be missing: the next one fences."""
    ending = Ending("waiting", _how(error), unsettled=claimed.standing != "resumed")
    try:
        plan.store.end(plan.id, claimed.head.owner, ending, until=plan.until())
    except StoreError as trouble:
        log.warning("could not release the lease of %s, it is left to run out: %s", plan.id, trouble)


def _fence(plan: Plan, head: Head, number: int) -> Segment:
    now = plan.store.clock.now()
    entry = Entry("began", attempt=head.attempt, began=now, ended=now)
    expires_at = None if head.expires_at is None else head.expires_at + SEGMENT_GRACE_S
    return Segment(head.id, head.generation, number, head.owner, (entry,), expires_at)


def _settle_what_is_left(attempt: Attempt, error: BaseException | None) -> bool:
    """Append what is pending and what is taken back. True when an append's fate is unknown, so the next attempt must fence."""
    attempt.take_back(error)
    if not attempt.appender.fate_unknown:
        try:
            attempt.appender.settle(attempt.appender.release_all())
        except StoreError as trouble:
            log.warning("could not append the last entries of %s: %s", attempt.head.id, trouble)
    return attempt.appender.fate_unknown


def _close(attempt: Attempt) -> None:
    """No step begins any more, and the heartbeat is stopped and joined."""
    if not attempt.ended:
        with attempt.lock:
            attempt.ended = True
        count_live(-1)
    if attempt.lease is not None:
        attempt.lease.stop_heartbeat()


def _attempt_of(opened: Opened) -> Attempt:
    if opened.attempt is None:
        raise DurablyError(f"execution {opened.head.id!r} is finished")
    return opened.attempt


def _how(error: BaseException | None) -> str:
    if error is None:
        return "failed"
    try:
        told = str(error)
    except Exception:
        told = ""
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
