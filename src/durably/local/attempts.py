"""One attempt at an event: a sandbox from the pool, what it tells passed on as news, and zombies driven to their end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .news import Listener, News
from .outcome import Outcome
from .pool import Pool
from .sandbox import INIT_MAX_S, Sandbox
from .stops import NO_MISCHIEF, Mischief

LINGERS_S = 60.0
"""How long a zombie may live on."""
THAW_POLL_S = 0.02


class Delivery(NamedTuple):
    """An event on its way to a handler: the `number`-th attempt at it, on a clock that is `ahead_s` ahead."""

    payload: bytes
    request_id: str
    how: str
    """As news calls it: `event`, `duplicate`, `call` or `batch`."""
    number: int = 1
    ahead_s: float = 0.0
    mischief: Mischief = NO_MISCHIEF
    headers: Mapping[str, str] | None = None


class Attempts:
    """Makes the attempts of one function. Threads may share it."""

    def __init__(self, function: str, pool: Pool, timeout_s: float, on_news: Listener) -> None:
        self.function, self._pool, self._timeout_s = function, pool, timeout_s
        self._on_news = on_news
        self._one_at_a_time = threading.Lock()
        self._threads: list[threading.Thread] = []

    def make(
        self, delivery: Delivery, *, sandbox: Sandbox | None = None, thaw: threading.Event | None = None
    ) -> Outcome:
        """Run the handler on it, in `sandbox` if one was taken before. A zombie that stands still goes on after `thaw`."""
        for init_limit_s in (INIT_MAX_S, self._timeout_s):
            # A slow initialisation is begun anew, within the function's own timeout (Lambda's runtime environment).
            sandbox = sandbox or self._pool.take(waits=delivery.how != "call")
            outcome = self._run(delivery, sandbox, init_limit_s, thaw)
            if outcome.how != "init timed out":
                break
            sandbox = None
        return outcome

    def tell(self, delivery: Delivery, what: str, *, at: float | None = None, **said: Any) -> None:
        """Pass news on, one at a time."""
        at = time.time() if at is None else at
        news = News(what, self.function, delivery.request_id, delivery.number, delivery.how, at, said)
        with self._one_at_a_time:
            self._on_news(news)

    def beside(self, work: Callable[[], object]) -> threading.Thread:
        """Do it in a thread that `join` waits for."""
        thread = threading.Thread(target=work, name=f"durably-local-{self.function}", daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()
        return thread

    def join(self) -> None:
        """Return when nothing is done beside any more."""
        for thread in self._threads:
            thread.join()

    def _run(self, delivery: Delivery, sandbox: Sandbox, init_limit_s: float, thaw: threading.Event | None) -> Outcome:
        first = delivery.number == 1
        mischief = delivery.mischief
        sandbox.on_signal = lambda told: self.tell(delivery, **_as_news(told))
        sandbox.on_output = lambda text: self.tell(delivery, "Output", text=text)
        self.tell(delivery, "Begins", cold=not sandbox.is_alive, timeout_s=self._timeout_s)
        is_spared = False
        try:
            outcome = sandbox.invoke(
                delivery.payload,
                request_id=delivery.request_id,
                timeout_s=self._timeout_s,
                init_limit_s=init_limit_s,
                ahead_s=delivery.ahead_s,
                stops=mischief.stops_of(delivery.number),
                kill_after_s=mischief.kill_after_s if first else None,
                spare=mischief.zombie and first,
                headers=delivery.headers,
            )
            is_spared = outcome.how == "timed out" and sandbox.is_alive
        except BaseException:
            sandbox.kill()  # Ctrl-C: it is in the middle of an event, and can't serve another.
            raise
        finally:
            if not is_spared:
                self._pool.give_back(sandbox)
        self.tell(delivery, "Ends", how=outcome.how, took_s=outcome.took_s, error=outcome.error, spared=is_spared)
        if is_spared:
            self._pool.spare(sandbox)
            self.beside(lambda: self._drive_on(delivery, sandbox, thaw))
        return outcome

    def _drive_on(self, delivery: Delivery, zombie: Sandbox, thaw: threading.Event | None) -> None:
        try:
            while (
                zombie.is_paused and thaw is not None and not thaw.wait(THAW_POLL_S) and not self._pool.closed.is_set()
            ):
                pass
            self.tell(delivery, "ZombieEnds", how=zombie.linger(LINGERS_S))
        finally:
            self._pool.bury(zombie)


def _as_news(told: Mapping[str, Any]) -> dict[str, Any]:
    """A process's signal, its attempt being the durable execution's and not Lambda's."""
    renamed = {"attempt": "execution_attempt"}
    return {renamed.get(name, name): value for name, value in told.items()}
