"""The sandboxes of one function: warm ones wait for an event, each serves one at a time, a killed one never again."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .payloads import Refused
from .sandbox import Sandbox


class Pool:
    """Hands out a warm sandbox, or a new one while fewer than `concurrency` are at work. Threads may share it."""

    def __init__(self, make: Callable[[], Sandbox], concurrency: int) -> None:
        self._make = make
        self._free = threading.Condition()
        self.concurrency = concurrency
        self._warm: list[Sandbox] = []
        self._busy: set[Sandbox] = set()
        self._spared: set[Sandbox] = set()
        self.closed = threading.Event()

    def take(self, *, waits: bool) -> Sandbox:
        """A sandbox of one's own until `give_back`. Raises Refused when all are busy and the caller won't wait."""
        with self._free:
            while len(self._busy) >= self.concurrency and not self.closed.is_set():
                if not waits:
                    raise Refused(429, "TooManyRequestsException", "Rate Exceeded.")
                self._free.wait()
            if self.closed.is_set():
                raise closed()
            sandbox = self._warm.pop() if self._warm else self._make()
            self._busy.add(sandbox)
        if sandbox.pid is not None and not sandbox.is_alive:  # It died while it was idle.
            self.give_back(sandbox)
            return self.take(waits=waits)
        return sandbox

    def give_back(self, sandbox: Sandbox) -> None:
        """For the next event when it lives; else it is closed."""
        lives = sandbox.is_alive
        with self._free:
            self._busy.discard(sandbox)
            keep = lives and not self.closed.is_set()
            if keep:
                self._warm.append(sandbox)
            self._free.notify()
        if not keep:
            sandbox.close()

    def spare(self, sandbox: Sandbox) -> None:
        """It lives on though its attempt is over: it takes no room, and no event comes to it any more."""
        with self._free:
            self._busy.discard(sandbox)
            self._spared.add(sandbox)
            self._free.notify()

    def bury(self, sandbox: Sandbox) -> None:
        """End one that was spared."""
        sandbox.close()
        with self._free:
            self._spared.discard(sandbox)

    def close(self) -> None:
        """End all. Those at work are killed, and closed by the threads that drive them."""
        with self._free:
            self.closed.set()
            warm, self._warm = self._warm, []
            driven = [*self._busy, *self._spared]
            self._free.notify_all()
        for sandbox in driven:
            sandbox.kill()
        for sandbox in warm:
            sandbox.close()


def closed() -> Refused:
    """What whoever still waits is told."""
    return Refused(410, "ResourceGoneException", "the local Lambda was closed")
