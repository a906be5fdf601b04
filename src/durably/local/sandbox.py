"""A sandbox: one process that serves one event at a time, as one execution environment of Lambda does.

`Sandbox(handler, …).invoke(event, request_id=…)` starts the process if need be and drives it to the end of the invocation.
One thread at a time drives a sandbox; `kill` may come from any. Crash and pause points are orders of an invocation.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import logs, outcome, runtime
from .environment import function_arn, function_name, require_runtime, sandbox_environment
from .outcome import Outcome
from .process import Process
from .runtime_api import RuntimeApi
from .stops import Stop

INIT_MAX_S = 10.0
"""Lambda's limit for a function's initialisation."""
MEMORY_MB = 128
"""What Lambda gives a function when nobody says more."""
EXIT_GRACE_S = 0.5
"""How long a runtime that reported a failed initialisation is given to end by itself."""
UNWATCHED_S = 0.02
"""How often a process's end is looked for where the system has no descriptor for it."""

Signal = dict[str, Any]
"""What a process tells of one of durably's events; see `runtime.signal_of`."""


class Sandbox:
    """One execution environment of `handler`, a dotted name as Lambda takes it, with `code` as its task root."""

    def __init__(
        self,
        handler: str,
        *,
        code: Path | str = ".",
        name: str = "",
        environment: Mapping[str, str] | None = None,
        fallback: Mapping[str, str] | None = None,
        memory_mb: int | None = None,
        prepare: str = "",
        on_signal: Callable[[Signal], object] = lambda told: None,
        on_output: Callable[[str], object] = lambda text: None,
    ) -> None:
        """`fallback` is environment where nobody else set it. `memory_mb` is a ceiling when given. `prepare`,
        `module:function`, is called in the process before the handler is imported.

        `on_signal` is told what the handler's steps do, `on_output` what it writes, both by the thread that drives.
        """
        self.handler = handler
        self.name = name or function_name(handler)
        self.on_signal, self.on_output = on_signal, on_output
        self._code = Path(code).resolve()
        require_runtime(self._code)
        self._environment = sandbox_environment(
            handler, self.name, memory_mb or MEMORY_MB, self._code, given=environment or {}, fallback=fallback or {}
        )
        self._environment |= {runtime.PREPARE: prepare, runtime.MEMORY: str(memory_mb or "")}
        self._memory_mb = memory_mb or MEMORY_MB
        self._selector = selectors.DefaultSelector()
        self._api = RuntimeApi(self._selector)
        self._process: Process | None = None
        self._signals = bytearray()
        self._log: list[str] = []
        self.is_paused = False
        """It stands still at a stop until it is killed, or let go on by `linger`."""
        self._is_killed = False
        self._is_initialised = False
        self.is_closed = False

    @property
    def is_alive(self) -> bool:
        """It runs, and may serve another event."""
        return self._process is not None and not self._is_killed and self._process.exit_code is None

    @property
    def pid(self) -> int | None:
        """Of the process, None before it was started."""
        return None if self._process is None else self._process.pid

    def start(self, *, limit_s: float = INIT_MAX_S) -> bool:
        """Start the process and drive it until it asks for an event. False when it doesn't; an invocation will say why."""
        if self._process is None:
            self._launch()
        self._drive(lambda: self._api.is_idle or self._api.init_error is not None, time.monotonic() + limit_s)
        self._is_initialised = self._is_initialised or self._api.is_idle
        return self._api.is_idle

    def invoke(
        self,
        event: bytes,
        *,
        request_id: str,
        timeout_s: float = 3.0,
        init_limit_s: float = INIT_MAX_S,
        ahead_s: float = 0.0,
        stops: Sequence[Stop] = (),
        kill_after_s: float | None = None,
        spare: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run the handler on one event, and end its process where Lambda would: at the timeout, unless `spare` is set.

        `ahead_s` is how far durably's clock in the process is set ahead. `kill_after_s` counts from the handler's call.
        """
        self._log = [logs.start(request_id)]
        init_s = None
        if not self._api.is_idle:
            began, is_cold = time.monotonic(), not self._is_initialised
            if not self.start(limit_s=init_limit_s):
                return self._init_failed(request_id, init_limit_s, time.monotonic() - began)
            init_s = time.monotonic() - began if is_cold else None
        self.on_signal({"what": "Called", "at": time.time(), "init_s": init_s})
        began = time.monotonic()
        self._deliver(
            event, request_id, timeout_s, {"ahead_s": ahead_s, "stops": [stop.order for stop in stops]}, headers
        )
        if kill_after_s is not None and kill_after_s < timeout_s:
            self._drive(self._is_over, began + kill_after_s)
            if not self._is_over():
                self.kill()
        self._drive(self._is_over, began + timeout_s)
        took_s = time.monotonic() - began
        how, payload = self._end(request_id, timeout_s, spare)
        return self._outcome(request_id, how, payload, took_s, init_s)

    def linger(self, seconds: float) -> outcome.How:
        """Drive on a process that was spared, paused or not, until it has posted its answer or ended, or was given time enough.

        Says how that went; the answer itself goes nowhere.
        """
        if self.is_paused:
            self.is_paused = False
            self._order({})
        self._drive(self._is_over, time.monotonic() + seconds)
        return self._end("", seconds, spare=False)[0]

    def kill(self) -> None:
        """SIGKILL to the process and whatever it started; who drives it sees its end."""
        self._is_killed = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End the process and give back the port and everything else. By the thread that drives, or when none does."""
        if self.is_closed:
            return
        self.is_closed = self._is_killed = True
        if self._process is not None:
            self._process.close()
        self._api.close()
        self._selector.close()

    def _launch(self) -> None:
        self._process = process = Process(
            self.handler, environment=self._environment, code=self._code, api=self._api.address
        )
        if self._is_killed:  # by another thread, while it was being started
            process.kill()
        self._selector.register(process.output, selectors.EVENT_READ, lambda events: self._read_output())
        self._selector.register(process.control, selectors.EVENT_READ, lambda events: self._read_signals())
        if process.end is not None:
            self._selector.register(process.end, selectors.EVENT_READ, None)

    def _deliver(
        self, event: bytes, request_id: str, timeout_s: float, order: Signal, headers: Mapping[str, str] | None
    ) -> None:
        deadline_ms = int((time.time() + timeout_s) * 1000)
        always = {
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": function_arn(self.name),
            "Lambda-Runtime-Trace-Id": logs.trace_id(request_id),
        }
        with suppress(ConnectionError):  # It died while it was idle: driving it tells so.
            self._order(order)
            self._api.deliver(request_id, event, {**always, **(headers or {})})

    def _order(self, order: Signal) -> None:
        assert self._process is not None
        with suppress(ConnectionError):
            self._process.control.send(json.dumps(order).encode() + b"\n")

    def _drive(self, is_over: Callable[[], bool], until: float) -> None:
        """Carry what comes from the process to where it belongs until it is over, the process ended, or it is `until`."""
        assert self._process is not None
        while not is_over():
            if self._process.exit_code is not None:
                self._read_output()
                self._read_signals()
                return
            left = until - time.monotonic()
            if left <= 0:
                return
            for key, events in self._selector.select(left if self._process.end is not None else min(left, UNWATCHED_S)):
                if key.data is not None:
                    key.data(events)

    def _is_over(self) -> bool:
        return self._api.answer is not None or self.is_paused

    def _end(self, request_id: str, timeout_s: float, spare: bool) -> tuple[outcome.How, bytes]:
        """How the invocation ended. What is left of the process is killed unless it may serve again, or is spared."""
        assert self._process is not None
        # An answer that was on its way when the process was killed counts no more than the process does.
        answer = None if self._is_killed else self._api.answer
        if answer is not None:
            self._read_output()
            if answer.kind == "result":
                return "returned", answer.body
            if answer.kind == "error":
                return "raised", answer.body
            self.kill()  # awslambdaric ends at such an answer.
            return "too large", outcome.response_too_large()
        code = -signal.SIGKILL if self._is_killed else self._process.exit_code
        if code is not None:
            self.kill()
            return "killed" if code == -signal.SIGKILL else "exited", outcome.exited(request_id, code)
        if not spare:
            self.kill()
        return "timed out", outcome.timed_out(request_id, timeout_s)

    def _init_failed(self, request_id: str, limit_s: float, took_s: float) -> Outcome:
        assert self._process is not None
        how: outcome.How = "init failed"
        if self._api.init_error is not None:
            payload = outcome.init_error(self._api.init_error)
            self._drive(lambda: False, time.monotonic() + EXIT_GRACE_S)
        elif self._process.exit_code is not None:
            payload = outcome.exited(request_id, self._process.exit_code)
        else:
            how, payload = "init timed out", outcome.timed_out(request_id, limit_s)
        self.kill()
        return self._outcome(request_id, how, payload, 0.0, took_s)

    def _outcome(
        self, request_id: str, how: outcome.How, payload: bytes, took_s: float, init_s: float | None
    ) -> Outcome:
        assert self._process is not None
        self._log += logs.end(request_id, took_s, init_s, self._memory_mb, self._process.peak_mb, how, payload)
        return Outcome(request_id, how, payload, "".join(self._log), took_s, init_s)

    def _read_output(self) -> None:
        assert self._process is not None
        while chunk := self._read(lambda: os.read(self._process.output, 65536), self._process.output):  # type: ignore[union-attr]
            text = chunk.decode("utf-8", "replace")
            self._log.append(text)
            self.on_output(text)

    def _read_signals(self) -> None:
        assert self._process is not None
        while chunk := self._read(lambda: self._process.control.recv(65536), self._process.control):  # type: ignore[union-attr]
            self._signals += chunk
        *lines, rest = self._signals.split(b"\n")
        self._signals = bytearray(rest)
        for line in lines:
            told = json.loads(line)
            self.is_paused = self.is_paused or told.get("stop") == "pause"
            self.on_signal(told)

    def _read(self, read: Callable[[], bytes], source: Any) -> bytes:
        """The next chunk; empty when there is none yet, and at the end, which is then watched no longer."""
        try:
            chunk = read()
        except BlockingIOError:
            return b""
        except ConnectionError:
            chunk = b""
        if not chunk:
            with suppress(KeyError):
                self._selector.unregister(source)
        return chunk
