"""Time as an argument: what a store and an attempt read the time from and sleep by, so that tests can hand in their own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Three readings of time, in seconds."""

    def now(self) -> float:
        """The wall clock, in seconds since the epoch: what is written down."""
        ...

    def monotonic(self) -> float:
        """A clock that never steps back: what leases and deadlines are judged by within one process."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        ...


class SystemClock:
    """The machine's own clocks."""

    ahead_s = 0.0
    """How far `now` is set ahead: the local Lambda retries after a second what Lambda does after a minute, and leases run out."""

    def now(self) -> float:
        """The machine's time, set ahead or not."""
        return time.time() + self.ahead_s

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


SYSTEM = SystemClock()
