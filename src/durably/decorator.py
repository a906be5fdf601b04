"""`@durable`: the outermost shell. An event becomes an identity, the handler one attempt of that execution."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from .codec import JSON, Codec
from .current import enter_attempt, leave_attempt
from .execution import complete, finished_result, leave, open_execution
from .handlers import Settings, check_of_result, failing_status, plan_of, refuse_settings, register
from .plan import EXPIRES, LEASE, Plan
from .stores.protocol import Store

if TYPE_CHECKING:
    from .identity import Identity

P = ParamSpec("P")
R = TypeVar("R")


@overload
def durable(fn: Callable[P, R], /) -> Callable[P, R]: ...


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
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def durable(
    fn: Callable[..., Any] | None = None,
    /,
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
) -> Any:
    """Make a handler `fn(event, context)` durable: a retry of the same event goes on where the last attempt stopped.

    `id`: the event's id, where the trigger's own is not wanted. `name`: the function's name in ids; else Lambda's, else
    module:qualname. `store`: a store or its URL. `lease`: how long an attempt may be silent before another takes over.
    `expires`: how long an execution is remembered. `wait`: how long a duplicate waits for the holder. `reserve`: no step
    begins with less time than this left. `codec`: how values are written. `keep_event`: store the event, for a redrive.

    The call raises what the handler raises, ExecutionInProgress, NoIdentity, StoreError, LeaseLost, OutOfTime, or
    NotSerializable for its result. Raises TypeError at decoration for an async or a generator function.
    """
    settings = Settings(id, name, store, lease, expires, wait, reserve, codec, keep_event)
    refuse_settings(settings)
    if fn is None:
        return lambda function: _decorate(function, settings)
    return _decorate(fn, settings)


def _decorate(fn: Callable[..., Any], settings: Settings) -> Callable[..., Any]:
    if not callable(fn):
        raise TypeError(f"@durable goes on a function, and {fn!r} is none. Its options are keywords: @durable(name=…).")
    name = getattr(fn, "__qualname__", repr(fn))
    if inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(f"@durable: {name} is async. Use `from durably.aio import durable` for async handlers.")
    if inspect.isgeneratorfunction(fn):
        raise TypeError(
            f"@durable: {name} is a generator; a handler returns its result, or there is nothing to remember."
        )

    @functools.wraps(fn)
    def handler(*args: Any, **kwargs: Any) -> Any:
        plan, identity = plan_of(fn, settings, args, kwargs)
        return _run(functools.partial(fn, *args, **kwargs), plan, identity)

    register(handler, settings)
    return handler


def _run(work: Callable[[], Any], plan: Plan, identity: Identity) -> Any:
    opened = open_execution(plan)
    if opened.attempt is None:
        return finished_result(plan, opened.head)
    token = enter_attempt(opened.attempt)
    try:
        value = work()
        status = failing_status(value) if identity.http else None
        if status is not None and opened.attempt.stopped is None:
            leave(opened, None, f"HTTP {status}")
            return value
        return complete(opened, value, check_of_result())
    except BaseException as error:
        leave(opened, error)
        raise
    finally:
        leave_attempt(opened.attempt, token)
