"""Entries on their way into the store: one append at a time, and whatever gathered meanwhile goes out together.

It starts no thread. Whoever waits for an entry while nobody is writing becomes the writer; the others wait for it. That is
group commit (many callers, one write), and a lone caller pays nothing for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from operator import itemgetter

from .entries import Entry
from .errors import StoreError

SEGMENT_CHARS = 200_000
"""A segment takes entries up to this much text, which stays below DynamoDB's 400 KB item; a larger entry goes alone."""

QUICK = 4.0
"""A step that takes less than this many appends is quick."""

FIRST_WRITE_S = 0.05
"""What an append is taken to last before there was one."""

Write = Callable[[int, tuple[Entry, ...]], None]
"""Write one segment at that number. Raises LeaseLost or StoreError."""


class Appender:
    """The queue of one attempt's entries, and how far it is durable.

    Pending entries are held apart: a failure that nobody has handled yet must not ride along with another step's
    append, or a crash would make it history. They are released when the code that met them begins its next step;
    results of repeatable steps with the next one of any line of control.
    """

    def __init__(self, write: Write, next_number: int) -> None:
        self.fate_unknown = False
        """Whether a write failed without saying if it took effect."""
        self._write = write
        self._next_number = next_number
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self._queue: list[Entry] = []
        self._free: list[tuple[int, Entry]] = []
        """Pending results, and failures that were taken back: they go out with the next release."""
        self._failed: dict[object, dict[str, tuple[int, Entry]]] = {}
        """Pending failures by lane and step."""
        self._lane_of: dict[str, object] = {}
        self._order = 0
        """Of what is pending, the order in which it came."""
        self._added = 0
        self._durable = 0
        self._pending = 0
        self._writing = False
        self._broken: Exception | None = None
        self._write_s = FIRST_WRITE_S

    def add(self, entries: Sequence[Entry]) -> int:
        """Queue entries for the next append. Returns the mark at which they are durable."""
        with self._lock:
            return self._add(entries)

    def hold(self, entries: Sequence[Entry], lane: object) -> None:
        """Keep pending entries back until `release`. A lane is one line of control: an item of a fan-out, or None."""
        with self._lock:
            for entry in entries:
                self._hold(entry, lane)

    def _hold(self, entry: Entry, lane: object) -> None:
        self._order += 1
        if entry.kind == "error":
            self._failed.setdefault(lane, {})[entry.step] = self._order, entry
            self._lane_of[entry.step] = lane
            return
        failure = self._failed.get(self._lane_of.pop(entry.step, None), {}).pop(entry.step, None)
        if failure is not None:
            # Both, in this order and before any later outcome: whichever is written last has the last word.
            self._free.append(failure)
        self._free.append((self._order, entry))

    def release(self, lanes: Collection[object] | None = None) -> int:
        """Queue what is held in these lanes, or in all. Returns the mark at which it is durable, 0 when it is already.

        Results go whatever their lane: another line of control may have been handed one and act on it.
        """
        if not self._free and not self._lane_of and self._pending <= self._durable:
            return 0
        with self._lock:
            chosen = tuple(self._failed) if lanes is None else lanes
            failed = [pair for lane in chosen for pair in self._failed.pop(lane, {}).values()]
            for _, entry in failed:
                self._lane_of.pop(entry.step, None)
            if let_go := sorted([*self._free, *failed], key=itemgetter(0)):
                self._free = []
                self._pending = self._add([entry for _, entry in let_go])
            return self._pending if self._pending > self._durable else 0

    def join_lanes(self, lanes: Collection[object], into: object) -> None:
        """A fan-out is over: what its items hold is held by the code that called it."""
        with self._lock:
            for lane in lanes:
                joined = self._failed.pop(lane, {})
                self._failed.setdefault(into, {}).update(joined)
                self._lane_of.update(dict.fromkeys(joined, into))

    def release_all(self) -> int:
        """Queue all that is held. Returns the mark of everything there is, also of what is being written at this moment.

        A cancelled task does not wait for its own append, and no lease may be given back while one is under way.
        """
        self.release()
        return self._added

    def is_durable(self, mark: int) -> bool:
        """Whether everything up to the mark is in the store. Raises what broke the appender."""
        if self._durable < mark and self._broken is not None:
            raise self._broken
        return self._durable >= mark

    @property
    def last_mark(self) -> int:
        """The mark of everything queued so far."""
        return self._added

    def _add(self, entries: Sequence[Entry]) -> int:
        self._queue.extend(entries)
        self._added += len(entries)
        return self._added

    def settle(self, mark: int) -> None:
        """Return when everything up to the mark is durable. Raises what broke the appender, now or earlier."""
        while (turn := self._take_turn(mark)) is not None:
            self._write_batch(*turn)

    def lets_run_ahead(self, took_s: float) -> bool:
        """Whether a step was so quick beside an append that waiting for its own would be most of its time.

        A slow step waits: it is dear, a model call perhaps, and a crash must not repeat it for want of a few milliseconds.
        """
        return took_s < QUICK * self._write_s

    def settle_in_passing(self, mark: int, *, behind: int) -> None:
        """Write until nothing is queued if nobody else is writing; wait only when more than `behind` entries are not durable."""
        with self._lock:
            idle = not self._writing
        if not idle:
            self.settle(mark - behind)
            return
        # What others queue while this thread writes is its to write as well: they have gone on to their next items.
        while self._queue:
            self.settle(self._added)

    def _take_turn(self, mark: int) -> tuple[int, tuple[Entry, ...]] | None:
        """Wait while another thread writes; then what this thread is to write, and its number. None: the mark is durable."""
        if self._durable >= mark:
            return None
        with self._lock:
            while self._durable < mark:
                if self._broken is not None:
                    raise self._broken
                if not self._writing:
                    self._writing = True
                    return self._next_number, self._next_batch()
                self._waiting += 1
                try:
                    self._changed.wait()
                finally:
                    self._waiting -= 1
            return None

    def _write_batch(self, number: int, batch: tuple[Entry, ...]) -> None:
        broken: Exception | None = None
        began = time.monotonic()
        try:
            self._write(number, batch)
        except BaseException as error:
            # Also an interrupt in the middle of a write: what becomes of it is unknown, and no number is used twice.
            self.fate_unknown = True
            broken = error if isinstance(error, Exception) else StoreError(f"a write was interrupted: {error!r}")
            raise
        finally:
            with self._lock:
                self._writing = False
                self._broken = broken
                if broken is None:
                    self._queue = self._queue[len(batch) :]
                    self._durable += len(batch)
                    self._next_number += 1
                    self._write_s = time.monotonic() - began
                if self._waiting:
                    self._changed.notify_all()

    def _next_batch(self) -> tuple[Entry, ...]:
        if len(self._queue) == 1:
            return (self._queue[0],)
        room = SEGMENT_CHARS
        for count, entry in enumerate(self._queue):
            room -= len(entry.payload) + len(entry.arguments) + len(entry.step) + 150
            if room < 0:
                return tuple(self._queue[: max(1, count)])
        return tuple(self._queue)
