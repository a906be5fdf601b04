"""Ids that can be computed: an execution's trace and its attempts' spans, so that a retry finds the attempt before it.

An attempt may have died anywhere, long ago, on another machine. Its trace and span ids follow from what every attempt
is given by its claim (execution, generation, time of the first claim, number), so nothing need be carried in the journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from typing import Any

from ..entries import Head

_wanted: ContextVar[tuple[int, int | None] | None] = ContextVar("durably_wanted_ids", default=None)


def trace_id_of(head: Head) -> int:
    """The execution's trace id. It begins with the epoch seconds of the first claim: AWS X-Ray takes no other ids."""
    seconds = int(head.began) & 0xFFFF_FFFF
    return seconds << 96 | int.from_bytes(_digest(head.id, head.generation)[:12])


def span_id_of(head: Head, attempt: int) -> int:
    """The span id of one of its attempts."""
    return int.from_bytes(_digest(head.id, head.generation, str(attempt))[:8]) or 1


def _digest(*parts: str) -> bytes:
    return sha256("\n".join(parts).encode()).digest()


class Identifiers:
    """An id generator that gives the ids asked for by `wanting`, and everybody else what the one before it gives."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def generate_trace_id(self) -> int:
        """The wanted trace id, or a random one."""
        wanted = _wanted.get()
        made: int = self.before.generate_trace_id() if wanted is None else wanted[0]
        return made

    def generate_span_id(self) -> int:
        """The wanted span id, or a random one."""
        wanted = _wanted.get()
        made: int = self.before.generate_span_id() if wanted is None or wanted[1] is None else wanted[1]
        return made

    def is_trace_id_random(self) -> bool:
        """Whether the lower 56 bits of the next trace id are random (W3C Trace Context, level 2)."""
        return _wanted.get() is None and bool(getattr(self.before, "is_trace_id_random", bool)())


def gives_identifiers(tracer: Any) -> bool:
    """Let the tracer take wanted ids. False where it is not the SDK's: the API alone has no way to choose an id."""
    if not hasattr(tracer, "id_generator"):
        return False
    if not isinstance(tracer.id_generator, Identifiers):
        tracer.id_generator = Identifiers(tracer.id_generator)
    return True


@contextmanager
def wanting(trace_id: int, span_id: int | None) -> Iterator[None]:
    """The root span that is started in here has these ids; None is any span id."""
    token = _wanted.set((trace_id, span_id))
    try:
        yield
    finally:
        _wanted.reset(token)
