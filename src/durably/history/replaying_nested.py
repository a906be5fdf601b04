"""The store of a replayed handler's nested executions: in memory, each journal copied from the real store at its first use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..entries import Claim, Claimed, Ending, Head, Segment
from ..stores.memory import MemoryStore
from .actions_lease import Readable, read_journal, until_of

if TYPE_CHECKING:
    from ..clock import Clock


class DeskStore:
    """What `execution`, `once` and other durable functions inside a replay are given. `real` is only read.

    So what they have done in production is answered, and not done again.
    """

    def __init__(self, real: Readable) -> None:
        self.real = real
        self.copy = MemoryStore(clock=real.clock)
        self.looked_for: set[str] = set()
        self._lock = threading.Lock()

    @property
    def clock(self) -> Clock:
        """See Store.clock."""
        return self.real.clock

    def claim(self, claim: Claim, *, until: float) -> Claimed:
        """See Store.claim."""
        self._bring(claim.id)
        return self.copy.claim(claim, until=until)

    def load(self, execution: str, generation: str, *, until: float) -> list[Segment]:
        """See Store.load."""
        return self.copy.load(execution, generation, until=until)

    def append(self, segment: Segment, *, until: float) -> bool:
        """See Store.append."""
        return self.copy.append(segment, until=until)

    def renew(self, execution: str, owner: str, lease_s: float, *, until: float) -> bool:
        """See Store.renew."""
        return self.copy.renew(execution, owner, lease_s, until=until)

    def end(self, execution: str, owner: str, ending: Ending, *, until: float) -> bool:
        """See Store.end."""
        return self.copy.end(execution, owner, ending, until=until)

    def read(self, execution: str, *, until: float) -> Head | None:
        """See Store.read."""
        self._bring(execution)
        return self.copy.read(execution, until=until)

    def newest(
        self, limit: int, *, before: tuple[float, str] | None = None, expired: bool = False, until: float
    ) -> list[Head]:
        """See Store.newest: of those that were brought here."""
        return self.copy.newest(limit, before=before, expired=expired, until=until)

    def restore(self, head: Head, *, until: float) -> bool:
        """See Store.restore."""
        return self.copy.restore(head, until=until)

    def delete(self, execution: str, generation: str, *, updated: float | None = None, until: float) -> bool:
        """See Store.delete."""
        return self.copy.delete(execution, generation, updated=updated, until=until)

    def _bring(self, execution: str) -> None:
        with self._lock:  # two threads of a fan-out may come to the same one
            if execution in self.looked_for:
                return
            head = self.real.read(execution, until=until_of(self.real))
            if head is not None:
                bring(self.copy, head, read_journal(self.real, head))
            self.looked_for.add(execution)


def bring(copy: MemoryStore, head: Head, segments: list[Segment], *, reopen: bool = False) -> None:
    """Put an execution into a store in memory, held by nobody; with `reopen` as it stood before its ending.

    It does not expire at the desk.
    """
    until = until_of(copy)
    for segment in segments:
        copy.append(segment, until=until)
    if reopen or head.status == "running":
        head = head._replace(status="waiting", result=None)
    copy.restore(head._replace(lease_until=0.0, expires_at=None), until=until)
