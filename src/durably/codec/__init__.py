"""Value to text and back, the same value of the same type, exceptions too. JSON that a person can read."""

from .annotations import returns_of
from .exceptions import encode_exception
from .restoring import decode_exception
from .text import JSON, Codec, JSONCodec
from .unencodable import Unencodable

__all__ = [
    "JSON",
    "Codec",
    "JSONCodec",
    "Unencodable",
    "decode_exception",
    "encode_exception",
    "returns_of",
]
