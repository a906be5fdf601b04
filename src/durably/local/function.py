"""`LocalLambda`: one function with its sandboxes, invoked as Lambda does, with its caller waiting for the result or not.

A context manager, and what it leaves behind is what it wrote in its folder: no process, no port.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from .attempts import Attempts, Delivery
from .environment import function_name, require_runtime
from .events import RETRY_DELAYS_S, Retrying, Sent
from .news import Listener, nobody
from .outcome import Outcome
from .payloads import payload_of
from .pool import Pool
from .sandbox import Sandbox
from .stops import NO_MISCHIEF, Mischief

TIMEOUT = timedelta(seconds=3)
"""Lambda's default."""
FOLDER = ".durably"
TIME_SCALE = 60.0


class LocalLambda:
    """The function `handler`, a dotted name as Lambda takes it; `code` is its task root."""

    def __init__(
        self,
        handler: str,
        *,
        code: Path | str = ".",
        folder: Path | str = FOLDER,
        name: str = "",
        timeout: timedelta = TIMEOUT,
        memory_mb: int | None = None,
        environment: Mapping[str, str] | None = None,
        concurrency: int = 10,
        time_scale: float = TIME_SCALE,
        retries: int = 2,
        max_age: timedelta = timedelta(hours=6),
        on_news: Listener = nobody,
    ) -> None:
        """`folder` takes on-failure records and dead letters, and the store where DURABLY_STORE names none.

        `time_scale` shortens the waits between attempts (1 and 2 minutes) and nothing else: durably's clock in the
        handler's process is set ahead by what was left out. `memory_mb` is a ceiling, where it is given. `on_news` is
        called by several threads, one at a time.
        """
        if not 0 <= retries <= len(RETRY_DELAYS_S):
            raise ValueError(f"retries={retries}: Lambda takes 0, 1 or 2.")
        if time_scale <= 0:
            raise ValueError(f"time_scale={time_scale}: 60 makes a second of a minute, 1 is real time.")
        require_runtime(Path(code).resolve())
        self.handler, self.name, self.timeout = handler, name or function_name(handler), timeout
        self.folder = Path(folder).resolve()
        self.time_scale = time_scale
        fallback = {"DURABLY_STORE": f"sqlite:///{quote(str(self.folder / 'durably.db'))}"}

        def sandbox() -> Sandbox:
            return Sandbox(
                handler, code=code, name=self.name, environment=environment, fallback=fallback, memory_mb=memory_mb
            )

        self.pool = Pool(sandbox, concurrency)
        self.attempts = Attempts(self.name, self.pool, timeout.total_seconds(), on_news)
        self._retrying = Retrying(time_scale, retries, max_age.total_seconds(), self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def invoke(self, event: Any, *, headers: Mapping[str, str] | None = None) -> Outcome:
        """Run the handler once and wait for its end, as RequestResponse does: nobody retries. Raises Refused.

        An event of bytes is JSON already. `headers` are the Runtime API's, such as Lambda-Runtime-Client-Context.
        """
        payload = payload_of(event, waits=True)
        return self.attempts.make(Delivery(payload, str(uuid.uuid4()), "call", headers=headers))

    def send(self, event: Any, *, mischief: Mischief = NO_MISCHIEF, headers: Mapping[str, str] | None = None) -> Sent:
        """Take the event and return at once, as Event does; retries follow. Raises Refused.

        What is done to it on purpose is said by `Mischief(stops=(stop_at("after:step"),), …)`.
        """
        payload = payload_of(event, waits=False)
        if mischief.duplicate and self.pool.concurrency < 2:
            raise ValueError("a duplicate needs a second sandbox: concurrency=2 or more.")
        delivery = Delivery(payload, str(uuid.uuid4()), "event", mischief=mischief, headers=headers)
        sent = Sent(self.attempts, self.pool, self._retrying, delivery)
        sent.begin()
        return sent

    def settle(self) -> None:
        """Return when nothing is on its way any more: no event, no duplicate, no zombie."""
        self.attempts.join()

    def close(self) -> None:
        """Kill every process, and return when all is given back. What was on its way is dropped."""
        self.pool.close()
        self.attempts.join()
