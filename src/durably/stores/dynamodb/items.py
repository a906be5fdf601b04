"""Heads and segments as DynamoDB items, and back. No call is made here.

pk = execution id
sk = head | journal#<generation>#<number>[#<owner>#<part>] | event#… | result#<generation>#<owner>#<part>
"""

from __future__ import annotations

import json
from typing import Any

from ...entries import FORMAT, AttemptRecord, Head, Segment, entries_to_text, segment_from_text
from ...errors import StoreError
from ..heads import damaged_head, record_from_list, record_to_list
from .texts import PART_BYTES, Item, Packed, binary, join, pack, unpack

SHARDS = 8
"""Of the listing index, so that it never limits how fast executions are written."""

_TEXTS = ("status", "owner", "generation", "function", "qualname", "source", "fingerprint")


def key(execution: str, sk: str = "head") -> Item:
    """The primary key of an item."""
    return {"pk": {"S": execution}, "sk": {"S": sk}}


def number(value: float) -> dict[str, str]:
    """A time in seconds to the millisecond."""
    return {"N": f"{value:.3f}"}


def shard_of(execution: str) -> str:
    """Which shard of the listing index the execution is in."""
    import hashlib

    return f"executions#{hashlib.sha256(execution.encode()).digest()[0] % SHARDS}"


def ttl(expires_at: float | None) -> Item:
    """The attribute that DynamoDB's TTL reads: whole epoch seconds."""
    return {} if expires_at is None else {"expires_at": {"N": str(int(expires_at))}}


def record_attribute(record: AttemptRecord) -> dict[str, str]:
    """One attempt. Its number is told by its place in the list: the claim that adds it does not know it yet."""
    return {"S": json.dumps(record_to_list(record)[1:], separators=(",", ":"), ensure_ascii=False)}


def head_item(head: Head) -> Item:
    """A whole head, without its event and result."""
    item = key(head.id) | ttl(head.expires_at)
    item |= {name: {"S": getattr(head, name)} for name in _TEXTS}
    item |= {"began": number(head.began), "updated": number(head.updated), "lease": number(head.lease_until)}
    item |= {"attempt": {"N": str(head.attempt)}, "v": {"N": str(head.format)}, "shard": {"S": shard_of(head.id)}}
    item["attempts"] = {"L": [record_attribute(record) for record in head.attempts]}
    return item


def head_from(item: Item) -> Head:
    """The head in an item, as far as the item has it: the listing index has less. Texts in parts are not in it.

    Raises StoreError where it can't be read.
    """
    try:
        return _head_from(item)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_head(item["pk"]["S"], error) from error


def _head_from(item: Item) -> Head:
    texts: dict[str, Any] = {name: item[name]["S"] for name in _TEXTS if name in item}
    attempt = int(item["attempt"]["N"])
    rows = [json.loads(one["S"]) for one in item.get("attempts", {"L": []})["L"]]
    first = attempt - len(rows) + 1
    for name in ("owner", "generation", "function", "qualname"):
        texts.setdefault(name, "")
    return Head(
        id=item["pk"]["S"],
        attempt=attempt,
        lease_until=_float(item, "lease", 0.0),
        began=_float(item, "began", 0.0),
        updated=_float(item, "updated", 0.0),
        expires_at=_float(item, "expires_at", None),
        attempts=tuple(record_from_list([first + index, *row]) for index, row in enumerate(rows)),
        unsettled="unsettled" in item,
        event=unpack(item["event"]) if "event" in item else None,
        result=unpack(item["result"]) if "result" in item else None,
        format=int(item["v"]["N"]) if "v" in item else FORMAT,
        **texts,
    )


def _float(item: Item, name: str, default: Any) -> Any:
    return float(item[name]["N"]) if name in item else default


def journal_prefix(generation: str) -> str:
    """What the sort keys of a generation's segments and their parts begin with."""
    return f"journal#{generation}#"


def segment_items(segment: Segment) -> tuple[list[Item], Item]:
    """The parts to write first, if there are any, and the item that makes the segment stand."""
    sk = f"{journal_prefix(segment.generation)}{segment.number:08d}"
    item = key(segment.execution, sk) | ttl(segment.expires_at) | {"owner": {"S": segment.owner}}
    beside = len(segment.execution) + len(sk) + len(segment.owner) + 48
    packed = pack(entries_to_text(segment.entries), beside)
    if len(packed.raw) <= PART_BYTES:
        return [], item | {"entries": packed.attribute()}
    return part_items(segment.execution, f"{sk}#{segment.owner}", packed, segment.expires_at), item | in_parts(
        "entries", packed
    )


def part_items(execution: str, prefix: str, packed: Packed, expires_at: float | None) -> list[Item]:
    """The items that hold a text too large for one. The owner is in their key: a zombie overwrites nothing."""
    return [
        key(execution, f"{prefix}#{index:04d}") | ttl(expires_at) | {"part": {"B": raw}}
        for index, raw in enumerate(packed.parts())
    ]


def in_parts(name: str, packed: Packed) -> Item:
    """The attribute that points at a text's parts."""
    return {f"{name}_parts": {"N": str(len(packed.parts()))}, f"{name}_packed": {"BOOL": packed.is_compressed}}


def from_parts(item: Item, name: str, parts: dict[str, bytes], prefix: str) -> str:
    """A text put together from its parts. Raises StoreError when one is missing."""
    found = [parts.get(f"{prefix}#{index:04d}") for index in range(int(item[f"{name}_parts"]["N"]))]
    if any(part is None for part in found):
        raise StoreError(
            f"execution {item['pk']['S']!r} is damaged: a part of {item['sk']['S']!r} is missing from the table. Nothing was "
            "run. Restore the table's items (point-in-time recovery)."
        )
    return join([part for part in found if part is not None], item[f"{name}_packed"]["BOOL"])


def segments_from(items: list[Item]) -> list[Segment]:
    """The segments among the items of a generation, in order; parts that no segment points at are a zombie's."""
    parts = {item["sk"]["S"]: binary(item["part"]) for item in items if "part" in item}
    return [_segment_from(item, parts) for item in items if "part" not in item]


def _segment_from(item: Item, parts: dict[str, bytes]) -> Segment:
    sk, owner = item["sk"]["S"], item["owner"]["S"]
    _, generation, digits = sk.split("#")
    text = unpack(item["entries"]) if "entries" in item else from_parts(item, "entries", parts, f"{sk}#{owner}")
    return segment_from_text(item["pk"]["S"], generation, int(digits), owner, text, _float(item, "expires_at", None))
