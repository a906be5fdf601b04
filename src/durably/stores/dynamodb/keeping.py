"""Whole executions put into the table and taken out of it: so that a crash in the middle leaves nothing half there to be met."""

from __future__ import annotations

from contextlib import suppress

from ... import claims
from ...clock import Clock
from ...entries import Head
from . import expressions, items
from .access import INLINE_BYTES, get, keep_text, query, update
from .calls import Calls, Refused
from .texts import Item


def restore(calls: Calls, head: Head, clock: Clock, until: float) -> bool:
    """See Store.restore."""
    item = _item_of(calls, head, until)
    there = get(calls, head.id, "head", until)
    while there is None or claims.is_expired(items.head_from(there), clock.now()):
        old = None if there is None else items.head_from(there)
        try:
            calls.call("PutItem", until=until, Item=item, **expressions.if_unchanged(old))
        except Refused as refused:
            there = refused.item or get(calls, head.id, "head", until)
            if there is not None and (there["owner"], there["generation"]) == (item["owner"], item["generation"]):
                return True  # our own, whose answer was lost
        else:
            return True
    return False


def _item_of(calls: Calls, head: Head, until: float) -> Item:
    item = items.head_item(head)
    if head.unsettled:
        item["unsettled"] = {"BOOL": True}
    if head.event is not None:
        item |= keep_text(calls, head, "event", head.event, 0, until) | {"event_owner": {"S": head.owner}}
    if head.result is not None:
        item |= keep_text(calls, head, "result", head.result, INLINE_BYTES if head.event else 0, until)
    return item


def delete(calls: Calls, execution: str, generation: str, updated: float | None, clock: Clock, until: float) -> bool:
    """See Store.delete. The head becomes a gravestone first, so that no claim meets half a journal, and goes last."""
    try:
        update(calls, execution, expressions.bury(generation, updated, clock.now()), until)
    except Refused as refused:
        there = refused.item or get(calls, execution, "head", until)
        if there is None or there["owner"]["S"] != expressions.grave_of(generation):
            return False
    for prefix in (items.journal_prefix(generation), f"event#{generation}#", f"result#{generation}#"):
        for item in query(calls, execution, prefix, until, ProjectionExpression="sk"):
            calls.call("DeleteItem", until=until, Key=items.key(execution, item["sk"]["S"]))
    with suppress(Refused):  # refused: a new execution stands there by now
        calls.call("DeleteItem", until=until, Key=items.key(execution), **expressions.if_buried(generation))
    return True
