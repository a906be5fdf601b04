"""HTTP/1.1 as the Runtime API needs it: requests out of a buffer, responses as one piece of bytes. No sockets here.

One piece, because header and body in two segments wait 40 ms for each other (Nagle's algorithm and delayed acknowledgement).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

HEADER_MAX = 2 * 1024 * 1024
"""awslambdaric sends the fault of an invocation in a header of up to 1 MB."""


class Request(NamedTuple):
    """One request, header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class BadRequest(ValueError):
    """What came is no HTTP request that this server takes."""


def take_request(buffer: bytearray) -> Request | None:
    """Take one whole request off the front of the buffer, None while it is incomplete. Raises BadRequest."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > HEADER_MAX:
            raise BadRequest("the header is too long")
        return None
    lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    try:
        method, path, _ = lines[0].split(" ")
        length = int(headers.get("content-length", "0"))
    except ValueError as error:
        raise BadRequest(f"no HTTP request: {lines[0][:80]!r}") from error
    if length < 0 or "transfer-encoding" in headers:
        raise BadRequest("a body needs its Content-Length")
    if len(buffer) < end + 4 + length:
        return None
    body = bytes(buffer[end + 4 : end + 4 + length])
    del buffer[: end + 4 + length]
    return Request(method, path, headers, body)


def response(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole response."""
    head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Content-Type: application/json"]
    head += [f"{name}: {value}" for name, value in (headers or {}).items()]
    head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def json_response(status: int, value: Any) -> bytes:
    """A whole response with a JSON body."""
    return response(status, json.dumps(value).encode())
