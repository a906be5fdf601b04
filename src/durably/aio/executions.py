"""`durable`, `execution` and `once`, awaited. Claim, finish and release run on a thread: the store must not block the loop."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple, overload

from ..blocks import Block, leave_block, once_plan, replay
from ..codec import JSON, Codec
from ..current import enter_attempt, leave_attempt
from ..execution import Opened, complete, finished_result, leave, open_execution
from ..handlers import Settings, check_of_result, failing_status, plan_of, refuse_settings, register
from ..options import make_options
from ..plan import EXPIRES, LEASE, Plan
from ..stores.protocol import Store
from .steps import run as run_step
from .threads import on_thread, on_waiting_thread

if TYPE_CHECKING:
    from ..identity import Identity

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


@overload
def durable(fn: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]: ...


@overload
def durable(
    *,
    id: Callable[[Any, Any], str] | None = None,
    name: str | None = None,
    store: Store | str | None = None,
    lease: timedelta = LEASE,
    expires: timedelta | None = EXPIRES,
    wait: timedelta | None = None,
    reserve: timedelta | None = None,
    codec: Codec = JSON,
    keep_event: bool = True,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]: ...


def durable(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """As `durably.durable`, for an `async def` handler; the options are the same."""
    settings = Settings(**options)
    refuse_settings(settings)
    if fn is None:
        return lambda function: _decorate(function, settings)
    return _decorate(fn, settings)


def _decorate(fn: Callable[..., Any], settings: Settings) -> Callable[..., Any]:
    if not inspect.iscoroutinefunction(fn):
        name = getattr(fn, "__qualname__", repr(fn))
        raise TypeError(
            f"durably.aio.durable: {name} is no async function. Use `from durably import durable` for plain ones."
        )

    @functools.wraps(fn)
    async def handler(*args: Any, **kwargs: Any) -> Any:
        plan, identity = plan_of(fn, settings, args, kwargs)
        return await _run(functools.partial(fn, *args, **kwargs), plan, identity)

    register(handler, settings)
    return handler


async def _run(work: Callable[[], Awaitable[Any]], plan: Plan, identity: Identity) -> Any:
    opened = await open_on_thread(plan)
    if opened.attempt is None:
        return finished_result(plan, opened.head)
    token = enter_attempt(opened.attempt, asyncio.current_task())
    try:
        value = await work()
        status = failing_status(value) if identity.http else None
        if status is not None and opened.attempt.stopped is None:
            await finished(on_thread(leave, opened, None, f"HTTP {status}"))
            return value
        return await finished(on_thread(complete, opened, value, check_of_result()))
    except BaseException as error:
        await finished(on_thread(leave, opened, error))
        raise
    finally:
        leave_attempt(opened.attempt, token)


async def open_on_thread(plan: Plan) -> Opened:
    """Claim on a thread. Cancelled meanwhile, what was claimed is released again."""
    claim = on_thread(open_execution, plan) if plan.wait is None else on_waiting_thread(open_execution, plan)
    try:
        return await asyncio.shield(claim)
    except asyncio.CancelledError as cancelled:
        await _over(claim)
        if not claim.cancelled() and claim.exception() is None and claim.result().attempt is not None:
            await finished(on_thread(leave, claim.result(), cancelled))
        raise


async def finished(work: asyncio.Future[R]) -> R:
    """Await to the end even when cancelled: half a release helps nobody."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await _over(work)
        raise


async def _over(work: asyncio.Future[R]) -> None:
    """Return when it is done, however often this task is cancelled meanwhile: nobody else would release the lease."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])


class execution(Block):  # a context manager that reads as a word
    """As `durably.execution`: `async with execution("order-42") as ex: ex.result = await step(…)`."""

    async def __aenter__(self) -> execution:
        self.opened = opened = await open_on_thread(self.plan)
        # Between the claim and entering there is no await, where a cancellation would leave the lease with nobody.
        attempt = opened.attempt if opened.attempt is not None else await on_thread(replay, self)
        self.enter_with(attempt, asyncio.current_task())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await finished(on_thread(leave_block, self, error))
        finally:
            self.leave_context()


async def once(id: str, fn: Callable[[*Ts], Awaitable[R]], /, *args: *Ts, store: Store | str | None = None) -> R:
    """As `durably.once`, awaited."""
    plan = once_plan(id, fn, store)
    opened = await open_on_thread(plan)
    if opened.attempt is None:
        known: R = finished_result(plan, opened.head)
        return known
    token = enter_attempt(opened.attempt, asyncio.current_task())
    try:
        value = await run_step("once", fn, args, make_options())
        result: R = await finished(on_thread(complete, opened, value))
        return result
    except BaseException as error:
        await finished(on_thread(leave, opened, error))
        raise
    finally:
        leave_attempt(opened.attempt, token)
