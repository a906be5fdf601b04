"""DynamoDBStore: what the store protocol asks for, as conditional writes on one table.

A claim is one UpdateItem, an append one PutItem, a replay one Query; nothing is read on a first run. Every condition
names the attempt's random owner id, and a refused write answers with what stands there (ALL_OLD): a write that took
effect and whose answer was lost is told from a rival's by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ... import claims
from ...clock import SYSTEM, Clock
from ...entries import Claim, Claimed, Ending, Head, Segment
from ...errors import StoreError
from . import expressions, items
from .access import INLINE_BYTES, get, keep_text, query, update, whole, write_parts
from .calls import Calls, CorrectedClock, Refused
from .keeping import delete, restore
from .listing import newest_heads
from .table import create_table
from .texts import Item, Packed, pack

if TYPE_CHECKING:
    from boto3.session import Session


class DynamoDBStore:
    """Journals in the DynamoDB table `table`, with the credentials, region and endpoint that boto3 finds.

    `session`: a boto3 session to make the client from. `client`: a DynamoDB client, used as it is, its timeouts and
    retries included. The table has pk (S) and sk (S) as its keys; `create_table` makes one for laptops and tests.
    """

    def __init__(
        self,
        table: str,
        *,
        session: Session | None = None,
        client: Any = None,
        redact: str | Sequence[str] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        self.table = table
        self.redact = redact
        self.clock = CorrectedClock(clock)
        self._calls = Calls(table, session, client, self.clock)
        self._held: dict[str, tuple[Head, int]] = {}

    def create_table(self) -> None:
        """Create the table, its listing index and its TTL, unless it is there. Raises StoreError when that fails."""
        create_table(self._calls)

    def claim(self, claim: Claim, *, until: float) -> Claimed:
        """See Store.claim."""
        if claim.reopen or claim.seize:
            return self._take(claim, until)
        clock_was_known = self.clock.offset_s is not None
        now = round(self.clock.now(), 3)
        event = None if claim.event is None else pack(claim.event, beside=1024)
        inline = event if event is not None and len(event.raw) <= INLINE_BYTES else None
        try:
            there = update(self._calls, claim.id, expressions.claim(claim, now, inline), until).get("Attributes")
        except Refused as refused:
            claimed, there = self._judge(claim, refused.item, inline, until)
        else:
            claimed = _granted(items.head_from(there) if there else None, claim, now)
            if there and claimed.standing == "taken over" and not clock_was_known:
                claimed = self._hand_back_if_early(claimed, items.head_from(there), claim, until)
        if claimed.standing in ("held", "finished"):
            return claimed
        if self.clock.offset_s and not clock_was_known:
            claimed = self._write_times_anew(claimed, claim, until)
        size = len(inline.raw) if inline is not None else 0
        self._held[claim.owner] = (claimed.head._replace(event=None), size)
        has_event = claimed.standing != "new" and not {"event", "event_parts"}.isdisjoint(there or ())
        if event is not None and inline is None and not has_event:
            self._keep_event(claimed.head, claim, until)
        return claimed

    def load(self, execution: str, generation: str, *, until: float) -> list[Segment]:
        """See Store.load."""
        return items.segments_from(query(self._calls, execution, items.journal_prefix(generation), until))

    def append(self, segment: Segment, *, until: float) -> bool:
        """See Store.append."""
        parts, item = items.segment_items(segment)
        for part in parts:
            self._calls.call("PutItem", until=until, Item=part)
        try:
            self._calls.call("PutItem", until=until, Item=item, **expressions.IF_ABSENT)
        except Refused as refused:
            there = refused.item or get(self._calls, segment.execution, item["sk"]["S"], until)
            return there is not None and there["owner"]["S"] == segment.owner
        return True

    def renew(self, execution: str, owner: str, lease_s: float, *, until: float) -> bool:
        """See Store.renew."""
        try:
            update(self._calls, execution, expressions.renew(owner, self.clock.now() + lease_s), until)
        except Refused:
            self._held.pop(owner, None)
            return False
        return True

    def end(self, execution: str, owner: str, ending: Ending, *, until: float) -> bool:
        """See Store.end."""
        held, event_bytes = self._held.get(owner) or (self.read(execution, until=until), 0)
        if held is None or not claims.is_holder(held, owner) or not held.attempts:
            return False
        head = claims.ended(held, ending, self.clock.now())
        result = self._keep_result(head, event_bytes, until)
        try:
            ending_it = expressions.end(head, len(held.attempts) - 1, result, was_running=held.status == "running")
            update(self._calls, execution, ending_it, until)
        except Refused as refused:
            self._held.pop(owner, None)
            there = refused.item or get(self._calls, execution, "head", until)
            return there is not None and (there["owner"]["S"], there["status"]["S"]) == (owner, ending.status)
        self._held.pop(owner, None)
        return True

    def read(self, execution: str, *, until: float) -> Head | None:
        """See Store.read."""
        item = get(self._calls, execution, "head", until)
        if item is None:
            return None
        head = items.head_from(item)
        return None if claims.is_expired(head, self.clock.now()) else whole(self._calls, head, item, until)

    def newest(
        self, limit: int, *, before: tuple[float, str] | None = None, expired: bool = False, until: float
    ) -> list[Head]:
        """See Store.newest. One Query a shard, at the same time, merged."""
        return newest_heads(self._calls, limit, before, 0.0 if expired else self.clock.now(), until)

    def restore(self, head: Head, *, until: float) -> bool:
        """See Store.restore."""
        return restore(self._calls, head, self.clock, until)

    def delete(self, execution: str, generation: str, *, updated: float | None = None, until: float) -> bool:
        """See Store.delete."""
        return delete(self._calls, execution, generation, updated, self.clock, until)

    def _take(self, claim: Claim, until: float) -> Claimed:
        """An operator's claim: against the very head that was read, and without moving its event."""
        while True:
            item = get(self._calls, claim.id, "head", until)
            head = None if item is None else items.head_from(item)
            if item is not None and head is not None and head.owner == claim.owner:
                return Claimed("taken over", whole(self._calls, head, item, until))  # ours, whose answer was lost
            granted = _granted(head, claim, round(self.clock.now(), 3))
            if item is None or head is None or granted.standing in ("held", "finished"):
                return granted._replace(head=whole(self._calls, granted.head, item or {}, until))
            head, pointer = whole(self._calls, head, item, until), {}
            taken = claims.claimed(head, claim, granted.head.updated)
            if "result_parts" in item and taken.result is not None:
                # Parts are found by the head's owner, who is another from now on.
                pointer = write_parts(self._calls, taken, "result", taken.result, claim.owner, until)
            try:
                update(self._calls, claim.id, expressions.take(head, taken, pointer), until)
            except Refused:
                continue
            return Claimed(granted.standing, taken)

    def _judge(self, claim: Claim, item: Item | None, event: Packed | None, until: float) -> tuple[Claimed, Item]:
        """What a refused claim comes to: held, finished, our own after all, or to be claimed against this very head.

        With it the head's item as it was before.
        """
        while True:
            item = item or get(self._calls, claim.id, "head", until)
            now = round(self.clock.now(), 3)
            head = None if item is None else items.head_from(item)
            if head is not None and head.owner == claim.owner:
                # Our claim took effect and its answer was lost. Whether the last lease was released is lost with it.
                return Claimed("new" if head.attempt == 1 else "taken over", head), item or {}
            granted = _granted(head, claim, now)
            if granted.standing in ("held", "finished"):
                return granted._replace(head=whole(self._calls, granted.head, item or {}, until)), item or {}
            try:
                self._calls.call(
                    "PutItem", until=until, Item=_next_item(granted, item, event), **expressions.if_unchanged(head)
                )
            except Refused as refused:
                item = refused.item
                continue
            return granted, item or {}

    def _write_times_anew(self, claimed: Claimed, claim: Claim, until: float) -> Claimed:
        """The claim that taught us our clock's error was itself written by it: correct the lease, and a new head's times."""
        now, head = round(self.clock.now(), 3), claimed.head
        head = head._replace(lease_until=now + claim.lease_s, updated=now)
        changed = {"lease": items.number(head.lease_until), "updated": items.number(now)}
        if claimed.standing == "new":
            expires_at = None if claim.expires_s is None else now + claim.expires_s
            head = head._replace(began=now, expires_at=expires_at)
            changed |= {"began": items.number(now)} | items.ttl(expires_at)
        try:
            update(self._calls, claim.id, expressions.as_holder(changed, claim.owner), until)
        except Refused:
            raise StoreError(
                f"execution {claim.id!r} was claimed by another attempt; let the event come again."
            ) from None
        return claimed._replace(head=head)

    def _hand_back_if_early(self, claimed: Claimed, old: Head, claim: Claim, until: float) -> Claimed:
        """Our clock, now known to be ahead, saw a lease run out that still runs: give it back to its holder."""
        if old.status != "running" or old.lease_until <= self.clock.now():
            return claimed
        try:
            update(self._calls, claim.id, expressions.hand_back(old, claim.owner), until)
        except Refused:
            raise StoreError(
                f"execution {claim.id!r} was claimed by several attempts at once; let the event come again."
            ) from None
        return Claimed("held", old)

    def _keep_event(self, head: Head, claim: Claim, until: float) -> None:
        """Write a large event's parts, then let the head point at them."""
        pointer = write_parts(self._calls, head, "event", claim.event or "", claim.owner, until)
        pointer |= {"event_owner": {"S": claim.owner}}
        try:
            update(self._calls, head.id, expressions.point_at(pointer, claim.owner), until)
        except Refused:
            return  # Another attempt took over, and keeps the event itself; this one will learn of it at its first append.

    def _keep_result(self, head: Head, event_bytes: int, until: float) -> Item:
        """The result as attributes of the head; a large one is written as parts first."""
        if head.result is None:
            return {}
        return keep_text(self._calls, head, "result", head.result, event_bytes, until)


def _granted(old: Head | None, claim: Claim, now: float) -> Claimed:
    standing = claims.standing(old, claim, now)
    if old is not None and standing in ("held", "finished"):
        return Claimed(standing, old)
    return Claimed(standing, claims.claimed(old, claim, now))


def _next_item(granted: Claimed, item: Item | None, event: Packed | None) -> Item:
    """The head's item after a claim that replaces it: with the event it had, or with this one's if it is new."""
    if granted.standing == "new" or item is None:
        return items.head_item(granted.head) | ({} if event is None else {"event": event.attribute()})
    return items.head_item(granted.head) | {name: value for name, value in item.items() if name.startswith("event")}
