"""One attempt of one execution: its journal, its lease, its way into the store, and the reasons why it must stop.

    event → identity → claim (lease + journal) → handler → step: in the journal? replay : run → append → value
          → … → finish → result

`journal` decides; this class holds the lock around it, and turns entries into appends. Sync and async shells share it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from . import hooks
from .appender import Appender
from .codec import Codec
from .entries import Entry, Head, Segment
from .errors import DuplicateStep, DurablyError, LeaseLost, OutOfTime, StoreError
from .journal import Frame, Journal
from .stores.protocol import SEGMENT_GRACE_S, Store

if TYPE_CHECKING:
    from .lease import Lease

PATIENCE_S = 20.0
"""How long a store that does not answer is asked again where there is no deadline."""


def patience_s(remaining: Callable[[], float] | None) -> float:
    """For how long the store may be asked again from now on; `remaining` tells the seconds to the deadline."""
    return PATIENCE_S if remaining is None else min(PATIENCE_S, max(0.5, remaining() - 0.2))


_forks = 0
"""How often this process was forked off. Asked for at every step, where its id would be a call of the system's."""


class Attempt:
    """What every step of one attempt works with. `lease` is None when a finished execution is only replayed."""

    def __init__(
        self,
        store: Store,
        head: Head,
        segments: Sequence[Segment],
        *,
        codec: Codec,
        lease: Lease | None,
        remaining: Callable[[], float] | None = None,
        reserve_s: float = 0.0,
    ) -> None:
        self.store = store
        self.clock = store.clock
        self.head = head
        self.codec = codec
        self.lease = lease
        self.remaining = remaining
        self.reserve_s = reserve_s
        self.journal = Journal(head.id, head.attempt, segments)
        self.appender = Appender(self._write, len(segments) + 1)
        self.lock = threading.Lock()
        self._forks = _forks
        self.stopped: Exception | None = None
        self.ended = False
        self.completed = False
        self.left_as = "lost"
        """The status it left its execution in, once it has."""
        self.left_with: BaseException | None = None
        self.running: set[str] = set()
        self.lines: dict[Frame | None, list[tuple[Frame, Any]]] = {}
        """Asyncio tasks that are lines of control of their own, and the frames that stand for them, by the lane around them."""
        self.writer: Any = None
        """The asyncio task that writes for all."""
        self.ran = 0

    @property
    def is_a_forks(self) -> bool:
        """Whether this is the copy that a forked child got: two processes that append as one owner would hide each other's."""
        return self._forks != _forks

    # What a step asks before it begins.

    def find(self, frame: Frame) -> Entry | None:
        """Use the step's name: its remembered outcome, or None. Raises the stop signal there was, or DuplicateStep."""
        step = frame.step
        if self._forks != _forks:
            raise DurablyError(
                f"step {step!r} was called in a process forked from the one that runs execution {self.head.id!r}. Only that "
                "one can append, so it was not run. Make the call that starts the process and takes its answer the step."
            )
        with self.lock:
            if self.ended:
                raise DurablyError(
                    f"step {step!r} was called after attempt {self.head.attempt} of execution {self.head.id!r} had ended. Its "
                    "outcome could no longer be kept, so it was not run. Wait for your threads before the handler returns."
                )
            if self.stopped is not None:
                raise self.stopped
            outcome = self.journal.begin(frame)
            if outcome is None:
                self._refuse_if_finished(step)
                self._refuse_if_running(step)
                self.running.add(step)
            return outcome

    def _refuse_if_finished(self, step: str) -> None:
        if self.lease is None:
            raise DurablyError(
                f"execution {self.head.id!r} is completed, and its journal has no step {step!r}. Nothing was run: the body of a "
                "completed execution is only replayed. Test ex.finished before new work, or use another execution id."
            )

    def _refuse_if_running(self, step: str) -> None:
        """Its name was freed by a new try of the step around it, and the run of the last try goes on."""
        if step in self.running:
            hint = (
                "It is still running from the last try of the step around it: there, wait for all that a try has begun "
                "before it ends (asyncio.TaskGroup does, asyncio.gather does not)."
            )
            raise DuplicateStep(self.head.id, step, hint)

    def count_begun(self, frame: Frame) -> None:
        """A step was let begin: it will run."""
        with self.lock:
            self.ran += 1
            self.journal.count_begun(frame)

    def left_step(self, frame: Frame) -> None:
        """A step that `find` let begin is over, whichever way."""
        with self.lock:
            self.running.discard(frame.step)
        if hooks.watching:
            hooks.tell(hooks.StepEnded(self.head, frame.step, frame.outcome, frame.error))

    def refuse_if_late(
        self, step: str, reserve_s: float | None, wait_s: float = 0.0, cause: BaseException | None = None
    ) -> None:
        """Raise OutOfTime, and stop the attempt, unless the step's reserve remains after waiting that long."""
        if self.stopped is not None:
            raise self.stopped
        if self.remaining is None:
            return
        reserve = self.reserve_s if reserve_s is None else reserve_s
        left = self.remaining() - wait_s
        if left < reserve:
            raise self.stop(OutOfTime(self.head.id, step, left, reserve, first=self.ran == 0)) from cause

    def needs_renewal(self) -> bool:
        """Whether the lease has run out by our own clock, so that no try may begin before it is renewed."""
        return self.lease is not None and self.lease.has_run_out()

    def renew(self) -> None:
        """Renew the lease now. Raises LeaseLost, or StoreError when the store never answered; both stop the attempt."""
        assert self.lease is not None
        until, pause_s = self.until(), 0.1
        while True:
            try:
                held = self.lease.renew(until)
                break
            except StoreError as error:
                # Failed is not refused: the lease may still be ours, so ask again while there is time.
                if self.clock.monotonic() + pause_s >= until:
                    raise self.stop(error) from error
            self.clock.sleep(pause_s)
            pause_s = min(1.0, pause_s * 2)
        if not held:
            raise self.stop(LeaseLost(self.head.id, self.head.attempt))

    # What it leaves behind.

    def remember(self, entry: Entry) -> int:
        """Take the entry into the journal and queue it. Returns the mark at which it is durable."""
        with self.lock:
            self.journal.remember(entry)
            return self.appender.add((entry,))

    def remember_pending(self, entry: Entry, lane: object) -> None:
        """Take the entry into the journal; it becomes durable when its lane's code begins its next step."""
        with self.lock:
            self.journal.remember(entry)
            self.appender.hold((entry,), lane)

    def join_lanes(self, lanes: Collection[Frame | None], into: Frame | None) -> None:
        """These lines of control are over: what they hold, and what failed on them, is that one's from here on."""
        self.appender.join_lanes(lanes, into)
        with self.lock:
            self.journal.join(lanes, into)

    def take_back(self, error: BaseException | None) -> None:
        """Queue what takes back the failures that leave the handler with this exception."""
        with self.lock:
            # Of several tasks that failed, asyncio.gather hands on the first: nobody was told what ended the others.
            tasks = [task for lines in self.lines.values() for _, task in lines]
            over = [task for task in tasks if task.done() and not task.cancelled()]
            beside = [] if error is None else [task.exception() for task in over if task.exception() is not None]
            self.appender.hold(self.journal.left(error, beside), None)

    def settle(self, mark: int) -> None:
        """Return when everything up to the mark is in the store. LeaseLost and StoreError stop the attempt."""
        try:
            self.appender.settle(mark)
        except (LeaseLost, StoreError) as error:
            raise self.stop(error) from None

    def is_durable(self, mark: int) -> bool:
        """Whether everything up to the mark is in the store. Raises the stop signal when it can't get there any more."""
        try:
            return self.appender.is_durable(mark)
        except (LeaseLost, StoreError) as error:
            raise self.stop(error) from None

    def stop(self, signal: Exception) -> Exception:
        """Make a stop signal stick, and return the first there was: no step begins any more."""
        with self.lock:
            if self.stopped is None:
                self.stopped = signal
            return self.stopped

    def until(self) -> float:
        """The monotonic instant up to which the store may be asked again."""
        return self.clock.monotonic() + patience_s(self.remaining)

    def _write(self, number: int, entries: tuple[Entry, ...]) -> None:
        head = self.head
        if self.is_a_forks:
            raise LeaseLost(head.id, head.attempt, "this process was forked from the one that holds it")
        if self.completed:
            raise LeaseLost(head.id, head.attempt, "its handler returned while this step was still running")
        expires_at = None if head.expires_at is None else head.expires_at + SEGMENT_GRACE_S
        segment = Segment(head.id, head.generation, number, head.owner, entries, expires_at)
        append = self._append_watched if hooks.watching else self._append
        append(segment)

    def _append(self, segment: Segment) -> None:
        if not self.store.append(segment, until=self.until()):
            raise LeaseLost(self.head.id, self.head.attempt)

    def _append_watched(self, segment: Segment) -> None:
        began, error = time.monotonic(), None
        try:
            self._append(segment)
        except Exception as failure:
            error = failure
            raise
        finally:
            took_s = time.monotonic() - began
            hooks.tell(hooks.Appended(self.head, segment.number, segment.entries, took_s, error))


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)
