"""PURE: what an operator types in place of a result or an event, as the journal's text; refused where it would do harm."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..codec import JSON
from ..codec.marks import Reader  # noqa: F401 - with it every mark is known
from ..codec.plain import dumps
from ..codec.walk import DECODERS
from ..entries import Entry
from ..errors import DurablyError
from ..redaction import HIDDEN


def json_of(text: str, what: str) -> Any:
    """The data in a JSON text. Raises DurablyError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DurablyError(f"{what} is no JSON ({error}). A text stands in quotes: '\"like this\"'.") from None


def payload_of(value: Any) -> str:
    """The journal's text of plain data, as durably's own codec writes it."""
    text: str = JSON.encode(value)
    return text


def outcome_payload(value: Any, what: str) -> str:
    """The journal's text of a result that was given as data: plain, or as `durably show` prints it, with the codec's marks.

    So a dataclass or a Decimal can be given: `{"$decimal": "9.99"}`. Raises DurablyError for a hidden value, and for a mark
    that the codec does not know beside one that it does.
    """
    refuse_hidden(value, what)
    marks = set(_marks(value))
    if not marks & DECODERS.keys():
        return payload_of(value)
    if marks - DECODERS.keys():
        unknown = ", ".join(sorted(marks - DECODERS.keys()))
        raise DurablyError(f"{what} has marks of durably's codec, and {unknown}, which is none. Nothing was changed.")
    return str(dumps(value))


def refuse_hidden(value: Any, what: str) -> None:
    """Raise DurablyError where the sign of a hidden value stands: sent back, it would be stored in place of the secret."""
    if any(text == HIDDEN for text in _texts(value)):
        raise DurablyError(
            f"{what} has {HIDDEN} in it, which stands for a hidden value, so nothing was done. Write that value whole, or leave "
            "the event out to keep it as it is."
        )


def refuse_other_codec(execution: str, entries: Iterable[Entry]) -> None:
    """Raise DurablyError where the journal's results are no JSON: what is written into it here could not be read there."""
    for entry in entries:
        if entry.kind == "result":
            try:
                json.loads(entry.payload)
            except (ValueError, RecursionError):
                raise DurablyError(
                    f"execution {execution!r} is written by a codec= of its function's own (step {entry.step!r} is no JSON), "
                    "and a result that is given here would be JSON, which it can't read. Nothing was changed."
                ) from None


def _marks(value: Any) -> Iterator[str]:
    for data in _walk(value):
        if isinstance(data, dict):
            first = next(iter(data), "")
            if isinstance(first, str) and first[:1] == "$":
                yield first


def _texts(value: Any) -> Iterator[str]:
    return (data for data in _walk(value) if isinstance(data, str))


def _walk(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        data = waiting.pop()
        yield data
        if isinstance(data, dict):
            waiting.extend(data.values())
        elif isinstance(data, list):
            waiting.extend(data)
