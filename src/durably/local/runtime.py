"""What runs inside a sandbox: the real awslambdaric, told by its parent before each event, telling its parent what steps do.

The parent runs this file by its path, and it imports no module of durably's unless the handler does: a plain handler
starts as fast as under `python -m awslambdaric`. Nothing of it is written to the function's stdout or stderr.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

CONTROL = "_LOCAL_LAMBDA_CONTROL"
"""The environment variable with the number of the inherited socket: orders come in on it, signals go out."""
MEMORY = "_LOCAL_LAMBDA_MEMORY_MB"
PREPARE = "_LOCAL_LAMBDA_PREPARE"


class Line:
    """The socket to the parent: one JSON document a line, both ways."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._socket = socket.socket(fileno=fd)
        self._lines = self._socket.makefile("r", encoding="utf-8")

    def tell(self, signal: dict[str, Any]) -> None:
        """Send a signal at once; the next instant may be the last."""
        with contextlib.suppress(OSError):  # The parent is gone: the handler goes on to its end.
            self._socket.sendall(json.dumps(signal).encode() + b"\n")

    def order(self) -> dict[str, Any]:
        """Wait for the parent's next order; empty when the parent is gone."""
        order: dict[str, Any] = json.loads(self._lines.readline() or "{}")
        return order


class Watch:
    """Tells the parent what the attempts of this process do, and dies or stands still where it was ordered to."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._order: dict[str, Any] = {}
        self._is_hooked = False
        self._one_at_a_time = threading.Lock()

    def begin(self) -> None:
        """The handler is called next. Hooks are put in once there is something to hook into, or to crash."""
        self._order = self._line.order()
        if not self._is_hooked and ("durably" in sys.modules or self._order.get("stops")):
            importlib.import_module("durably.hooks").add_hook(self.hook)
            self._is_hooked = True
        if self._is_hooked:
            importlib.import_module("durably.clock").SYSTEM.ahead_s = self._order.get("ahead_s", 0.0)

    def hook(self, event: Any) -> None:
        """Tell one event; then stop if this is where."""
        with self._one_at_a_time:
            self._tell(signal_of(event))

    def _tell(self, told: dict[str, Any]) -> None:
        stop = next((stop for stop in self._order.get("stops", ()) if is_here(stop, told)), None)
        if stop is None:
            self._line.tell(told)
            return
        self._line.tell({**told, "stop": stop["how"]})
        if stop["how"] == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        self._order = {**self._order, "stops": ()}
        self._line.order()  # It stands still, as a frozen sandbox does, until the parent lets it go on.


def signal_of(event: Any) -> dict[str, Any]:
    """One of durably's events as JSON. No results or arguments of the user's are in it."""
    told: dict[str, Any] = {"what": type(event).__name__, "at": time.time(), "execution": event.head.id}
    told["attempt"] = event.head.attempt
    for name in ("step", "tries", "recover", "status", "within", "number", "took_s", "replays_only"):
        if hasattr(event, name):
            told[name] = getattr(event, name)
    outcome = getattr(event, "outcome", None)
    if outcome is not None:
        told.update(step=outcome.step, kind=outcome.kind, tries=outcome.tries)
    if hasattr(event, "entries"):
        told["entries"] = [f"{entry.kind} {entry.step}".rstrip() for entry in event.entries]
    error = getattr(event, "error", None)
    if error is not None:
        told["error"] = f"{type(error).__name__}: {error}"[:500]
    return told


def is_here(stop: dict[str, Any], told: dict[str, Any]) -> bool:
    """Whether the signal is the ordered place: a step's name, or a fan-out's for any of its items."""
    step = told.get("step", "")
    is_place = told["what"] == stop["what"] and not told.get("recover") and "error" not in told
    return is_place and (step == stop["step"] or step.startswith(f"{stop['step']}["))


def limit_memory(ceiling_mb: int) -> None:
    """From here on the process may map so much; what it has reserved so far and does not use is not counted."""
    import resource

    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            mapped, resident = [int(pages) * resource.getpagesize() for pages in statm.read().split()[:2]]
    except OSError:
        mapped = resident = 0
    limit = ceiling_mb * 1024 * 1024 + mapped - resident
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(handler: str) -> None:
    """Run awslambdaric's own loop for the handler, for good."""
    watch = Watch(Line(int(os.environ.pop(CONTROL))))
    ceiling, prepare = os.environ.pop(MEMORY, ""), os.environ.pop(PREPARE, "")
    sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
    from awslambdaric import bootstrap
    from awslambdaric.lambda_config import LambdaConfigProvider
    from awslambdaric.lambda_runtime_client import LambdaRuntimeClient

    class Client(LambdaRuntimeClient):  # type: ignore[misc]  # awslambdaric has no types
        def wait_next_invocation(self) -> Any:
            invocation = super().wait_next_invocation()
            watch.begin()
            return invocation

    config = LambdaConfigProvider(["", handler])
    if prepare:
        module, _, function = prepare.partition(":")
        getattr(importlib.import_module(module), function)()
    if ceiling:
        limit_memory(int(ceiling))
    bootstrap.run(handler, Client(config.api_address, config.use_thread_polling))


if __name__ == "__main__":
    main(sys.argv[1])
