"""A clock for tests: it stands still until it is told to move, and a sleep moves it at once."""

from __future__ import annotations

import threading
import time


class ManualClock:
    """Hand it to a store: `MemoryStore(clock=clock)`. Leases, retries' waits and the deadline of a test's context obey it."""

    def __init__(self) -> None:
        # It begins at the machine's own time: DynamoDB's answers carry a Date that the store compares with.
        self._wall = time.time()
        self._elapsed = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """See Clock.now."""
        return self._wall + self._elapsed

    def monotonic(self) -> float:
        """See Clock.monotonic."""
        return 1000.0 + self._elapsed

    def sleep(self, seconds: float) -> None:
        """Return at once, that much later."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let that much time pass."""
        with self._lock:
            self._elapsed += max(0.0, seconds)
