"""Deliveries on threads of this process: a crash parks them for good, and cuts their store and their calls off.

No `except` and no `finally` of a dead attempt runs before its story is over. Then it is buried: unwound, with its store and
the tap dead, so that no thread and no connection is left. What a real crash also takes, it leaves: the module's globals,
and locks that were held.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from .. import hooks
from ..entries import Claim, Segment
from ..errors import DurablyError
from ..stores.memory import MemoryStore
from ..stores.protocol import Store
from ..stores.url import opened_instead
from . import functions
from .clock import ManualClock
from .context import LambdaContext
from .effects import Ledger
from .points import Side
from .runs import Buried, Ended, Run
from .tap import Call
from .watched import WatchedStore, names_of

STILL_S = 0.002
"""A thread that stands at the same instruction that long waits for something."""
STILL_MAX_S = 0.1
BURIAL_S = 1.0
STORE_S = 20.0
SERVERS = "process_request_thread"
"""What socketserver's threads are named after: those of the tap, and of fakes that run in this process."""

_here: ContextVar[Run | None] = ContextVar("durably_testing_run", default=None)


class Threads:
    """The stage of in-process stories: a fresh store and clock for each, one thread and what it starts a delivery."""

    def __init__(
        self, handler: Callable[..., Any], store: Callable[[Any], Store] | None, timeout: timedelta, patience: timedelta
    ) -> None:
        self.handler, self.timeout, self.patience = handler, timeout, patience
        self._make_store: Callable[[Any], Store] = store or (lambda clock: MemoryStore(clock=clock))
        self._store, self._clock, self.ledger = self._make_store(ManualClock()), ManualClock(), Ledger()
        self._latest: Run | None = None
        self._owners: dict[str, Run] = {}
        self._acknowledged: list[Segment] = []
        self._runs: list[Run] = []
        self._threads: dict[Run, threading.Thread] = {}
        self._before: set[threading.Thread] = set()
        self._lasting: set[threading.Thread] = set()
        watched = WatchedStore(
            lambda: self._store, self._write, alive=self._alive, appended=self._appended, claiming=self._claiming
        )
        self._instead: Any = watched

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Inside, every store is the kit's, and it watches what attempts do."""
        remove, hook = hooks.add_hook(self._told), threading.excepthook
        threading.excepthook = lambda args: None if args.exc_type is Buried else hook(args)
        functions.come_by = self._function
        try:
            with opened_instead(self._instead):
                yield
        finally:
            functions.come_by = None
            threading.excepthook = hook
            remove()

    @contextmanager
    def story(self) -> Iterator[None]:
        """A fresh store, clock and ledger; what is left of dead attempts is buried at the end."""
        self._clock, self.ledger = ManualClock(), Ledger()
        self._store = self._make_store(self._clock)
        self._owners.clear()
        self._acknowledged.clear()
        self._before = set(threading.enumerate())
        try:
            yield
        finally:
            self._bury()

    def begin(self, run: Run, event: object) -> None:
        """Deliver the event."""
        self._runs.append(run)
        self._latest = run
        thread = threading.Thread(target=self._deliver, args=(run, event), name="durably-delivery", daemon=True)
        self._threads[run] = thread
        thread.start()

    def resume(self, run: Run) -> None:
        """Let a held delivery go on."""
        self._latest = run
        run.let_go()

    def wait(self, run: Run) -> None:
        """Return when it has ended, is held, or died: then none of its threads moves any more."""
        if not run.paused.wait(self.patience.total_seconds()):
            raise DurablyError(
                f"delivery {run.number} of the event did not end within {self.patience.total_seconds():g} s. If it waits for a "
                "lock that the killed attempt held (a real crash would free it), use mode='process'; else raise patience=."
            )
        if run.is_dead:
            self._until_still(run)

    def pass_time(self, seconds: float) -> None:
        """Let the next delivery be that much later."""
        self._clock.advance(seconds)

    def close(self) -> None:
        """Nothing is left: each story buries its own."""

    # What attempts, and the tap on their behalf, tell.

    def come_by(self, side: Side, what: str) -> bool:
        """A call passes the tap."""
        run = self._latest
        if run is None:
            return False  # between stories: what comes now comes from the dead
        if run.come_by("call", side, what):
            return True
        run.buried.wait()
        return False

    def answered(self, call: Call) -> None:
        """The world answered a call."""
        self.ledger.called(call)

    def _function(self, side: Side, name: str) -> None:
        run = self._run()
        if run is None:
            return
        if side == "after":
            self.ledger.returned(name)
        if not run.come_by("function", side, name):
            park(run)

    def _write(self, side: Any, whats: tuple[str, ...], owner: str | None) -> None:
        run = self._owners.get(owner) if owner is not None else self._run()
        if run is None and owner is not None:
            raise Buried  # of a story that is over: it outlived its burial
        if run is not None and not run.come_by("write", side, *whats):
            park(run)

    def _claiming(self, claim: Claim) -> None:
        run = self._run()
        if run is not None:
            self._owners[claim.owner] = run

    def lost_appends(self) -> tuple[str, ...]:
        """What the store acknowledged in this story and has no longer: a store that keeps its promises loses nothing."""
        lost = []
        journals = {(segment.execution, segment.generation) for segment in self._acknowledged}
        for execution, generation in journals:
            until = self._store.clock.monotonic() + STORE_S
            kept = {one.number: one.owner for one in self._store.load(execution, generation, until=until)}
            lost += [
                names_of(segment)[0]
                for segment in self._acknowledged
                if (segment.execution, segment.generation) == (execution, generation)
                and kept.get(segment.number) != segment.owner
            ]
        return tuple(lost)

    def _appended(self, segment: Segment) -> None:
        self._acknowledged.append(segment)
        run = self._owners.get(segment.owner)
        for entry in segment.entries if run is not None else ():
            run.steps.appended(segment.execution, entry.kind, entry.step)  # type: ignore[union-attr]  # None has no entries here

    def _alive(self) -> None:
        run = self._run()
        if run is not None and run.is_dead:
            park(run)

    def _told(self, event: Any) -> None:
        # The head of an execution that is finished names its last owner, who may be another run's, and dead.
        run = _here.get() or self._owners.get(event.head.owner)
        if run is None:
            return
        if run.is_dead:
            park(run)
        outcome = getattr(event, "outcome", None)
        step = outcome.step if outcome is not None else getattr(event, "step", "")
        within, recover = getattr(event, "within", ""), getattr(event, "recover", False)
        run.step_told(event.head.id, type(event).__name__, step, within=within, recover=recover)

    def _run(self) -> Run | None:
        return _here.get() or self._latest

    # The threads.

    def _deliver(self, run: Run, event: object) -> None:
        _here.set(run)
        context = LambdaContext(self.timeout, request_id="the-same-on-every-retry", clock=self._clock)
        try:
            value = self.handler(copy.deepcopy(event), context)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
            run.end(Ended("returned", value))
        except Buried:
            pass
        except BaseException as error:
            run.end(Ended("raised", told=f"{type(error).__name__}: {error}"))

    def _until_still(self, run: Run) -> None:
        """Wait until the dead attempt's other threads stand: they go on to the next point, which they never pass."""
        mine = threading.current_thread()
        threads = [one for one in self._started() if one is not mine and one is not self._threads[run]]
        give_up, places = time.monotonic() + STILL_MAX_S, None
        while threads and time.monotonic() < give_up:
            frames = sys._current_frames()
            now = [(frame, frame.f_lasti) for one in threads if (frame := frames.get(one.ident or 0)) is not None]
            if now == places:
                return
            places = now
            time.sleep(STILL_S)

    def _bury(self) -> None:
        self._latest = None
        for run in self._runs:
            run.buried.set()
            run.go.set()
        give_up = time.monotonic() + BURIAL_S
        left = self._started() if any(run.is_dead for run in self._runs) else list(self._threads.values())
        for thread in left:
            thread.join(max(0.0, give_up - time.monotonic()))
            if thread.is_alive():
                self._lasting.add(thread)  # a pool's, or the user's own: waited for once, not in every story
        self._runs.clear()
        self._threads.clear()

    def _started(self) -> list[threading.Thread]:
        """What was started since the story began, but for servers' threads, which live as long as their connections."""
        known = self._before | self._lasting
        return [one for one in threading.enumerate() if one not in known and SERVERS not in one.name]


def park(run: Run) -> None:
    """The thread stops here for as long as its story lasts, and is unwound then."""
    run.buried.wait()
    raise Buried
