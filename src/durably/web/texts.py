"""PURE: stored texts as a page shows them. Nothing a user stored may turn the line around, hide, or break the answer.

Markup is no matter of this module: templates escape every value. This is about characters that act by themselves.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from ..history.as_json import stored

PREVIEW_CHARS = 1_500
PREVIEW_LINES = 30

_ACTING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Cut(NamedTuple):
    """The beginning of a text, and how much there is of it."""

    text: str
    chars: int
    is_whole: bool


def tame(text: str) -> str:
    """The text with its acting characters (controls, direction overrides, lone surrogates) written as `\\u202e`."""
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def pretty(text: str | None) -> str:
    """A stored JSON text, indented and tame; another text as it is."""
    if not text:
        return ""
    value = stored(text)
    if isinstance(value, str) and value == text:
        return tame(text)
    try:
        return tame(json.dumps(value, indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        return tame(text)


def cut(text: str, chars: int = PREVIEW_CHARS, lines: int = PREVIEW_LINES) -> Cut:
    """As much of the text as a reader takes in at once."""
    end = min(chars, len(text))
    place = -1
    for _ in range(lines):
        place = text.find("\n", place + 1, end)
        if place < 0:
            break
    else:
        end = place
    return Cut(text[:end], len(text), end == len(text))


def last_frame(traceback: str) -> str:
    """The innermost `File "…", line n, in f` of a traceback with its source line; empty where there is none."""
    lines = traceback.splitlines()
    for place in range(len(lines) - 1, -1, -1):
        if lines[place].lstrip().startswith('File "'):
            source = lines[place + 1].strip() if place + 1 < len(lines) and lines[place + 1].startswith("    ") else ""
            return lines[place].strip() + (f"\n    {source}" if source else "")
    return ""
