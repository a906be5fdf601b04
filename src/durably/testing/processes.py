"""Deliveries to real sandboxes: awslambdaric in a process of its own, ended by a real SIGKILL.

Each story has processes of its own, for what a module remembers must not outlive its world: one to die and one for the
retry, which are started side by side, in the environment that the story's world has made. Who lives serves again, warm.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from ..local.outcome import Outcome
from ..local.sandbox import Sandbox
from .effects import Ledger
from .link import VARIABLE, Message, Switchboard
from .points import Side
from .runs import Ended, Run
from .tap import Call

REQUEST_ID = "00000000-0000-4000-8000-000000000001"
"""The same on every retry, as Lambda's is."""


class Spare:
    """A sandbox that is being started on a thread of its own."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._starting = threading.Thread(target=sandbox.start, name="durably-spare", daemon=True)
        self._starting.start()

    def ready(self) -> Sandbox:
        """The sandbox, once it waits for an event or has failed to."""
        self._starting.join()
        return self._sandbox


class Processes:
    """The stage of stories told in processes: a fresh SQLite file for each, or what `store` makes."""

    def __init__(self, handler: Any, store: Callable[[Any], Any] | None, timeout: timedelta) -> None:
        self._handler = handler if isinstance(handler, str) else named(handler, ".")
        self._make = named(store, ":") if store is not None else ""
        self._timeout_s = timeout.total_seconds()
        self.ledger = Ledger()
        self._spares: list[Spare] = []
        self._run: Run | None = None
        self._runs: list[Run] = []
        self._event = b""
        self._ahead_s = 0.0
        self._stories = 0

    def __enter__(self) -> Self:
        # Memory, where there is such a place: a SIGKILL loses nothing that was written, synced or not.
        memory = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(prefix="durably-", dir=memory if memory.is_dir() else None)
        self._link = Path(self._folder.name) / "link"
        self._switchboard = Switchboard(self._link, self._answer)
        return self

    def __exit__(self, *raised: object) -> None:
        self._close_all()
        self._switchboard.close()
        self._folder.cleanup()

    @contextmanager
    def story(self) -> Iterator[None]:
        """A fresh store and ledger."""
        self.ledger, self._ahead_s = Ledger(), 0.0
        self._stories += 1
        try:
            self._start(2)
            yield
        finally:
            self._run = None
            for run in self._runs:
                run.buried.set()
            self._runs.clear()
            self._close_all()

    def begin(self, run: Run, event: object) -> None:
        """Deliver the event; `wait` drives it."""
        self._run, self._event = run, json.dumps(event).encode()
        self._runs.append(run)

    def wait(self, run: Run) -> None:
        """Return when its process has answered or is dead."""
        if not self._spares:
            self._start(1)
        sandbox = self._spares[0].ready()
        run.on_death = sandbox.kill
        outcome = sandbox.invoke(self._event, request_id=REQUEST_ID, timeout_s=self._timeout_s, ahead_s=self._ahead_s)
        run.end(ended(outcome))
        if not sandbox.is_alive:
            self._spares.pop(0)
            sandbox.close()

    def resume(self, run: Run) -> None:
        """Processes are not held."""
        raise NotImplementedError("races are told in threads")

    def pass_time(self, seconds: float) -> None:
        """Let the next delivery's clock be that much ahead."""
        self._ahead_s += seconds

    def lost_appends(self) -> tuple[str, ...]:
        """The store is the process's own; what it keeps is looked at in threads."""
        return ()

    def come_by(self, side: Side, what: str) -> bool:
        """A call passes the tap."""
        run = self._run
        if run is None:
            return False
        if run.come_by("call", side, what):
            return True
        run.buried.wait()
        return False

    def answered(self, call: Call) -> None:
        """The world answered a call."""
        self.ledger.called(call)

    def _answer(self, asked: Message) -> Message | None:
        run = self._run
        if "store" in asked:
            return {"make": self._make, "path": str(Path(self._folder.name) / f"story-{self._stories}.db")}
        if run is None or run.is_dead:
            return None
        if "point" in asked:
            kind, side, whats = asked["point"]
            if kind == "function" and side == "after":
                self.ledger.returned(whats[0])
            return {} if run.come_by(kind, side, *whats) else None
        if "step" in asked:
            execution, what, step, within, recover = asked["step"]
            run.step_told(execution, what, step, within=within, recover=recover)
        for execution, kind, step in asked.get("appended", ()):
            run.steps.appended(execution, kind, step)
        return {}

    def _start(self, count: int) -> None:
        for _ in range(count):
            given = {VARIABLE: str(self._link), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._spares.append(
                Spare(Sandbox(self._handler, environment=given, prepare=f"{__package__}.inside:prepare"))
            )

    def _close_all(self) -> None:
        while self._spares:
            self._spares.pop().ready().close()


def named(function: Any, separator: str) -> str:
    """How another process finds a function: its module and name. Raises TypeError where it could not."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "<nameless>")
    if module in (None, "__main__") or "<" in name or "." in name:
        raise TypeError(
            f"{function!r} can't be imported by another process: mode='process' takes a function at the top of a module, or "
            "its name, 'module.function'."
        )
    return f"{module}{separator}{name}"


def ended(outcome: Outcome) -> Ended:
    """How a delivery ended, as Lambda tells it."""
    if outcome.how == "returned":
        return Ended("returned", outcome.result)
    try:
        error = outcome.result
        return Ended("raised", told=f"{error['errorType']}: {error['errorMessage']}")
    except (ValueError, KeyError, TypeError):
        return Ended("raised", told=outcome.how)
