"""One attempt's lease: when it runs out by the attempt's own clock, and the heartbeat that renews it.

A handler that ends within a third of its lease needs no heartbeat, and starting a thread for each would cost more than
the handler. So one sleeping timer a process watches all attempts, and starts a heartbeat thread only for one that is
still running when its first renewal is due.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .clock import Clock
from .errors import DurablyError
from .stores.protocol import Store
from .timer import after

GRACE_S = 2.0
"""A lease reaches at most this far beyond the attempt's deadline, so that Lambda's retry finds it run out."""

log = logging.getLogger("durably")


class Lease:
    """The right of one attempt to append. `remaining` tells the seconds to the attempt's deadline, where it has one."""

    def __init__(
        self, store: Store, execution: str, owner: str, *, seconds: float, remaining: Callable[[], float] | None
    ) -> None:
        self.seconds = seconds
        self._store = store
        self._clock: Clock = store.clock
        self._execution = execution
        self._owner = owner
        self._remaining = remaining
        self._renewing = threading.Lock()
        self._runs_out = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._cancel_timer: Callable[[], None] | None = None

    def length(self) -> float:
        """How long a lease taken now may run, in seconds."""
        if self._remaining is None:
            return self.seconds
        return max(0.0, min(self.seconds, self._remaining() + GRACE_S))

    def taken(self, asked_at: float, length: float) -> None:
        """It was granted for that long, counted from before the request was sent: our clock must run out first."""
        self._runs_out = asked_at + length

    def has_run_out(self) -> bool:
        """Whether it has run out by this attempt's own monotonic clock."""
        return self._clock.monotonic() >= self._runs_out

    def renew(self, until: float) -> bool:
        """Renew it conditionally. False when another attempt has taken over. Raises StoreError when no answer came."""
        with self._renewing:
            asked_at, length = self._clock.monotonic(), self.length()
            held = self._store.renew(self._execution, self._owner, length, until=until)
            if held:
                self.taken(asked_at, length)
            return held

    def start_heartbeat(self, lost: Callable[[], object]) -> None:
        """Renew every third of the lease from now on; `lost` is called once when a renewal is refused."""
        if self._remaining is not None and self._remaining() + GRACE_S <= self.seconds:
            return  # It already reaches as far as it ever may.
        self._cancel_timer = after(self.seconds / 3, lambda: self._start_thread(lost))

    def stop_heartbeat(self) -> None:
        """Stop and join: nothing of it runs when the handler has returned."""
        with self._starting:
            self._stop.set()
        if self._cancel_timer is not None:
            self._cancel_timer()
        if self._thread is not None:
            self._thread.join()

    def _start_thread(self, lost: Callable[[], object]) -> None:
        with self._starting:
            if not self._stop.is_set():
                self._thread = threading.Thread(target=self._beat, args=(lost,), name="durably-heartbeat", daemon=True)
                self._thread.start()

    def _beat(self, lost: Callable[[], object]) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            pause = self.seconds / 3
            if self._remaining is not None and self._remaining() + GRACE_S <= 0:
                return
            try:
                held = self.renew(self._clock.monotonic() + self.seconds / 3)
            except DurablyError as error:
                # Failed, not refused: the lease may still be ours, so ask again soon.
                log.warning("could not renew the lease of %s: %s", self._execution, error)
                pause = self.seconds / 30
                continue
            if not held:
                lost()
                return
