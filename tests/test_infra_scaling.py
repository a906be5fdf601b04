"""docs/scaling.md rests on these: what touches the listing index, how heavy an entry is, how even the shards are."""

from __future__ import annotations

import math
import uuid
from typing import Any

from durably.entries import AttemptRecord, Claim, Entry, Head, Segment
from durably.stores.dynamodb import expressions, items
from durably.stores.dynamodb.listing import PROJECTED
from durably.stores.dynamodb.table import table_definition

PARTITION_WRITES = 1000
"""Write units a second of one DynamoDB partition (AWS: partition limits)."""

INDEXED = {*PROJECTED, "pk", "sk", "shard", "began"}
NOW = 1_795_524_792.713


def head(id: str) -> Head:
    record = AttemptRecord(1, NOW, "a" * 16, str(uuid.uuid4()), NOW + 1, "completed")
    return Head(
        id, "deadbeef", "completed", 1, "a" * 16, 0.0, "orders", "app:handler", NOW, NOW, NOW + 3e6, attempts=(record,)
    )


def set_by(expression: dict[str, Any]) -> set[str]:
    names = expression["ExpressionAttributeNames"]
    sets = expression["UpdateExpression"].partition(" REMOVE ")[0].removeprefix("SET ")
    return {names[name] for name in names if f"{name} = " in sets or f"{name}[" in sets}


def test_renewing_a_lease_writes_nothing_that_the_index_has() -> None:
    assert set_by(expressions.renew("a", NOW)) == {"lease"}
    assert not INDEXED & {"lease"}


def test_an_end_changes_fields_of_the_index_and_none_of_its_keys() -> None:
    changed = set_by(expressions.end(head("f/e"), 0, {}, was_running=True)) & INDEXED
    assert changed == {"status", "updated", "expires_at"}


def test_a_claim_of_an_execution_that_is_there_moves_no_entry() -> None:
    claim = expressions.claim(Claim("f/e", "a", "g", 30.0, expires_s=10.0), NOW, None)
    kept = {"#shard = if_not_exists(#shard, :shard)", "#began = if_not_exists(#began, :began)"}
    assert all(one in claim["UpdateExpression"] for one in kept)


def test_segments_and_parts_are_not_in_the_index() -> None:
    segment = Segment("f/e", "g", 1, "a", (Entry("result", "s", '"' + "x" * 10 + '"'),), NOW)
    parts, item = items.segment_items(segment)
    assert parts == []
    assert "shard" not in item


def test_an_index_entry_is_one_write_unit_and_the_room_is_four_thousand_a_second() -> None:
    item = items.head_item(head(f"orders/{uuid.uuid4()}"))
    entry = {name: value for name, value in item.items() if name in INDEXED}
    size = sum(len(name) + len(next(iter(value.values()))) for name, value in entry.items()) + 100
    assert size < 300
    units_an_execution = 2  # its claim and its end
    assert items.SHARDS * PARTITION_WRITES / units_an_execution == 4000
    assert 1000 * units_an_execution / items.SHARDS == 250


def test_the_shards_are_even() -> None:
    counts = [0] * items.SHARDS
    for number in range(40_000):
        counts[int(items.shard_of(f"orders/evt-{number}").partition("#")[2])] += 1
    assert max(counts) < 40_000 / items.SHARDS * 1.05
    share, executions = 1 / items.SHARDS, 1000
    beyond = sum(
        math.comb(executions, n) * share**n * (1 - share) ** (executions - n) for n in range(161, executions + 1)
    )
    assert items.SHARDS * beyond < 0.005


def test_there_is_no_local_index() -> None:
    assert "LocalSecondaryIndexes" not in table_definition()
