"""A handler of ten mixed steps whose effects go into a file, run in a child process that dies at a chosen point.

Points are counted: before and after each effect in the world, before and after each call to the store. A child is forked
from a warmed parent, so a crash costs a few milliseconds, and dies by `os._exit`: nothing is flushed, closed or released.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from durably import NOT_DONE, Retry, StepInterrupted, durable, fan_out, step
from durably.clock import Clock
from durably.stores.protocol import Store

from .clocks import FakeClock

CRASHED, FINISHED, FAILED = 77, 0, 1
RESULT = {"receipt": "receipt", "thread": ["t-a", "t-b", "t-c"], "fallback": "by mail", "flaky": "third", "sent": True}


class Points:
    """Where this process may die: the n-th point it comes to, or never."""

    def __init__(self, dies_at: int, log: Path) -> None:
        self.dies_at = dies_at
        self.passed = 0
        self.log = log
        self._lock = threading.Lock()

    def here(self, what: str) -> None:
        with self._lock:
            self.passed += 1
            if self.passed == self.dies_at:
                write(self.log, {"died": what})
                os._exit(CRASHED)


class Dying:
    """A store whose process may die before and after each call of it has reached the disk or the server."""

    def __init__(self, inner: Store, points: Points) -> None:
        self.inner = inner
        self.points = points

    @property
    def clock(self) -> Clock:
        return self.inner.clock

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.points.here(f"before {name}")
            answer = method(*args, **kwargs)
            self.points.here(f"after {name}")
            return answer

        return call


class World:
    """What the handler does to the world outside: lines of a file, each there when `effect` returns."""

    def __init__(self, path: Path, points: Points) -> None:
        self.path = path
        self.points = points

    def effect(self, name: str, result: Any = None) -> Any:
        self.points.here(f"before effect {name}")
        write(self.path, {"effect": name})
        self.points.here(f"after effect {name}")
        return result

    def did(self, name: str) -> bool:
        return {"effect": name} in lines(self.path)


class Busy(Exception):
    pass


class NoCard(Exception):
    pass


def make_handler(world: World, store: Any) -> Callable[[Any, Any], Any]:
    tries = {"flaky": 0}

    def found(name: str, result: Any) -> Callable[[], Any]:
        return lambda: result if world.did(name) else NOT_DONE

    def flaky() -> str:
        tries["flaky"] += 1
        world.effect(f"flaky-{tries['flaky']}")
        if tries["flaky"] < 3:
            raise Busy
        return "third"

    def refused() -> None:
        world.effect("card")
        raise NoCard("refused")

    def outer() -> str:
        inner = step("inner", world.effect, "inner", "in")
        return str(world.effect("outer", f"outer of {inner}"))

    @durable(id=lambda event, context: event["id"], name="crash-app", store=store)
    def handler(event: Any, context: Any) -> dict[str, Any]:
        step("plain", world.effect, "plain", 1)
        step("read", world.effect, "read", [1, 2], repeatable=True)
        receipt = step("pay", world.effect, "pay", "receipt", recover=found("pay", "receipt"))
        step("read-again", world.effect, "read-again", "x", repeatable=True)
        try:
            sent = step("send", world.effect, "send", True, at_most_once=True)
        except StepInterrupted:
            # It may or may not have been sent: a person looks, and the answer is a step of its own.
            sent = step("look", world.effect, "look", True, repeatable=True)
        thread = fan_out("thread", lambda key: world.effect(f"thread-{key}", f"t-{key}"), ["a", "b", "c"], workers=1)
        step("outer", outer)
        try:
            fallback = step("card", refused)
        except NoCard:
            fallback = step("mail", world.effect, "mail", "by mail")
        result = step("flaky", flaky, retry=Retry(3, on=Busy, delay=store.no_delay))
        step("close", world.effect, "close", None, recover=found("close", None))
        return {"receipt": receipt, "thread": thread, "fallback": fallback, "flaky": result, "sent": sent}

    return handler


Make = Callable[[World, Any], Callable[[Any, Any], Any]]


def attempt(store: Store, event: Any, folder: Path, dies_at: int = 0, make: Make = make_handler) -> int:
    """One attempt in a forked child: CRASHED, FINISHED or FAILED. What it returned and how far it came is in the folder."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = FAILED
    try:
        points = Points(dies_at, folder / "log")
        dying: Any = Dying(store, points)
        from datetime import timedelta

        dying.no_delay = timedelta(0)
        result = make(World(folder / "world", points), dying)(event, None)
        write(folder / "log", {"result": result, "points": points.passed})
        code = FINISHED
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(code)


def write(path: Path, line: dict[str, Any]) -> None:
    """Append a line; it is the file system's before this returns, so `os._exit` takes nothing back."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def stop_the_clock() -> FakeClock:
    """A clock that the parent moves between attempts, so that a dead attempt's lease has run out for the next one."""
    clock = FakeClock()
    assert abs(clock.now() - time.time()) < 5
    return clock
