"""A step's arguments as text for the journal (`record_args=True`): for people to read, never read back by a replay."""

from __future__ import annotations

import json
from typing import Any

from .codec import Codec, Unencodable

ARGUMENT_CHARS = 20_000


def arguments_text(codec: Codec, args: tuple[Any, ...]) -> str:
    """A JSON list of the arguments. One that has no stored form is told by its type; recording never fails a step."""
    return "[" + ",".join(_argument(codec, value) for value in args) + "]"


def _argument(codec: Codec, value: Any) -> str:
    try:
        text: str = codec.encode(value)
    except Unencodable as why:
        return json.dumps({"$not_stored": why.type_name or type(value).__name__})
    if len(text) > ARGUMENT_CHARS:
        return json.dumps({"$not_stored": f"{type(value).__name__} of {len(text):,} characters"})
    return text
