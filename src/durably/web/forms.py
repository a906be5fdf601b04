"""Forms as browsers send them by default; the library of multipart ones is not needed for that."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

FORM_BYTES_MAX = 8 * 1024 * 1024


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form. Raises 413 for too much."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES_MAX:
            raise HTTPException(413, f"A form may have {FORM_BYTES_MAX:,} bytes at most.")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
