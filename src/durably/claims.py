"""PURE: what a head means to whoever claims, renews or ends it. One set of rules for every store.

SQLite and memory apply these inside a transaction; DynamoDB writes the common ones as a condition and comes here with
the head that refused it.
"""

from __future__ import annotations

from .entries import FORMAT, AttemptRecord, Claim, Ending, Head, Standing
from .errors import DurablyError, StoreError

ATTEMPTS_KEPT = 6
"""Of the last attempts a head keeps this many, which holds it under 4 KB."""

CLOSED = ("failed", "cancelled")
"""A head of these stays what it is, result and all, while an operator holds its lease: only the action's end opens it."""

HOW_MAX = 80
"""Bytes of an attempt's ending kept in the head; the journal's error entry has it whole."""


class WrittenByNewer(StoreError):
    """This one execution can't be read here; others of its store can."""


def standing(head: Head | None, claim: Claim, now: float) -> Standing:
    """What the claim would get. Raises when the head is another function's, of another body, or of a newer format."""
    is_operators = claim.reopen or claim.seize
    if head is None or is_expired(head, now):
        if is_operators:
            raise DurablyError(f"there is no execution {claim.id!r}, or it has expired. Nothing was changed.")
        return "new"
    refuse_foreign(head, claim)
    if head.status == "completed":
        return "finished"
    if head.status in CLOSED and not is_operators:
        return "finished"
    if head.status == "waiting":
        return "taken over" if head.unsettled else "resumed"
    # Of a closed one too: whoever was running when it was closed may live on, and the next one fences.
    return "held" if head.lease_until > now and not claim.seize else "taken over"


def is_expired(head: Head, now: float) -> bool:
    """Whether the head counts as absent. One whose attempt still holds its lease never does."""
    if head.expires_at is None or head.expires_at > now:
        return False
    return head.lease_until <= now


def refuse_newer(head: Head) -> None:
    """Raise WrittenByNewer when this library can't read the head's journal."""
    if head.format > FORMAT:
        raise WrittenByNewer(
            f"execution {head.id!r} was written by a newer durably (journal format {head.format}; this one reads up to "
            f"{FORMAT}). Nothing was run. Upgrade durably here, or roll the newer deployment forward again."
        )


def refuse_foreign(head: Head, claim: Claim) -> None:
    """Raise when this head can't be this claim's."""
    refuse_newer(head)
    if claim.qualname and head.qualname and claim.qualname != head.qualname:
        raise DurablyError(
            f"execution {head.id!r} belongs to the function {head.qualname!r}, and {claim.qualname!r} asked for it. Nothing "
            "was run. Give each durable function its own name: @durable(name=…); if the function was renamed or moved, let "
            "the executions in flight finish under the old name first, or give it a new name=."
        )
    if claim.fingerprint and head.fingerprint and claim.fingerprint != head.fingerprint:
        raise DurablyError(
            f"execution {head.id!r} was begun by a request with another body. Nothing was run. The sender used one "
            "idempotency key for two different requests: answer 422, and have it make a new key for each."
        )


def claimed(head: Head | None, claim: Claim, now: float) -> Head:
    """The head once the claim is granted: a new generation, or the next attempt of the one there is."""
    if head is None or is_expired(head, now):
        expires_at = None if claim.expires_s is None else now + claim.expires_s
        head = Head(
            id=claim.id,
            generation=claim.generation,
            status="running",
            attempt=0,
            owner=claim.owner,
            lease_until=0.0,
            function=claim.function,
            qualname=claim.qualname,
            began=now,
            updated=now,
            expires_at=expires_at,
            source=claim.source,
            fingerprint=claim.fingerprint,
            event=claim.event,
        )
    number = head.attempt + 1
    record = AttemptRecord(number, now, claim.owner, claim.request_id)
    is_closed = head.status in CLOSED
    return head._replace(
        status=head.status if is_closed else "running",
        attempt=number,
        owner=claim.owner,
        lease_until=now + claim.lease_s,
        updated=now,
        attempts=(*head.attempts, record)[-ATTEMPTS_KEPT:],
        unsettled=False,
        result=head.result if is_closed else None,
    )


def is_deletable(head: Head | None, generation: str, updated: float | None, now: float) -> bool:
    """Whether this is the execution that was meant, as it was then, and no living attempt holds it."""
    if head is None or head.generation != generation:
        return False
    if updated is not None and round(head.updated, 3) != round(updated, 3):
        return False
    return head.lease_until <= now


def is_holder(head: Head | None, owner: str) -> bool:
    """Whether that attempt still holds the lease: nobody claimed, ended or cancelled the execution since."""
    return head is not None and head.owner == owner and head.lease_until > 0


def ended(head: Head, ending: Ending, now: float) -> Head:
    """The head once its holder has left it."""
    *earlier, last = head.attempts
    expires_at = head.expires_at
    if ending.status == "completed" and ending.expires_s is not None and expires_at is not None:
        # Only a completed head may outlive its first date: it needs no segment any more, and these keep their own.
        expires_at = max(expires_at, now + ending.expires_s)
    return head._replace(
        status=ending.status,
        lease_until=0.0,
        updated=now,
        attempts=(*earlier, last._replace(ended=now, how=short(ending.how))),
        unsettled=ending.unsettled,
        result=ending.result,
        expires_at=expires_at,
    )


def short(how: str) -> str:
    """An attempt's ending cut to HOW_MAX bytes, without the characters that JSON would write as several."""
    line = " ".join(how.translate(_PLAIN).split())
    return line.encode("utf-8", "replace")[:HOW_MAX].decode("utf-8", "ignore")


_PLAIN = {ord('"'): "'", ord("\\"): "/"} | dict.fromkeys((*range(32), 127), " ")
