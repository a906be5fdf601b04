"""`fan_out`, awaited: items as tasks, up to `workers` at once, with the same names, fate and group commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, TypeVar, Unpack, overload

from ..current import Running, refuse_lost_context
from ..fan import FanOut, Items
from ..options import Options, StepOptions
from ..program import Answer
from ..steps import refuse_generator
from .steps import on_this_line, perform, run_alone
from .writing import settle

T = TypeVar("T")
R = TypeVar("R")


@overload
async def fan_out(
    name: str,
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    /,
    *,
    key: Callable[[T], str | int] | None = None,
    workers: int = 16,
    return_exceptions: Literal[False] = False,
    **options: Unpack[StepOptions],
) -> list[R]: ...


@overload
async def fan_out(
    name: str,
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    /,
    *,
    key: Callable[[T], str | int] | None = None,
    workers: int = 16,
    return_exceptions: Literal[True],
    **options: Unpack[StepOptions],
) -> list[R | Exception]: ...


async def fan_out(
    name: str,
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    /,
    *,
    key: Callable[[T], str | int] | None = None,
    workers: int = 16,
    return_exceptions: bool = False,
    **options: Unpack[StepOptions],
) -> Any:
    """As `durably.fan_out`, awaited: `fn` may be async or plain, and `workers` items run at once."""
    work = Items(name, items, key, workers)
    refuse_generator(name, fn)
    here = on_this_line()
    work.refuse_twins(here.attempt.head.id if here is not None else "(none)")
    made = work.options(options)
    if here is None:
        refuse_lost_context(name)
        alone = [partial(_run_alone, name, partial(fn, item)) for item in work.all]
        answers = await run_crew(alone, workers, stop_at_failure=not return_exceptions)
        failures = [answer.error for answer in answers if answer is not None and answer.error is not None]
    else:
        answers, failures = await _run_items(here, fn, work, made, stop_at_failure=not return_exceptions)
    return work.outcome(answers, failures, give_exceptions=return_exceptions)


async def _run_items(
    here: Running, fn: Callable[[Any], Any], work: Items, options: Sequence[Options], *, stop_at_failure: bool
) -> tuple[list[Answer | None], list[BaseException]]:
    attempt = here.attempt
    fan = FanOut(attempt, here.frame, work, stop_at_failure=stop_at_failure)

    async def run_item(index: int) -> Answer:
        item = work.all[index]
        call, frame = partial(fn, item), fan.frames[index]
        return fan.refuse_stop(await perform(attempt, frame, fn, call, options[index], (item,), behind=fan.behind))

    answers: list[Answer | None] = [None] * len(work.all)
    for index in fan.known:
        answers[index] = await run_item(index)
    todo = fan.todo(answers)
    try:
        new = await run_crew(
            [partial(run_item, index) for index in todo], work.workers, stop_at_failure=stop_at_failure
        )
        await settle(attempt, attempt.appender.last_mark)
    except BaseException:
        fan.abandon()
        raise
    for index, answer in zip(todo, new, strict=True):
        answers[index] = answer
    return answers, fan.close(answers)


async def run_crew(
    tasks: Sequence[Callable[[], Awaitable[Answer]]], workers: int, *, stop_at_failure: bool
) -> list[Answer | None]:
    """Run them on that many tasks; None for one not begun. Raises what one raised, when all have ended."""
    answers: list[Answer | None] = [None] * len(tasks)
    todo = iter(range(len(tasks)))
    raised: list[BaseException] = []

    async def work() -> None:
        nonlocal todo
        for index in todo:
            try:
                answers[index] = answer = await asyncio.create_task(_as_coroutine(tasks[index]))
            except BaseException as error:
                todo = iter(())
                raised.append(error)
                raise
            if answer.error is not None and stop_at_failure:
                todo = iter(())

    await _all_of([asyncio.create_task(work()) for _ in range(min(workers, len(tasks)))])
    if raised:
        raise raised[0]
    return answers


async def _as_coroutine(call: Callable[[], Awaitable[Answer]]) -> Answer:
    return await call()


async def _all_of(crew: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all; a cancelled caller cancels them, each time, and still waits, so that none outlives the call."""
    cancelled: asyncio.CancelledError | None = None
    try:
        while not all(task.done() for task in crew):
            try:
                await asyncio.wait(crew)
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
                for task in crew:
                    task.cancel()
        if cancelled is not None:
            raise cancelled
    finally:
        for task in crew:
            if task.done() and not task.cancelled():
                task.exception()  # seen; it is raised by the caller


async def _run_alone(name: str, call: Callable[[], Any]) -> Answer:
    try:
        return Answer(await run_alone(name, call))
    except Exception as error:
        return Answer(None, error)
