"""Payloads as Lambda takes them: JSON, 6 MB when the caller waits and 1 MB when not; and its errors for the others."""

from __future__ import annotations

import json
from typing import Any

from ..errors import DurablyError

SYNCHRONOUS_MAX = 6 * 1024 * 1024
ASYNCHRONOUS_MAX = 1024 * 1024
"""Lambda quotas, November 2026."""


class Refused(DurablyError):
    """Lambda's API would not take this: `status` and `kind` are those of its answer."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(status, kind, message)
        self.status, self.kind, self.message = status, kind, message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def payload_of(event: Any, *, waits: bool) -> bytes:
    """The event as bytes; bytes are taken as they are. Raises Refused for what is too large, or no JSON."""
    kind, most = ("RequestResponse", SYNCHRONOUS_MAX) if waits else ("Event", ASYNCHRONOUS_MAX)
    payload: bytes = event if isinstance(event, bytes) else json.dumps(event).encode()
    if len(payload) > most:
        said = f"{len(payload)} byte payload is too large for the {kind} invocation type (limit {most} bytes)"
        raise Refused(413, "RequestTooLargeException", said)
    try:
        json.loads(payload.decode() or "{}")  # as UTF-8: of bytes, json takes UTF-16 too, which no runtime reads
    except ValueError as error:
        raise Refused(
            400, "InvalidRequestContentException", f"Could not parse request body into json: {error}"
        ) from error
    return payload or b"{}"
