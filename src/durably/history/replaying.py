"""`replay`: a handler run at the desk, answered from a journal that was copied from the real store, which is only read.

`redirected` in `handlers` gives its plan the copy; every other store that its code opens meanwhile is one in memory, too, which
knows of the real one what was done in nested executions.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .. import hooks
from ..entries import Entry, Head
from ..errors import DurablyError
from ..handlers import redirected
from ..plan import Plan
from ..stores.memory import MemoryStore
from ..stores.url import opened_instead
from .actions_identity import event_of
from .actions_lease import Readable, read_head, read_journal
from .replaying_context import DeskContext
from .replaying_nested import DeskStore, bring


class Stopped(BaseException):
    """A dry replay came to a step that is not in the journal. No Exception: the user's code must not take it for a failure."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


class Journaled(NamedTuple):
    """An execution as it was copied, and what is to be told of it."""

    head: Head
    event: Any
    store: MemoryStore
    entries: tuple[Entry, ...]
    real: Readable
    """Where it was copied from, and nested executions are."""


class Replayed(NamedTuple):
    """What a replay came to: a result, an exception, or the step it stopped before."""

    result: Any = None
    error: BaseException | None = None
    stopped_at: str = ""
    answered: tuple[str, ...] = ()
    """The steps answered from the journal, in order."""
    ran: tuple[str, ...] = ()


def copied(store: Readable, execution: str) -> Journaled:
    """The execution in a store of its own in memory, there to be run again. Raises NoSuchExecution, DurablyError."""
    head = read_head(store, execution)
    segments = read_journal(store, head)
    if head.source == "the caller":
        raise DurablyError(
            f"execution {head.id!r} was begun by code, with execution(…) or once(…). A replay runs handlers: functions under "
            "@durable, by their event. Run your code with store=MemoryStore() instead."
        )
    local = MemoryStore(clock=store.clock)
    bring(local, head, segments, reopen=True)  # As it stood before its last ending, so that the handler runs.
    entries = tuple(entry for segment in segments for entry in segment.entries)
    return Journaled(head, event_of(head), local, entries, store)


def replay(handler: Callable[..., Any], journal: Journaled, *, live: bool = False) -> Replayed:
    """Run a handler under @durable against the copy. Unless `live`, it stops before the first step that has no outcome.

    What its code does between steps, it does. Never raises what the handler raised: it is in the answer, with its traceback.
    """
    refuse_other(handler, journal.head)
    answered: list[str] = []
    ran: list[str] = []
    stops: list[str] = []

    def watch(event: hooks.Event) -> None:
        if isinstance(event, hooks.StepReplayed):
            answered.append(event.outcome.step)
        elif isinstance(event, hooks.StepBegan):
            if not live:
                stops.append(event.step)
                raise Stopped(event.step)
            ran.append(event.step)

    remove = hooks.add_hook(watch)
    try:
        result, error = _outcome(handler, journal)
    finally:
        remove()
    # Also where the code swallowed it: asyncio.gather can, and a bare except.
    return Replayed(result, error, stops[0] if stops else "", tuple(answered), tuple(ran))


def refuse_other(handler: Callable[..., Any], head: Head) -> None:
    """Raise DurablyError unless it is a function under @durable, and of the name that the execution's had."""
    if getattr(handler, "__durably__", None) is None:
        raise DurablyError(
            f"{getattr(handler, '__qualname__', handler)!r} is no function under @durable, and a replay runs such functions only. "
            "Code with execution(…) or once(…) is run by itself, with store=MemoryStore()."
        )
    name = inspect.unwrap(handler).__qualname__
    if head.qualname and head.qualname.rpartition(":")[2] != name:
        raise DurablyError(
            f"execution {head.id!r} is of {head.qualname!r}, and {name!r} was given to replay it. Nothing was run."
        )


def _outcome(handler: Callable[..., Any], journal: Journaled) -> tuple[Any, BaseException | None]:
    context = DeskContext(journal.head)
    with _at_the_desk(journal):
        try:
            result = handler(journal.event, context)
            if inspect.iscoroutine(result):
                result = asyncio.run(_awaited(result))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            return None, error
    return result, None


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


@contextmanager
def _at_the_desk(journal: Journaled) -> Iterator[None]:
    """Every plan goes to the copy, every other store is one in memory, and durably's own checks are Lambda's."""
    elsewhere, begun = DeskStore(journal.real), False

    def to_copy(plan: Plan) -> Plan:
        nonlocal begun
        if begun:
            return plan  # another durable function that this one calls
        begun, head = True, journal.head
        return plan._replace(
            id=head.id, store=journal.store, function=head.function, qualname="", fingerprint="", wait=None
        )

    token = redirected.set(to_copy)
    name = "AWS_LAMBDA_FUNCTION_NAME"
    before = os.environ.get(name)
    # A name with a colon is a module's: it did not run in Lambda.
    if ":" not in journal.head.function:
        os.environ[name] = journal.head.function
    try:
        with opened_instead(elsewhere):
            yield
    finally:
        redirected.reset(token)
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
