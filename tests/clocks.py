"""A clock that tests hand to stores: it stands still until it is told to move, and a sleep moves it at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class FakeClock:
    """Wall and monotonic time, advanced by hand or by a sleep; `slept` lists every sleep that was asked for.

    The wall clock begins at the machine's own time: DynamoDB's answers carry a Date that stores compare with.
    """

    def __init__(self) -> None:
        self._wall = time.time()
        self._elapsed = 0.0
        self._lock = threading.Lock()
        self.slept: list[float] = []
        self.on_sleep: Callable[[], object] | None = None
        """Called once, at the next sleep, before the time has passed."""

    def now(self) -> float:
        return self._wall + self._elapsed

    def monotonic(self) -> float:
        return 1000.0 + self._elapsed

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        called, self.on_sleep = self.on_sleep, None
        if called is not None:
            called()
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let that much time pass, for both clocks."""
        with self._lock:
            self._elapsed += max(0.0, seconds)


class Context:
    """What Lambda hands to a handler, with a deadline on a given clock."""

    function_name = "reviewer"
    function_version = "$LATEST"
    memory_limit_in_mb = "128"
    invoked_function_arn = "arn:aws:lambda:eu-west-1:111122223333:function:reviewer"

    def __init__(
        self, seconds: float, clock: FakeClock | None = None, request_id: str = "8f0b2c1e-0000-4000-8000-000000000001"
    ) -> None:
        self._monotonic = clock.monotonic if clock is not None else time.monotonic
        self._deadline = self._monotonic() + seconds
        self.aws_request_id = request_id

    def get_remaining_time_in_millis(self) -> int:
        return int((self._deadline - self._monotonic()) * 1000)
