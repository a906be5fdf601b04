"""An event-source mapping: batches from a queue to a function, and what its answer says of each message.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import json
import math
import time
import uuid
from datetime import timedelta
from typing import Any, NamedTuple

from .attempts import Delivery
from .function import LocalLambda
from .outcome import Outcome
from .queue import Message, Queue
from .stops import NO_MISCHIEF, Mischief

IDLE_S = 0.1
"""How long a queue is left alone at most: then it is seen that the function was closed."""
VISIBILITY_PER_TIMEOUT = 6
"""What AWS advises: six times the function's timeout."""


class Drained(NamedTuple):
    """How a queue's messages ended, by their ids, and how many invocations it took."""

    done: tuple[str, ...]
    dead: tuple[str, ...]
    invocations: int


class QueueMapping:
    """Feeds a function from a queue of its own, one batch at a time."""

    def __init__(
        self,
        function: LocalLambda,
        *,
        name: str = "",
        batch_size: int = 10,
        visibility: timedelta | None = None,
        max_receive_count: int = 3,
        report_failures: bool = True,
        mischief: Mischief = NO_MISCHIEF,
    ) -> None:
        """`report_failures` is ReportBatchItemFailures. The visibility timeout passes on the function's scaled clock.

        What is done on purpose is done to the first batch, and its `@2` is a message's second receive.
        """
        visibility = visibility or VISIBILITY_PER_TIMEOUT * function.timeout
        if visibility < function.timeout:
            raise ValueError(
                f"a visibility timeout of {visibility} is shorter than the function's timeout of {function.timeout}: messages "
                "would come again while they are worked on, and Lambda refuses such a mapping."
            )
        self.function = function
        self.queue = Queue(
            name or function.name,
            visibility_s=visibility.total_seconds(),
            max_receive_count=max_receive_count,
            folder=function.folder,
        )
        self._batch_size, self._report_failures = batch_size, report_failures
        self._mischief = mischief
        self._done: list[str] = []
        self._dead: list[str] = []
        self._invocations = 0

    def drain(self) -> Drained:
        """Run batches until the queue is empty. Waits for hidden messages are short, on the scaled clock."""
        while not self.function.pool.closed.is_set():
            if self.run_batch():
                continue
            visible_at = self.queue.next_visible_at()
            if visible_at is None:
                break
            self._wait(visible_at - self.queue.now())
        return Drained(tuple(self._done), tuple(self._dead), self._invocations)

    def serve(self) -> None:
        """Run batches as messages come, until the function is closed."""
        while not self.function.pool.closed.is_set():
            if not self.run_batch():
                self._await_message()

    def run_batch(self) -> bool:
        """Receive a batch, run the function on it, delete what is done. False when nothing was visible."""
        batch, dead = self.queue.receive(self._batch_size)
        self._dead += [message.id for message in dead]
        delivery = self._delivery(batch)
        for message in dead:
            self.function.attempts.tell(delivery, "DeadLetter", message=message.id)
        if not batch:
            return bool(dead)
        self._invocations += 1
        self.function.attempts.tell(delivery, "Batch", messages=[message.id for message in batch])
        outcome = self.function.attempts.make(delivery)
        failed = self.failed_of(batch, outcome)
        done = [message for message in batch if message.id not in failed]
        self.queue.delete(done)
        self._done += [message.id for message in done]
        self.function.attempts.tell(
            delivery, "BatchEnds", done=[message.id for message in done], again=sorted(failed), left=len(self.queue)
        )
        return True

    def failed_of(self, batch: list[Message], outcome: Outcome) -> set[str]:
        """The ids of the messages that come again: named by the answer, or all when it is an error or makes no sense."""
        everyone = {message.id for message in batch}
        if outcome.failed:
            return everyone
        return named_failures(outcome.payload, everyone) if self._report_failures else set()

    def _delivery(self, batch: list[Message]) -> Delivery:
        event = {"Records": [message.record(self.queue.arn) for message in batch]}
        receives = max((message.receives for message in batch), default=1)
        mischief = self._mischief if self._invocations == 0 or receives > 1 else NO_MISCHIEF
        payload = json.dumps(event).encode()
        return Delivery(payload, str(uuid.uuid4()), "batch", receives, self.queue.ahead_s, mischief)

    def _await_message(self) -> None:
        """Wait for a hidden message on the scaled clock, but no longer than until another is sent."""
        with self.queue.changed:
            visible_at, began = self.queue.next_visible_at(), time.monotonic()
            hidden_s = IDLE_S if visible_at is None else max(0.0, visible_at - self.queue.now())
            self.queue.changed.wait(min(IDLE_S, hidden_s / self.function.time_scale))
            passed_s = time.monotonic() - began
        if visible_at is not None:
            self.queue.ahead_s += max(0.0, min(hidden_s, passed_s * self.function.time_scale) - passed_s)

    def _wait(self, seconds: float) -> None:
        really_s = max(0.0, seconds) / self.function.time_scale
        if not self.function.pool.closed.wait(really_s):
            # A millisecond more: the message must be visible then, whatever was rounded.
            self.queue.ahead_s += max(0.0, math.ceil((seconds - really_s) * 1000) / 1000)


def named_failures(payload: bytes, everyone: set[str]) -> set[str]:
    """What a partial batch response says. All, when it names a message that was not in the batch, or is no such response."""
    try:
        answer: Any = json.loads(payload)
    except ValueError:
        return everyone
    if not answer:
        return set()
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
    if failures is None:
        return set()
    if not isinstance(failures, list) or not all(isinstance(one, dict) for one in failures):
        return everyone
    named = [one.get("itemIdentifier") for one in failures]
    # What stands there is the function's: a number, or a list, which no set takes.
    return set(named) if all(isinstance(one, str) and one in everyone for one in named) else everyone
