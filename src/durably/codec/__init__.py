"""Value to text and back, the same value of the same type, exceptions too. JSON that a person can read."""

from __future__ import annotations

from .annotations import returns_of
from .text import JSON, Codec, JSONCodec, encoded
from .unencodable import Unencodable

__all__ = [
    "JSON",
    "Codec",
    "JSONCodec",
    "Unencodable",
    "decode_exception",
    "encode_exception",
    "encoded",
    "returns_of",
]


def encode_exception(error: BaseException, codec: Codec = JSON) -> str:
    """The text of an exception: class, fields, causes, message and traceback. Never raises, and is bounded."""
    from .exceptions import encode_exception  # at the first failure: a cold start should not pay for it

    return encode_exception(error, codec)


def decode_exception(text: str, codec: Codec = JSON) -> BaseException:
    """The exception of a text, or the nearest loaded class along its MRO, saying which was meant. Never raises."""
    from .restoring import decode_exception

    return decode_exception(text, codec)
