"""Where a process can die: before and after each call to the world, each write to the store, each counted function."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["call", "write", "function"]
Side = Literal["before", "after"]

_ORDINALS = {1: "", 2: " (2nd)", 3: " (3rd)"}


class Point(NamedTuple):
    """A place in one attempt: `after POST /comments (2nd)`."""

    side: Side
    what: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.side} {self.what}{_ORDINALS.get(self.nth, f' ({self.nth}th)')}"


class Moment(NamedTuple):
    """A point as an attempt came by it. A packed append is one moment and has a point for each of its entries."""

    kind: Kind
    points: tuple[Point, ...]
    steps: tuple[str, ...]
    """The steps that were running; empty outside of any."""
