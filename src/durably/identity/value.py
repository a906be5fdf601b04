"""What every rule works with: the Identity it finds, how an event id is spelled, how an event is looked into."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

# A DynamoDB partition key is 2,048 bytes at most (DynamoDB quotas); half of it is left to namespace and function name.
LONGEST_ID = 1024

# What is not printable ASCII, and the three characters that mean something in a spelled id.
_ESCAPED = re.compile(r"[^!-~]|[%,~]")


@dataclass(frozen=True, slots=True)
class Identity:
    """The id one event has on every delivery, and where it was found."""

    event_id: str
    source: str
    http: bool = False
    fingerprint: str = ""


def spell(*components: str) -> str:
    """Join an id's components with commas: unambiguous, printable ASCII, at most `LONGEST_ID` characters.

    Commas inside a component are escaped, so two different lists of components never spell the same id. An overlong
    id keeps its beginning, for the reader, and ends in `~` and a hash of the whole.
    """
    spelled = ",".join(_ESCAPED.sub(_percent, component) for component in components)
    if len(spelled) <= LONGEST_ID:
        return spelled
    tail = "~" + hashlib.sha256(spelled.encode()).hexdigest()
    return spelled[: LONGEST_ID - len(tail)] + tail


def _percent(match: re.Match[str]) -> str:
    # surrogatepass: JSON can carry a lone surrogate, and an odd id must not crash the handler.
    return "".join(f"%{byte:02X}" for byte in match.group().encode("utf-8", "surrogatepass"))


def look(event: object, *path: str) -> object:
    """What stands at `path` inside nested mappings, else None."""
    for key in path:
        if not isinstance(event, Mapping):
            return None
        event = event.get(key)
    return event


def text(event: object, *path: str) -> str:
    """The string at `path`; "" when it is missing, blank or no string: such a value is nobody's id."""
    found = look(event, *path)
    return found if isinstance(found, str) and found.strip() else ""


def short_hash(data: bytes) -> str:
    """64 bits of SHA-256: enough to tell one sender's two bodies apart."""
    return hashlib.sha256(data).hexdigest()[:16]
