"""What every store promises. `tests/contract.py` holds each line of it against all of them.

A store keeps heads and segments; it knows nothing of steps. `until` is an instant of `clock.monotonic()`: a store that
does not answer is asked again until then, and then StoreError is raised, with the fate of a write unknown.
"""

from __future__ import annotations

from typing import Protocol

from ..clock import Clock
from ..entries import Claim, Claimed, Ending, Head, Segment

SEGMENT_GRACE_S = 7 * 86_400.0
"""Segments are kept this much longer than their head, so that a head never stands without its journal."""


class Store(Protocol):
    """Where journals live. Every method may be called from several threads at once, and after a fork."""

    @property
    def clock(self) -> Clock:
        """What leases and times of this store are told by."""
        ...

    def claim(self, claim: Claim, *, until: float) -> Claimed:
        """Take the lease if it is free, in one atomic step, and say how the execution stands.

        Free is: no head, an expired one, a released lease, or one that ran out. Of several claims at once one gets it.
        Raises StoreError where the store can't be used at all (no table, no permission), before anything is written.

        An operator's claim (`reopen`, `seize`) makes no execution: DurablyError where there is none. It takes up failed and
        cancelled ones again, never a completed one; with `seize` it also takes the lease from a living attempt. Whoever
        was running there is to be fenced: it is `taken over`. A failed or cancelled head keeps status and result until `end`:
        an operator who dies in between has opened nothing.
        """
        ...

    def load(self, execution: str, generation: str, *, until: float) -> list[Segment]:
        """Every segment of that generation by number, as of now: no append acknowledged before the call is missing."""
        ...

    def append(self, segment: Segment, *, until: float) -> bool:
        """Write the segment at its number, whole or not at all. False when another attempt wrote there first.

        True also when this very append was written before and its answer lost.
        """
        ...

    def renew(self, execution: str, owner: str, lease_s: float, *, until: float) -> bool:
        """Let the lease run that long from now. False when that attempt no longer holds it; then nothing changes."""
        ...

    def end(self, execution: str, owner: str, ending: Ending, *, until: float) -> bool:
        """Give the lease back, with how the attempt ended. False when it no longer holds it; then nothing changes.

        So the second of two calls is told False, also with the same ending; one whose answer was lost is told True.
        """
        ...

    def read(self, execution: str, *, until: float) -> Head | None:
        """The head as of now, with event and result; None when there is none or it has expired."""
        ...

    def newest(
        self, limit: int, *, before: tuple[float, str] | None = None, expired: bool = False, until: float
    ) -> list[Head]:
        """Heads by `(began, id)`, newest first, below `before`; without event, result and attempts. May lag behind.

        With `expired` also those that count as absent and still lie there.
        """
        ...

    def restore(self, head: Head, *, until: float) -> bool:
        """Write a whole head where there is none, or an expired one. False when there is one; then nothing changes.

        Its segments are appended before, in a generation of its own: until the head stands nobody meets them.
        """
        ...

    def delete(self, execution: str, generation: str, *, updated: float | None = None, until: float) -> bool:
        """Remove that generation's head and all that belongs to it. False, and nothing changes, when the head is of another
        generation or gone, or a living attempt holds it; with `updated` (a head's, as it was listed) also when an attempt
        or an operator has been there since.

        Broken off in the middle, it leaves a head that counts as expired, and is finished by the same call again.
        """
        ...
