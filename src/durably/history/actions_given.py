"""PURE: what an operator types in place of a result or an event, as the journal's text; refused where it would do harm."""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..codec import JSON, Unencodable
from ..codec.marks import Reader
from ..codec.plain import MAX_DEPTH, dumps, is_plain, is_utf8
from ..codec.walk import DECODERS
from ..entries import Entry
from ..errors import DurablyError
from ..redaction import HIDDEN

_OF_CLASSES = frozenset(("$dataclass", "$namedtuple", "$model", "$enum"))
"""Marks whose classes are in the user's code and not here."""


def json_of(text: str, what: str) -> Any:
    """The data in a JSON text. Raises DurablyError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DurablyError(f"{what} is no JSON ({error}). A text stands in quotes: '\"like this\"'.") from None
    _refuse_deep(data, what)
    return data


def given_event(text: str, what: str) -> Any:
    """The event in a JSON text. Raises DurablyError, also for null: to a fork that says that the original's is kept."""
    event = json_of(text, what)
    if event is None:
        raise DurablyError(
            f"{what} is null, and no event is. Leave it out to keep the original's. Nothing was changed."
        )
    return event


def payload_of(value: Any, what: str = "the event") -> str:
    """The journal's text of plain data, as durably's own codec writes it. Raises DurablyError for what is none."""
    try:
        text: str = JSON.encode(value)
    except Unencodable as error:
        raise DurablyError(f"{what} can't be stored: {error}. Nothing was changed.") from None
    return text


def outcome_payload(value: Any, what: str) -> str:
    """The journal's text of a result that was given as data: plain, or as `durably show` prints it, with the codec's marks.

    So a dataclass or a Decimal can be given: `{"$decimal": "9.99"}`. Raises DurablyError for a hidden value, for a mark that
    the codec does not know beside one that it does, and for a mark that no attempt could read.
    """
    refuse_hidden(value, what)
    marks = set(_marks(value))
    if not marks & DECODERS.keys():
        return payload_of(value, what)
    if marks - DECODERS.keys():
        unknown = ", ".join(sorted(marks - DECODERS.keys()))
        raise DurablyError(f"{what} has marks of durably's codec, and {unknown}, which is none. {_ESCAPED}")
    _refuse_deep(value, what)
    try:
        Reader().read(_without_classes(value))
    except Unencodable as error:
        raise DurablyError(f"{what} can't be read back: {error.why}. {_ESCAPED}") from None
    text = str(dumps(value)) if is_plain(value, 1) else ""
    if not text or not is_utf8(text):
        raise DurablyError(f"{what} has a number or a text that JSON can't hold. Write it as `durably show` does.")
    return text


_ESCAPED = (
    'Nothing was changed. A dict of your own whose key begins with $ is written as pairs: {"$dict": [["$key", 1]]}.'
)


def raw_payload(text: str, what: str) -> str:
    """The text as it is, of whatever codec. Raises DurablyError for what no journal holds, and for a hidden value."""
    if text == HIDDEN or any(given == HIDDEN for given in _texts(text)):
        raise DurablyError(_hidden(what))
    if not text or any(letter in text for letter in "\t\n\r") or not is_utf8(text):
        raise DurablyError(
            f"{what} is empty, or has a tab, a line's end or half a character in it, and no codec's text has."
        )
    return text


def refuse_hidden(value: Any, what: str) -> None:
    """Raise DurablyError where the sign of a hidden value stands: sent back, it would be stored in place of the secret.

    Also in JSON inside a string or bytes, where redaction hides too.
    """
    if any(text == HIDDEN for text in _texts(value)):
        raise DurablyError(_hidden(what))


def refuse_other_codec(execution: str, entries: Iterable[Entry]) -> None:
    """Raise DurablyError where the journal's results are no JSON: what is written into it here could not be read there."""
    for entry in entries:
        if entry.kind == "result":
            try:
                json.loads(entry.payload)
            except (ValueError, RecursionError):
                raise DurablyError(
                    f"execution {execution!r} is written by a codec= of its function's own (step {entry.step!r} is no JSON), "
                    "and a result that is given here would be JSON, which it can't read. Nothing was changed. With --raw "
                    "(raw=True) give the text that this codec writes; it is stored as it is."
                ) from None


def has_become_plain(earlier: Iterable[Entry], step: str, payload: str) -> bool:
    """Whether the step's earlier results were more than plain data, and this one is plain: its code may not expect that."""
    had = any(entry.kind == "result" and entry.step == step and _is_marked(entry.payload) for entry in earlier)
    return had and not _is_marked(payload)


def _is_marked(payload: str) -> bool:
    try:
        return '"$' in payload and any(mark in DECODERS for mark in _marks(json.loads(payload)))
    except (ValueError, RecursionError):
        return False


def _hidden(what: str) -> str:
    return (
        f"{what} has {HIDDEN} in it, which stands for a hidden value, so nothing was done. Write that value whole, or leave "
        "the event out to keep it as it is."
    )


def _without_classes(data: Any) -> Any:
    """The data with None for what only the user's classes can read; its form and its fields are looked at. Raises Unencodable."""
    if isinstance(data, list):
        return [_without_classes(item) for item in data]
    if not isinstance(data, dict):
        return data
    mark = next(iter(data), "")
    if mark not in _OF_CLASSES:
        return {name: _without_classes(item) for name, item in data.items()}
    fields = data.get("fields", {})
    is_enum = mark == "$enum" and ("name" in data or "value" in data)
    if not isinstance(data[mark], str) or not isinstance(fields, dict) or not (is_enum or "fields" in data):
        raise Unencodable(f'a {mark} is written {{"{mark}": "module:Class", …}} as `durably show` prints it')
    for item in (*fields.values(), *(item for name, item in data.items() if name not in (mark, "fields"))):
        Reader().read(_without_classes(item))
    return None


def _refuse_deep(value: Any, what: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for data in level for item in _inside(data)]
        if not level:
            return
    raise DurablyError(f"{what} is nested more than {MAX_DEPTH} levels deep, and can't be stored. Nothing was changed.")


def _marks(value: Any) -> Iterator[str]:
    for data in _walk(value):
        if isinstance(data, dict):
            first = next(iter(data), "")
            if isinstance(first, str) and first[:1] == "$":
                yield first


def _texts(value: Any) -> Iterator[str]:
    """Every string, also those of JSON inside a string or inside bytes."""
    waiting = [value]
    while waiting:
        for data in _walk(waiting.pop()):
            if isinstance(data, dict) and data.keys() == {"$bytes"}:
                waiting.append(_text_of(data["$bytes"]))
            if not isinstance(data, str):
                continue
            yield data
            if data.lstrip()[:1] in ("{", "[", '"'):
                try:
                    waiting.append(json.loads(data))
                except (ValueError, RecursionError):
                    continue


def _text_of(encoded: Any) -> str:
    try:
        return binascii.a2b_base64(encoded).decode()
    except (ValueError, TypeError):
        return ""


def _walk(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        data = waiting.pop()
        yield data
        waiting.extend(_inside(data))


def _inside(data: Any) -> list[Any]:
    if isinstance(data, dict):
        return list(data.values())
    return data if isinstance(data, list) else []
