"""What a decorated handler is told and how it becomes a plan: shared by the plain and the async decorator."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from .codec import JSON, Codec, Unencodable, returns_of
from .errors import DurablyError
from .naming import checked_id, execution_id, function_name
from .outcomes import refuse_what_lambda_cannot_return
from .plan import EXPIRES, LEASE, Plan, refuse_durations
from .stores.protocol import Store
from .stores.url import open_store

if TYPE_CHECKING:
    from .identity import Identity

redirected: ContextVar[Callable[[Plan], Plan] | None] = ContextVar("durably_redirected", default=None)
"""Set by a tool that runs a handler from outside: what it makes of the plan is what is run."""

_decorated: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()


class Settings(NamedTuple):
    """What was said in `@durable(…)`."""

    id: Callable[[Any, Any], str] | None = None
    name: str | None = None
    store: Store | str | None = None
    lease: timedelta = LEASE
    expires: timedelta | None = EXPIRES
    wait: timedelta | None = None
    reserve: timedelta | None = None
    codec: Codec = JSON
    keep_event: bool = True


def refuse_settings(settings: Settings) -> None:
    """Raise TypeError or ValueError for an option that can't be meant, at decoration."""
    refuse_durations("durable", settings.lease, settings.expires, settings.wait, settings.reserve)
    if settings.id is not None and not callable(settings.id):
        raise TypeError(
            f"durable(id={settings.id!r}): write a function, for example id=lambda event, context: event['id']."
        )
    if settings.name is not None and (type(settings.name) is not str or not settings.name):
        raise TypeError(f"durable(name={settings.name!r}): a name is a str that is not empty.")
    function_name(settings.name or "")


def register(handler: Callable[..., Any], settings: Settings) -> None:
    """Mark a decorated handler with its settings. Raises DurablyError for a second one in a Lambda without name=.

    They would share the Lambda's name, and so the ids of their executions. Two that one function makes can't be told from
    one that is made again, so they are warned of.
    """
    handler.__durably__ = settings  # type: ignore[attr-defined]  # told to the tools that run a handler from outside
    if _in_lambda():
        for other in list(_decorated):
            _refuse_to_share_a_name(handler, settings, other)
    _decorated.add(handler)


def _refuse_to_share_a_name(handler: Callable[..., Any], settings: Settings, other: Callable[..., Any]) -> None:
    theirs: Settings = other.__durably__  # type: ignore[attr-defined]  # set on every member of _decorated
    if _qualname(other) != _qualname(handler):
        if not (theirs.name and settings.name):
            raise DurablyError(
                f"@durable stands on both {_qualname(other)} and {_qualname(handler)} in one Lambda, so their executions "
                "would share one name. Give each its own: @durable(name='…')."
            )
    elif "<locals>" in _qualname(handler) and theirs.name == settings.name:
        warnings.warn(
            f"@durable was put on {_qualname(handler)} twice in one Lambda. If both handlers take events, what one has done "
            "with an event counts as done for the other. Give each its own name: @durable(name='…').",
            RuntimeWarning,
            stacklevel=5,
        )


def _event_and_context(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    event = args[0] if args else kwargs.get("event", next(iter(kwargs.values()), None))
    context = args[1] if len(args) > 1 else kwargs.get("context")
    return event, context


def plan_of(
    fn: Callable[..., Any], settings: Settings, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Plan, Identity]:
    """The plan of one call, and what is known of its trigger. Raises NoIdentity, or StoreError for an unknown store."""
    event, context = _event_and_context(args, kwargs)
    identity = _identity(settings, event, context)
    qualname = _qualname(fn)
    function = function_name(settings.name or os.environ.get("AWS_LAMBDA_FUNCTION_NAME") or qualname)
    plan = Plan(
        id=execution_id(function, identity.event_id),
        store=open_store(settings.store),
        codec=settings.codec,
        lease=settings.lease,
        expires=settings.expires,
        wait=settings.wait,
        reserve=settings.reserve,
        remaining=remaining_of(context),
        returns=returns_of(fn),
        function=function,
        qualname=qualname,
        source=identity.source,
        fingerprint=identity.fingerprint,
        request_id=str(getattr(context, "aws_request_id", "") or ""),
        event=_event_text(settings, event),
    )
    redirect = redirected.get()
    return plan if redirect is None else redirect(plan), identity


def _identity(settings: Settings, event: Any, context: Any) -> Identity:
    from .identity import Identity, identify, is_http  # when an event comes: code without events never needs it

    if settings.id is None:
        return identify(event, context)
    given = checked_id(settings.id(event, context), "@durable(id=…)")
    return Identity(given, "id=", http=is_http(event))


def remaining_of(context: object) -> Callable[[], float] | None:
    """Seconds to the deadline as Lambda's context tells them, or None where it tells nothing."""
    tell = getattr(context, "get_remaining_time_in_millis", None)
    return None if tell is None else lambda: tell() / 1000


def _event_text(settings: Settings, event: Any) -> str | None:
    if not settings.keep_event:
        return None
    from .identity import stored_event

    try:
        text: str = JSON.encode(stored_event(event))
        return text
    except Unencodable:
        return None  # Not an event of Lambda's; it can't be redriven from here, and runs all the same.


def check_of_result() -> Callable[[object, str], None] | None:
    """What else a handler's result must pass: in Lambda, that the runtime can send it."""
    return refuse_what_lambda_cannot_return if _in_lambda() else None


def failing_status(value: object) -> int | None:
    """The status of an HTTP answer that says no: the sender will ask again, so nothing is finished."""
    status = value.get("statusCode") if isinstance(value, dict) else None
    try:
        number = int(status)  # type: ignore[arg-type]  # None and nonsense are caught
    except (TypeError, ValueError):
        return None
    return number if number >= 400 else None


def _in_lambda() -> bool:
    return bool(os.environ.get("AWS_LAMBDA_FUNCTION_NAME"))


def _qualname(fn: Callable[..., Any]) -> str:
    return f"{getattr(fn, '__module__', '')}:{getattr(fn, '__qualname__', type(fn).__qualname__)}"
