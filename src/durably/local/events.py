"""An event that nobody waits for, as Lambda's queue takes it: up to three attempts, an age, and records of what failed."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .attempts import Attempts, Delivery
from .outcome import Outcome
from .pool import Pool, closed
from .records import write_failure
from .sandbox import Sandbox
from .stops import NO_MISCHIEF

RETRY_DELAYS_S = (60.0, 120.0)
"""Lambda waits a minute before the second attempt and two before the third."""

SIBLING_POLL_S = 0.02


class Retrying(NamedTuple):
    """How a function's failed events are tried again, and where they are left in the end."""

    time_scale: float
    retries: int
    max_age_s: float
    folder: Path


class Sent:
    """An event on its way, or at its end."""

    def __init__(self, attempts: Attempts, pool: Pool, retrying: Retrying, delivery: Delivery) -> None:
        self.request_id = delivery.request_id
        self.outcomes: list[Outcome] = []
        """One an attempt, so far. A duplicate's are its own."""
        self.duplicate: Sent | None = None
        self._attempts, self._pool, self._retrying, self._delivery = attempts, pool, retrying, delivery
        self._sibling: Sent | None = None
        self._is_running = False
        self._thaw = threading.Event()
        self._end: Future[Outcome] = Future()

    def begin(self) -> None:
        """Set out, and a duplicate with it if there is to be one."""
        if not self._delivery.mischief.duplicate:
            self._attempts.beside(self._run)
            return
        twice = self._delivery._replace(how="duplicate", mischief=NO_MISCHIEF)
        self.duplicate = Sent(self._attempts, self._pool, self._retrying, twice)
        self.duplicate._sibling, self._sibling = self, self.duplicate
        self._attempts.beside(self._run_both)

    def wait(self, seconds: float | None = None) -> Outcome:
        """The last attempt's outcome, when no other will follow. Raises TimeoutError, and Refused when all was closed."""
        outcome = self._end.result(seconds)
        if self.duplicate is not None:
            self.duplicate.wait(seconds)
        return outcome

    def _run_both(self) -> None:
        """Both sandboxes have initialised before either is given the event, so that the two overlap."""
        assert self.duplicate is not None
        mine, other = self._pool.take(waits=True), self._pool.take(waits=True)
        mine.start()
        other.start()
        self._is_running = self.duplicate._is_running = True
        self._attempts.beside(partial(self.duplicate._run, other))
        self._run(mine)

    def _run(self, sandbox: Sandbox | None = None) -> None:
        try:
            self._end.set_result(self._deliver(sandbox))
        except Exception as error:
            self._end.set_exception(error)
        finally:
            self._is_running = False
            self._thaw.set()

    def _deliver(self, sandbox: Sandbox | None) -> Outcome:
        delivery, began = self._delivery, time.monotonic()
        while True:
            self._is_running = True
            outcome = self._attempts.make(delivery, sandbox=sandbox, thaw=self._thaw)
            self._is_running = False
            self.outcomes.append(outcome)
            sandbox = None
            if delivery.number > 1:
                self._thaw.set()
            if self._pool.closed.is_set():
                raise closed()
            if not outcome.failed:
                self._attempts.tell(delivery, "Succeeds")
                return outcome
            age_s = time.monotonic() - began + delivery.ahead_s
            condition = self._why_no_more(delivery, age_s)
            if condition:
                self._give_up(delivery, outcome, condition)
                return outcome
            delivery = self._waited(delivery)

    def _why_no_more(self, delivery: Delivery, age_s: float) -> str:
        if delivery.number > self._retrying.retries:
            return "RetriesExhausted"
        too_old = age_s + RETRY_DELAYS_S[delivery.number - 1] > self._retrying.max_age_s
        return "EventAgeExceeded" if too_old else ""

    def _waited(self, delivery: Delivery) -> Delivery:
        """The next attempt, after its wait. What is left out of the wait, the clock is set ahead.

        Time isn't left out while the other delivery of the event runs: what it does takes its time, and no minute passes in it.
        """
        seconds = RETRY_DELAYS_S[delivery.number - 1]
        really_s = seconds / self._retrying.time_scale
        self._attempts.tell(delivery, "Waits", seconds=seconds, really_s=really_s)
        began, left_s = time.monotonic(), really_s
        while left_s > 0:
            if self._pool.closed.wait(left_s):
                raise closed()
            is_over = self._sibling is None or not self._sibling._is_running
            left_s = 0.0 if is_over else min(SIBLING_POLL_S, began + seconds - time.monotonic())
        waited_s = min(seconds, time.monotonic() - began)
        return delivery._replace(number=delivery.number + 1, ahead_s=delivery.ahead_s + seconds - waited_s)

    def _give_up(self, delivery: Delivery, outcome: Outcome, condition: str) -> None:
        written = write_failure(
            self._retrying.folder,
            self._attempts.function,
            delivery.payload,
            outcome,
            request_id=self.request_id,
            condition=condition,
            attempts=delivery.number,
        )
        self._attempts.tell(delivery, "GivenUp", condition=condition, written=[str(path) for path in written])
