"""One contender's measurement in a process of its own: a JSON spec as argument, one JSON line as answer.

Every contender is a script beside this one that hands `main` an object with some of the methods of `Contender`. Only the
standard library is used here, because each runs in the virtual environment of what it measures.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

Spec = dict[str, Any]


class Contender(Protocol):
    """What a script can do; a missing method is a work it has no way to do."""

    def sequential(self, id: str, count: int) -> Any:
        """Run an execution of so many steps, one after the other, to its end."""

    def fan_out(self, id: str, count: int) -> Any:
        """Run an execution whose only work is so many items, 16 at a time."""

    def crash(self, id: str, count: int) -> None:
        """Run so many steps and return with the execution unfinished: the process dies next."""

    def prepare(self, id: str, count: int) -> None:
        """Before a replay, untimed: make the state that a crash leaves, where the store lives in this process."""

    def replay(self, id: str, count: int) -> float | None:
        """Run it again after the crash. Seconds, where it knows them better than its caller."""

    def ready(self) -> None:
        """Ask the store something once, so that client and connection are there."""


class Steps:
    """The work itself, the same for all, and how often it was really run."""

    def __init__(self, item_ms: float = 0.0) -> None:
        self.ran = 0
        self.item_ms = item_ms
        self._lock = threading.Lock()

    def trivial(self, number: int) -> dict[str, Any]:
        """A step that does nothing and returns a hundred bytes."""
        with self._lock:
            self.ran += 1
        if self.item_ms:
            time.sleep(self.item_ms / 1000)
        return {"number": number, "title": "what a small step returns", "state": "done", "labels": ["one", "two"]}


class Threads:
    """The most threads there were at once: looked at whenever one starts, so it costs nothing in between."""

    def __init__(self) -> None:
        self.peak = threading.active_count()
        start = threading.Thread.start

        def counted(thread: threading.Thread) -> None:
            start(thread)
            self.peak = max(self.peak, threading.active_count())

        threading.Thread.start = counted  # type: ignore[method-assign, assignment]  # a plain function serves


def peak_rss_mb() -> float:
    """This process's own peak: `ru_maxrss` would have the parent's in it."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def main(make: Callable[[Spec, Steps], Any]) -> None:
    """Measure what the spec asks for and print it."""
    spec: Spec = json.loads(sys.argv[1])
    began = time.perf_counter()
    steps = Steps(spec.get("item_ms", 0.0))
    threads = Threads()
    contender = make(spec, steps)
    if spec["work"] == "cold":
        results = [_cold(contender, spec, steps, began)]
    elif spec["work"] == "crash":
        _answer([_crashed(contender, spec, count, steps) for count in spec["counts"]])
        os._exit(9)
    else:
        results = list(_measured(contender, spec, steps, threads))
    _answer(results)
    # Peers leave threads behind that take seconds to stop; what is measured is measured.
    os._exit(0)


def _measured(contender: Any, spec: Spec, steps: Steps, threads: Threads) -> Iterable[dict[str, Any]]:
    work = spec["work"]
    for number in range(spec.get("warm", 1)):
        contender.sequential(f"{spec['id']}-warm-{number}", 1)
    for count in spec["counts"]:
        do = getattr(contender, work)
        if work == "replay" and hasattr(contender, "prepare"):
            contender.prepare(f"{spec['id']}-{count}", count)
        steps.ran, threads.peak = 0, threading.active_count()
        wall, cpu = time.perf_counter(), time.process_time()
        told = do(f"{spec['id']}-{count}", count)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if work == "replay" and told is not None:
            wall = told
        yield {
            "count": count,
            "wall_s": wall,
            "cpu_s": cpu,
            "ran": steps.ran,
            "threads": threads.peak,
            "rss_mb": peak_rss_mb(),
        }


def _crashed(contender: Any, spec: Spec, count: int, steps: Steps) -> dict[str, Any]:
    steps.ran = 0
    contender.crash(f"{spec['id']}-{count}", count)
    return {"count": count, "ran": steps.ran}


def _cold(contender: Any, spec: Spec, steps: Steps, began: float) -> dict[str, Any]:
    """Imports and clients are made by `make` and `ready`; then one step, all of it for the first time in this process."""
    made = time.perf_counter()
    if hasattr(contender, "ready"):
        contender.ready()
    ready = time.perf_counter()
    told = {"made_s": made - began, "ready_s": ready - began, "ran": steps.ran}
    if hasattr(contender, "sequential"):
        contender.sequential(f"{spec['id']}-cold", 1)
        told["first_step_s"] = time.perf_counter() - began
    return told


def _answer(results: list[dict[str, Any]]) -> None:
    print("\n" + json.dumps(results), flush=True)
