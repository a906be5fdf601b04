"""Group commit for tasks: one write of an attempt is under way at a time, on a thread; every task that waits shares it."""

from __future__ import annotations

import asyncio

from ..attempt import Attempt
from .threads import on_thread


async def settle(attempt: Attempt, mark: int, *, behind: int = 0) -> None:
    """Return when all but `behind` entries up to the mark are durable, and the rest is being written.

    A cancelled caller does not cancel the write.
    """
    if not attempt.is_durable(mark):
        _writer(attempt)
    while not attempt.is_durable(mark - behind):
        await asyncio.shield(_writer(attempt))


def _writer(attempt: Attempt) -> asyncio.Task[None]:
    writer: asyncio.Task[None] | None = attempt.writer
    # A task of another loop can't be awaited here: plain code may have begun a loop in each thread of a fan-out.
    if writer is None or writer.done() or writer.get_loop() is not asyncio.get_running_loop():
        writer = attempt.writer = asyncio.create_task(_write(attempt))
        # Whoever needs the entries asks for them again and is told; nobody may be waiting for this very task.
        writer.add_done_callback(lambda task: task.cancelled() or task.exception())
    return writer


async def _write(attempt: Attempt) -> None:
    while not attempt.is_durable(mark := attempt.appender.last_mark):
        await on_thread(attempt.settle, mark)
