"""A store that comes by a point before and after each write, for one run or for several told apart by their owners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ..clock import Clock
from ..entries import Claim, Claimed, Ending, Segment
from ..stores.protocol import Store

T = TypeVar("T")


class Pass(Protocol):
    """Come by a point of whoever writes: `owner` is the attempt's, None for whoever calls. Never returns to a dead one."""

    def __call__(self, side: str, whats: tuple[str, ...], owner: str | None) -> object: ...


class WatchedStore:
    """`inner`, each write of it between two points. What only reads comes by none, and is refused to the dead as well."""

    def __init__(
        self,
        inner: Callable[[], Store],
        come_by: Pass,
        *,
        alive: Callable[[], object] = lambda: None,
        appended: Callable[[Segment], object] = lambda segment: None,
        claiming: Callable[[Claim], object] = lambda claim: None,
    ) -> None:
        self._inner, self._come_by = inner, come_by
        self._alive, self._appended, self._claiming = alive, appended, claiming

    @property
    def clock(self) -> Clock:
        """See Store.clock."""
        return self._inner().clock

    def claim(self, claim: Claim, *, until: float) -> Claimed:
        """See Store.claim."""
        self._claiming(claim)
        return self._write(("claim",), None, lambda: self._inner().claim(claim, until=until))

    def append(self, segment: Segment, *, until: float) -> bool:
        """See Store.append."""

        def write() -> bool:
            written = self._inner().append(segment, until=until)
            if written:
                self._appended(segment)
            return written

        return self._write(names_of(segment), segment.owner, write)

    def renew(self, execution: str, owner: str, lease_s: float, *, until: float) -> bool:
        """See Store.renew."""
        return self._write(("renew",), owner, lambda: self._inner().renew(execution, owner, lease_s, until=until))

    def end(self, execution: str, owner: str, ending: Ending, *, until: float) -> bool:
        """See Store.end."""
        what = (f"end {ending.status}",)
        return self._write(what, owner, lambda: self._inner().end(execution, owner, ending, until=until))

    def __getattr__(self, name: str) -> Any:
        self._alive()
        return getattr(self._inner(), name)

    def _write(self, whats: tuple[str, ...], owner: str | None, write: Callable[[], T]) -> T:
        self._come_by("before", whats, owner)
        answer = write()
        self._come_by("after", whats, owner)
        return answer


def names_of(segment: Segment) -> tuple[str, ...]:
    """What an append is called, once for each of its entries: how a fan-out's are packed differs from run to run."""
    kinds = {"began": "fence"}
    return tuple(f"append {kinds.get(entry.kind, entry.kind)} {entry.step}".rstrip() for entry in segment.entries)
