"""PURE: what a store's or a step's `redact=` hides from everything that is shown. Whatever shows a stored text asks here.

It goes by the names of fields: in JSON objects, in the codec's marks, and in JSON that stands inside a string or bytes (an
SQS body). The text of an exception has no field names, so put no secret into it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

HIDDEN = "•••"


def redacted(text: str, patterns: Iterable[str]) -> str:
    """The stored text with the value of each field that matches a pattern (case ignored, `*` and `?`) hidden.

    A text that is no JSON (of a codec of the user's own) is hidden whole: what is in it can't be told.
    """
    wanted = tuple(pattern.lower() for pattern in patterns)
    if not wanted or not text:
        return text
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return json.dumps(HIDDEN, ensure_ascii=False)
    return json.dumps(hide(data, wanted), ensure_ascii=False, separators=(",", ":"))


def patterns_of(*bearers: object) -> tuple[str, ...]:
    """The `redact` patterns of a store, of an entry, of both."""
    found: dict[str, None] = {}
    for bearer in bearers:
        given = getattr(bearer, "redact", None) or ()
        found.update(dict.fromkeys((given,) if isinstance(given, str) else given))
    return tuple(found)


def hide(data: Any, patterns: tuple[str, ...]) -> Any:
    """A structure with matching fields hidden; the patterns are in lower case."""
    if isinstance(data, dict):
        if data.keys() == {"$bytes"}:
            return {"$bytes": _hidden_bytes(data["$bytes"], patterns)}
        return {
            name: HIDDEN if _matches(name.lower(), patterns) else hide(value, patterns) for name, value in data.items()
        }
    if isinstance(data, list):
        if len(data) == 2 and isinstance(data[0], str) and _matches(data[0].lower(), patterns):
            return [data[0], HIDDEN]  # a pair of the codec's mark for a dict whose keys JSON can't have
        return [hide(item, patterns) for item in data]
    return _hidden_text(data, patterns) if isinstance(data, str) else data


def _hidden_text(text: str, patterns: tuple[str, ...]) -> str:
    """JSON inside a string, as an SQS body is, also where it was put into a string twice."""
    if text.lstrip()[:1] not in ("{", "[", '"'):
        return text
    try:
        return json.dumps(hide(json.loads(text), patterns), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return text


def _hidden_bytes(encoded: Any, patterns: tuple[str, ...]) -> Any:
    import base64

    try:
        text = base64.b64decode(encoded).decode()
    except (ValueError, TypeError):
        return encoded
    return base64.b64encode(_hidden_text(text, patterns).encode()).decode()


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    from fnmatch import fnmatchcase  # only where something is hidden: every step's options import this module

    return any(fnmatchcase(name, pattern) for pattern in patterns)
