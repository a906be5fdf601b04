"""Executions by time, from the sharded index: one Query a shard, all at once, merged newest first."""

from __future__ import annotations

import heapq
from itertools import islice
from typing import Any

from ...entries import Head
from . import items
from .calls import Calls

INDEX = "executions"
PROJECTED = ("status", "function", "attempt", "updated", "generation", "expires_at")
"""The head fields the index has. Renewing a lease touches none of them, so it costs the index nothing."""


def newest_heads(calls: Calls, limit: int, before: tuple[float, str] | None, now: float, until: float) -> list[Head]:
    """The newest heads below `before`, as (began, id), that have not expired by `now`."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(items.SHARDS) as pool:
        shards = list(pool.map(lambda shard: _of_shard(calls, shard, limit, before, now, until), range(items.SHARDS)))
    merged = heapq.merge(*shards, key=lambda head: (head.began, head.id), reverse=True)
    return list(islice(merged, limit))


def _of_shard(
    calls: Calls, shard: int, limit: int, before: tuple[float, str] | None, now: float, until: float
) -> list[Head]:
    params: dict[str, Any] = {
        "IndexName": INDEX,
        "KeyConditionExpression": "#shard = :shard" + (" AND #began <= :before" if before else ""),
        "ExpressionAttributeNames": {"#shard": "shard"} | ({"#began": "began"} if before else {}),
        "ExpressionAttributeValues": {":shard": {"S": f"executions#{shard}"}},
        "ScanIndexForward": False,
        # One more shows whether the last is cut off in a tie, and `before` itself is found again.
        "Limit": limit + (2 if before else 1),
    }
    if before:
        params["ExpressionAttributeValues"][":before"] = items.number(before[0])
    heads: list[Head] = []
    while True:
        answer = calls.call("Query", until=until, **params)
        found = [items.head_from(item) for item in answer["Items"]]
        below = [head for head in found if before is None or (head.began, head.id) < before]
        heads += [head for head in below if head.expires_at is None or head.expires_at > now]
        # Equal times stand in no order of ids in the index: read on until the whole tie is here.
        is_cut_in_a_tie = len(heads) >= limit and heads[-1].began == heads[limit - 1].began
        if (len(heads) >= limit and not is_cut_in_a_tie) or "LastEvaluatedKey" not in answer:
            return sorted(heads, key=lambda head: (head.began, head.id), reverse=True)
        params["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
