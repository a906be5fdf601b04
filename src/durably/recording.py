"""A step's arguments as text for the journal (`record_args=True`): for people to read, never read back by a replay."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .codec import Codec, Unencodable, encoded

ARGUMENT_CHARS = 20_000


def arguments_text(codec: Codec, fn: Callable[..., Any], args: tuple[Any, ...], patterns: tuple[str, ...] = ()) -> str:
    """A JSON list of the arguments. One that has no stored form is told by its type; recording never fails a step.

    What matches the patterns, by a parameter's name or a field's inside it, is not stored: nothing ever reads it back.
    """
    texts = [_argument(codec, value) for value in args]
    if patterns:
        texts = [_redacted(name, text, patterns) for name, text in zip(_names(fn, len(args)), texts, strict=True)]
    return "[" + ",".join(texts) + "]"


def _redacted(name: str, text: str, patterns: tuple[str, ...]) -> str:
    from .redaction import HIDDEN, hide

    try:
        hidden = hide({name: json.loads(text)}, tuple(pattern.lower() for pattern in patterns))[name]
    except (ValueError, RecursionError):
        hidden = HIDDEN  # a text of a codec of the user's own, in which no field can be told
    return json.dumps(hidden, ensure_ascii=False, separators=(",", ":"))


def _names(fn: Callable[..., Any], count: int) -> list[str]:
    """The parameters' names, by position; an extra positional argument has that of `*args`."""
    import inspect

    try:
        named = list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        named = []
    return [named[min(index, len(named) - 1)] if named else "" for index in range(count)]


def _argument(codec: Codec, value: Any) -> str:
    try:
        text = encoded(codec, value)
    except Exception as why:
        # A codec of the user's own may raise anything.
        known = why.type_name if isinstance(why, Unencodable) else ""
        return json.dumps({"$not_stored": known or type(value).__name__})
    if len(text) > ARGUMENT_CHARS:
        return json.dumps({"$not_stored": f"{type(value).__name__} of {len(text):,} characters"})
    return text
