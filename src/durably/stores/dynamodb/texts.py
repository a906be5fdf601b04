"""Texts as DynamoDB attributes: readable while they are small, compressed when that saves write units, in parts when an
item can't hold them (an item is 400 KB at most and a write unit 1 KB: DynamoDB quotas and pricing)."""

from __future__ import annotations

import base64
import zlib
from typing import Any, NamedTuple

Item = dict[str, dict[str, Any]]

PART_BYTES = 390 * 1024
"""Of one item: 400 KB less room for keys, of which the longest take 2 KB."""

UNIT_BYTES = 1024


class Packed(NamedTuple):
    """A text as it is stored: as it is, or compressed."""

    raw: bytes
    is_compressed: bool

    def attribute(self) -> dict[str, Any]:
        """The attribute's value: S where people can read it, B where it is compressed."""
        return {"B": self.raw} if self.is_compressed else {"S": self.raw.decode()}

    def parts(self) -> list[bytes]:
        """The bytes, cut so that each is an item of its own."""
        return [self.raw[start : start + PART_BYTES] for start in range(0, len(self.raw), PART_BYTES)] or [b""]


def pack(text: str, beside: int) -> Packed:
    """Compress the text if the item, with `beside` bytes of other things in it, costs fewer write units so."""
    raw = text.encode()
    units = _units(len(raw) + beside)
    if units == 1:
        return Packed(raw, False)
    small = zlib.compress(raw, 6)
    if _units(len(small) + beside) < units:
        return Packed(small, True)
    return Packed(raw, False)


def unpack(attribute: dict[str, Any]) -> str:
    """Read what `attribute` gave."""
    if "S" in attribute:
        text: str = attribute["S"]
        return text
    return zlib.decompress(binary(attribute)).decode()


def binary(attribute: dict[str, Any]) -> bytes:
    """The bytes of a binary attribute: as a client decoded them, or still in the protocol's base64."""
    raw = attribute["B"]
    return base64.b64decode(raw) if isinstance(raw, str) else bytes(raw)


def join(parts: list[bytes], is_compressed: bool) -> str:
    """Read what `parts` gave."""
    raw = b"".join(parts)
    return (zlib.decompress(raw) if is_compressed else raw).decode()


def _units(size: int) -> int:
    return -(-size // UNIT_BYTES)
