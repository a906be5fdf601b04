"""An execution's items read and written: strong reads, texts put together, parts written before what points at them."""

from __future__ import annotations

from typing import Any

from ...entries import Head
from ..protocol import SEGMENT_GRACE_S
from . import expressions, items
from .calls import Calls
from .texts import Item, binary, pack

INLINE_BYTES = 2048
"""An event or a result above this, compressed, is an item of its own."""

HEAD_TEXT_BYTES = 2300
"""Event and result together in the head, which stays under 4 KB."""


def update(calls: Calls, execution: str, expression: dict[str, Any], until: float) -> dict[str, Any]:
    """UpdateItem on the head. Raises Refused when its condition is not met."""
    return calls.call("UpdateItem", until=until, Key=items.key(execution), **expression)


def get(calls: Calls, execution: str, sk: str, until: float) -> Item | None:
    """One item as of now, or None."""
    return calls.call("GetItem", until=until, Key=items.key(execution, sk), ConsistentRead=True).get("Item")


def query(calls: Calls, execution: str, prefix: str, until: float, **more: str) -> list[Item]:
    """All items of an execution whose sort key begins so, as of now, page by page."""
    params = expressions.query(execution, prefix) | more
    found: list[Item] = []
    while True:
        answer = calls.call("Query", until=until, **params)
        found += answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return found
        params["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def whole(calls: Calls, head: Head, item: Item, until: float) -> Head:
    """The head with those of its texts that are kept in parts."""
    for name, owner in (("event", item.get("event_owner", {}).get("S", "")), ("result", head.owner)):
        if f"{name}_parts" in item:
            prefix = f"{name}#{head.generation}#{owner}"
            parts = {part["sk"]["S"]: binary(part["part"]) for part in query(calls, head.id, prefix, until)}
            text = items.from_parts(item, name, parts, prefix)
            head = head._replace(event=text) if name == "event" else head._replace(result=text)
    return head


def write_parts(calls: Calls, head: Head, name: str, text: str, owner: str, until: float) -> Item:
    """Write a text's parts. Returns the attributes that point at them."""
    packed = pack(text, beside=0)
    for part in items.part_items(head.id, f"{name}#{head.generation}#{owner}", packed, later(head.expires_at)):
        calls.call("PutItem", until=until, Item=part)
    return items.in_parts(name, packed)


def keep_text(calls: Calls, head: Head, name: str, text: str, other_bytes: int, until: float) -> Item:
    """A text as the head's attributes, beside that many bytes of the other one; a large one is written as parts first."""
    packed = pack(text, beside=other_bytes + 1024)
    if len(packed.raw) <= INLINE_BYTES and len(packed.raw) + other_bytes <= HEAD_TEXT_BYTES:
        return {name: packed.attribute()}
    return write_parts(calls, head, name, text, head.owner, until)


def later(expires_at: float | None) -> float | None:
    """When that which belongs to a head expires."""
    return None if expires_at is None else expires_at + SEGMENT_GRACE_S
