"""PURE: which event leads to which execution. A redrive sends an event that must find its execution again, a fork one that
must find the new one; where no event can, the refusal says why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from ..codec import JSON
from ..entries import Head
from ..errors import DurablyError, NoIdentity
from ..identity import identify
from ..identity.http import SENDER_HEADERS
from ..identity.value import Identity

REQUEST_ID = "context.aws_request_id"
BY_FUNCTION = "id="

_FIELDS: tuple[tuple[str, ...], ...] = (
    ("detail", "metadata", "id"),
    ("id",),
    ("messageId",),
    ("MessageId",),
    ("Sns", "MessageId"),
    ("eventID",),
    ("s3", "object", "sequencer"),
    ("responseElements", "x-amz-request-id"),
    ("messageID",),
    ("Execution", "Id"),
)
"""Where triggers keep what their events are known by. Whether a field counts is not assumed: `identify` is asked."""


def event_of(head: Head) -> Any:
    """The stored event. Raises DurablyError where none was kept."""
    if head.event is None:
        raise DurablyError(
            f"the event of execution {head.id!r} was not kept (keep_event=False, or it was no JSON), so it can't be sent again "
            "from here. Send it from where it came from."
        )
    return JSON.decode(head.event, None)


def event_id_of(head: Head) -> str:
    """The part of the id that came from the event. Raises DurablyError for what no event leads to."""
    start = f"{head.function}/"
    at = 0 if head.id.startswith(start) else head.id.find(f"/{start}") + 1
    if head.source == "the caller" or not head.function or (at == 0 and not head.id.startswith(start)):
        raise DurablyError(
            f"execution {head.id!r} is no handler's: it was begun by code, with execution(…) or once(…), and only that code "
            "begins it again. It goes on from its journal when it does."
        )
    return head.id[at + len(start) :]


def refuse_unless_it_leads_to(head: Head, event: Any) -> None:
    """Raise DurablyError unless a handler that gets this event finds this execution by it."""
    wanted = event_id_of(head)
    if head.source == REQUEST_ID:
        raise DurablyError(
            f"execution {head.id!r} is known by Lambda's request id, and every invocation gets a new one: sending its event "
            "again would begin another execution from nothing. Nothing was sent. Let events carry an id, or give the "
            "decorator one: @durable(id=lambda event, context: …)."
        )
    if head.source == BY_FUNCTION:
        return  # the handler's own id= tells, and it is not here to be asked
    found = _identified(event)
    if found is None or found.event_id != wanted:
        raise DurablyError(
            f"the stored event of execution {head.id!r} leads to {'no execution' if found is None else repr(found.event_id)}, "
            f"not to {wanted!r}. Nothing was sent. Was the event edited, or was it written by another version of durably?"
        )


def renamed(head: Head, event: Any, suffix: str) -> tuple[str, Any]:
    """An event id of its own for a fork, and the event with it in place of the old. Raises DurablyError where that can't be."""
    old = _identified(event)
    if head.source not in (REQUEST_ID, BY_FUNCTION) and old is not None:
        for edit in _edits(event, suffix):
            copy = deepcopy(event)
            edit(copy)
            new = _identified(copy)
            if new is not None and new.source == old.source and new.event_id != old.event_id:
                return new.event_id, copy
    told = {
        REQUEST_ID: "it is known by Lambda's request id, which no event carries",
        BY_FUNCTION: "its handler finds the id by a function of its own (id=)",
    }.get(head.source, f"its id ({head.source}) is no field that can be changed")
    raise DurablyError(
        f"execution {head.id!r} can't be forked by itself: {told}, so the fork's event would not lead to the fork. Edit the event "
        "so that the handler finds another id in it, and say which: --event FILE --event-id ID."
    )


def _identified(event: Any) -> Identity | None:
    try:
        return identify(event, None)
    except NoIdentity:
        return None


def _edits(event: Any, suffix: str) -> Iterator[Callable[[Any], None]]:
    """Each change of one field that may be the event's id, as a function that makes it in a copy."""
    for way in _ways_in(event):
        for field in _FIELDS:
            if isinstance(_at(event, (*way, *field)), str):
                yield lambda copy, path=(*way, *field): _append_to(copy, path, suffix)  # type: ignore[misc]
    for block in ("headers", "multiValueHeaders"):
        there = _at(event, (block,))
        names = {name.lower() for group in SENDER_HEADERS for name in group if name.lower() != "ce-source"}
        for name in there if isinstance(there, dict) else ():
            if str(name).lower() in names:
                yield lambda copy, name=name: _append_to_header(copy, name, suffix)  # type: ignore[misc]


def _ways_in(event: Any) -> Iterator[tuple[str | int, ...]]:
    """The event itself, the only record of a batch, and what stands under one key (Step Functions' context)."""
    yield ()
    for key in ("Records", "messages", "events"):
        if isinstance(_at(event, (key,)), list):
            yield (key, 0)
    if isinstance(event, list):
        yield (0,)
    if isinstance(event, dict):
        yield from ((key,) for key, value in event.items() if isinstance(value, dict))


def _at(event: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        try:
            event = event[key]
        except (KeyError, IndexError, TypeError):
            return None
    return event


def _append_to(event: Any, path: tuple[str | int, ...], suffix: str) -> None:
    _at(event, path[:-1])[path[-1]] += suffix


def _append_to_header(event: Any, name: str, suffix: str) -> None:
    for block in ("headers", "multiValueHeaders"):
        headers = event.get(block) or {}
        for same in [one for one in headers if str(one).lower() == name.lower()]:
            value = headers[same]
            headers[same] = [f"{one}{suffix}" for one in value] if isinstance(value, list) else f"{value}{suffix}"


def payload_text(event: Any) -> str:
    """The event as it is sent to a function."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)
