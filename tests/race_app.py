"""A handler that races: run in forked processes that deliver one event at once, or are frozen in the middle."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from durably import NOT_DONE, durable, fan_out, step

from .crash_app import lines, write

WAIT_S = 20.0


class Process:
    """A forked child that runs `work` and writes how that ended to the folder's log."""

    def __init__(self, folder: Path, work: Callable[[], Any]) -> None:
        self.folder = folder
        self.pid = os.fork()
        if self.pid == 0:
            try:
                outcome: Any = {"result": work()}
            except BaseException as error:
                outcome = {"raised": type(error).__name__, "told": str(error)}
            write(folder / "log", {"pid": os.getpid(), **outcome})
            os._exit(0)

    def outcome(self) -> dict[str, Any]:
        """How it ended, once it has."""
        os.waitpid(self.pid, 0)
        return next(line for line in lines(self.folder / "log") if line["pid"] == self.pid)


def at_once(folder: Path, count: int, work: Callable[[], Any]) -> list[dict[str, Any]]:
    """The outcomes of that many processes that begin `work` at the same moment."""
    gate, opener = os.pipe()

    def begin() -> Any:
        os.close(opener)
        os.read(gate, 1)  # ends for all when the parent closes the other end
        return work()

    processes = [Process(folder, begin) for _ in range(count)]
    os.close(opener)
    outcomes = [process.outcome() for process in processes]
    os.close(gate)
    return outcomes


def wait_for(path: Path) -> None:
    """Return when the file is there."""
    give_up = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < give_up, f"{path} never came"
        time.sleep(0.003)


def deliver(store: Any, event: Any, folder: Path, *, lease: timedelta = timedelta(seconds=30)) -> Any:
    """The handler that all of them run; `event["pause"]` names where one process waits to be frozen."""
    me = str(event.get("who", "?"))

    def do(name: str) -> str:
        write(folder / "world", {"effect": name, "who": me})
        return name

    def pause(where: str) -> None:
        if event.get("pause") == where:
            (folder / f"at {where}").touch()
            wait_for(folder / "go")

    def slow() -> str:
        pause("in the step")
        return do("slow")

    @durable(store=store, name="race-app", id=lambda event, context: event["id"], lease=lease)
    def handler(event: Any, context: Any) -> list[str]:
        step("plain", do, "plain")
        step("pay", do, "pay", recover=lambda: NOT_DONE)
        pause("between steps")
        step("slow", slow)
        return [*fan_out("item", do, [f"item-{n}" for n in range(6)], workers=3), step("last", do, "last")]

    return handler(event, None)
