"""The store in a dictionary: for tests and for code that needs no durability beyond its own process."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence

from .. import claims
from ..clock import SYSTEM, Clock
from ..entries import Claim, Claimed, Ending, Head, Segment

_made: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


class MemoryStore:
    """Journals in this process's memory, gone with it. `redact`: names of fields whose values history hides."""

    def __init__(self, *, redact: str | Sequence[str] = (), clock: Clock = SYSTEM) -> None:
        self.redact = redact
        self.clock = clock
        self._lock = threading.Lock()
        self._heads: dict[str, Head] = {}
        self._segments: dict[tuple[str, str], dict[int, Segment]] = {}
        _made.add(self)

    def claim(self, claim: Claim, *, until: float) -> Claimed:
        """See Store.claim."""
        with self._lock:
            now = self.clock.now()
            head = self._heads.get(claim.id)
            standing = claims.standing(head, claim, now)
            if head is not None and standing in ("held", "finished"):
                return Claimed(standing, head)
            new = claims.claimed(head, claim, now)
            self._put(new, head)
            return Claimed(standing, new)

    def load(self, execution: str, generation: str, *, until: float) -> list[Segment]:
        """See Store.load."""
        with self._lock:
            written = self._segments.get((execution, generation), {})
            return [written[number] for number in sorted(written)]

    def append(self, segment: Segment, *, until: float) -> bool:
        """See Store.append."""
        with self._lock:
            written = self._segments.setdefault((segment.execution, segment.generation), {})
            return written.setdefault(segment.number, segment).owner == segment.owner

    def renew(self, execution: str, owner: str, lease_s: float, *, until: float) -> bool:
        """See Store.renew."""
        with self._lock:
            head = self._heads.get(execution)
            if head is None or not claims.is_holder(head, owner):
                return False
            self._heads[execution] = head._replace(lease_until=self.clock.now() + lease_s)
            return True

    def end(self, execution: str, owner: str, ending: Ending, *, until: float) -> bool:
        """See Store.end."""
        with self._lock:
            head = self._heads.get(execution)
            if head is None or not claims.is_holder(head, owner):
                return False
            self._heads[execution] = claims.ended(head, ending, self.clock.now())
            return True

    def read(self, execution: str, *, until: float) -> Head | None:
        """See Store.read."""
        with self._lock:
            head = self._heads.get(execution)
            return None if head is None or claims.is_expired(head, self.clock.now()) else head

    def newest(
        self, limit: int, *, before: tuple[float, str] | None = None, expired: bool = False, until: float
    ) -> list[Head]:
        """See Store.newest."""
        now = self.clock.now()
        with self._lock:
            heads = [head for head in self._heads.values() if expired or not claims.is_expired(head, now)]
        heads.sort(key=lambda head: (head.began, head.id), reverse=True)
        below = [head for head in heads if before is None or (head.began, head.id) < before]
        return [head._replace(event=None, result=None, attempts=()) for head in below[:limit]]

    def restore(self, head: Head, *, until: float) -> bool:
        """See Store.restore."""
        with self._lock:
            there = self._heads.get(head.id)
            if there is not None and not claims.is_expired(there, self.clock.now()):
                return False
            self._put(head, there)
            return True

    def _put(self, head: Head, there: Head | None) -> None:
        if there is not None and there.generation != head.generation:
            self._segments.pop((there.id, there.generation), None)
        self._heads[head.id] = head

    def delete(self, execution: str, generation: str, *, updated: float | None = None, until: float) -> bool:
        """See Store.delete."""
        with self._lock:
            if not claims.is_deletable(self._heads.get(execution), generation, updated, self.clock.now()):
                return False
            del self._heads[execution]
            self._segments.pop((execution, generation), None)
            return True


def _go_on_after_fork() -> None:
    """In a child, whose copy is its own: no thread is left to give back a lock that was held."""
    for store in list(_made):
        store._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_go_on_after_fork)
