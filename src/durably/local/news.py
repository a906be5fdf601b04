"""What a local Lambda tells while events are on their way: the one source of the picture, of `--json`, and of tests.

Beside these, everything that durably's hooks tell of a handler's steps is news of the attempt it happened in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class News(NamedTuple):
    """One thing that happened. `what` is a hook's event (`StepBegan`, …), or one of the words below, with what is `said`.

    `Begins` (cold, timeout_s) · `Called` (init_s; now the timeout runs) · `Output` (text) · `Ends` (how, took_s, error,
    spared) · `Waits` (seconds, really_s) · `Succeeds` · `GivenUp` (condition, written) · `ZombieEnds` (how) · `Batch`
    (messages) · `BatchEnds` (done, again, left) · `DeadLetter` (message).
    """

    what: str
    function: str
    request_id: str
    attempt: int
    """Of Lambda's attempts at the event, from 1. The durable execution counts its own."""
    delivery: str
    """`event`; `duplicate` for the same event delivered once more; `call` when the caller waits; `batch` from a queue."""
    at: float
    said: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """One line of `--json`."""
        whole = {"what": self.what, "function": self.function, "request_id": self.request_id, "attempt": self.attempt}
        named = {"execution_attempt" if name == "attempt" else name: value for name, value in self.said.items()}
        return {**whole, "delivery": self.delivery, "at": self.at, **named}


Listener = Callable[[News], object]


def nobody(news: News) -> None:
    """Listens to nothing."""
