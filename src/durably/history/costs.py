"""PURE: what an execution has cost so far on DynamoDB, from its journal's sizes, beside what its steps would cost elsewhere.

Nothing is measured in the cloud: requests follow from the journal, units from the items' sizes, dollars from list prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..entries import Head, Segment
from ..stores.dynamodb import items
from ..stores.dynamodb.texts import pack
from .attempts import attempts_of
from .model import AttemptView
from .steps import group_and_key

WRITE_UNITS_PER_MILLION = 0.625
READ_UNITS_PER_MILLION = 0.125
TRANSITIONS_PER_MILLION = 25.0
OPERATIONS_PER_MILLION = 8.0
"""Dollars: DynamoDB on demand, Step Functions standard, Lambda durable functions; us-east-1, November 2026."""

WRITE_UNIT = 1024
READ_UNIT = 4096
RENEWED_EVERY_S = 10.0
"""A third of the default lease."""
INLINE_BYTES = 2048

ASSUMED = (
    "On-demand list prices of us-east-1: $0.625 a million write units, $0.125 a million read units. Storage is left out.",
    "The lease is 30 s, so a handler still running is renewed every 10 s, at one write of the head each.",
    "Attempts that the head no longer keeps count as ended by an exception, and lasted from their first to their last entry.",
    "Step Functions (standard, $25 a million): one state transition a try of a step and one for each fan-out's Map; earlier "
    "steps are not run again by a redrive.",
    "Lambda durable functions ($8 a million operations): one for the execution, one a try of a step, one for each map. "
    "Its charges for data written and kept are left out.",
    "Lambda's own time costs the same in all three, and is left out.",
)


class CostLine(NamedTuple):
    """One kind of request: how many, and their units."""

    what: str
    requests: int
    write_units: int = 0
    read_units: int = 0

    @property
    def dollars(self) -> float:
        return (self.write_units * WRITE_UNITS_PER_MILLION + self.read_units * READ_UNITS_PER_MILLION) / 1e6


class Costs(NamedTuple):
    """What it has cost so far, and what it would elsewhere."""

    lines: tuple[CostLine, ...]
    transitions: int
    """Step Functions state transitions for the same steps."""
    operations: int
    """Lambda durable functions operations for the same steps."""
    assumed: tuple[str, ...] = ASSUMED

    @property
    def write_units(self) -> int:
        return sum(line.write_units for line in self.lines)

    @property
    def read_units(self) -> int:
        return sum(line.read_units for line in self.lines)

    @property
    def dollars(self) -> float:
        return sum(line.dollars for line in self.lines)

    @property
    def step_functions_dollars(self) -> float:
        return self.transitions * TRANSITIONS_PER_MILLION / 1e6

    @property
    def lambda_durable_dollars(self) -> float:
        return self.operations * OPERATIONS_PER_MILLION / 1e6


def costs(head: Head, segments: Sequence[Segment], now: float) -> Costs:
    """The costs of one execution's journal, wherever it is kept: on another store, what it would be on DynamoDB."""
    attempts = attempts_of(head, segments, now)
    claimed = head_bytes(head._replace(result=None))
    whole = head_bytes(head)
    ends = sum(not attempt.killed and not attempt.is_live for attempt in attempts)
    renewals = sum(int(max(0.0, attempt.seen - attempt.began) // RENEWED_EVERY_S) for attempt in attempts)
    # A claim and an end also change what the listing index has: one more unit there.
    found = [
        CostLine("claims", len(attempts), len(attempts) * (units(claimed, WRITE_UNIT) + 1)),
        CostLine("appends", *_appends(segments)),
        CostLine("lease renewals", renewals, renewals * units(claimed, WRITE_UNIT)),
        CostLine("endings", ends, ends * (units(whole, WRITE_UNIT) + 1)),
        CostLine("large event and result", *_large_texts(head)),
        CostLine("journal read by later attempts", *_loads(attempts, segments)),
    ]
    tries, fan_outs = _tries(segments), _fan_outs(segments)
    return Costs(tuple(line for line in found if line.requests), tries + fan_outs, 1 + tries + fan_outs)


def units(size: int, unit: int) -> int:
    """Bytes in units, at least one."""
    return max(1, -(-size // unit))


def item_bytes(item: dict[str, dict[str, Any]]) -> int:
    """An item's size by DynamoDB's rule: names and values in UTF-8; a number takes about half its digits and one more."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def head_bytes(head: Head) -> int:
    """The size of the head's item, with those texts that are kept in it."""
    size = item_bytes(items.head_item(head))
    for text in (head.event, head.result):
        packed = None if text is None else pack(text, beside=1024)
        size += len(packed.raw) + 8 if packed is not None and len(packed.raw) <= INLINE_BYTES else 0
    return size


def _value_bytes(value: dict[str, Any]) -> int:
    kind, held = next(iter(value.items()))
    if kind == "S":
        return len(held.encode("utf-8", "replace"))
    if kind == "B":
        return len(held)
    if kind == "N":
        return 1 + (len(held) + 1) // 2
    if kind == "L":
        return 3 + sum(1 + _value_bytes(one) for one in held)
    return 1


def _segment_sizes(segment: Segment) -> list[int]:
    parts, item = items.segment_items(segment)
    return [item_bytes(one) for one in (*parts, item)]


def _appends(segments: Sequence[Segment]) -> tuple[int, int]:
    sizes = [size for segment in segments for size in _segment_sizes(segment)]
    return len(sizes), sum(units(size, WRITE_UNIT) for size in sizes)


def _large_texts(head: Head) -> tuple[int, int]:
    requests = written = 0
    for text in (head.event, head.result):
        packed = None if text is None else pack(text, beside=1024)
        if packed is not None and len(packed.raw) > INLINE_BYTES:
            sizes = [len(part) + 128 for part in packed.parts()]
            requests += len(sizes)
            written += sum(units(size, WRITE_UNIT) for size in sizes)
    return requests, written


def _loads(attempts: Sequence[AttemptView], segments: Sequence[Segment]) -> tuple[int, int, int]:
    """Each attempt but the first reads what there is, strongly: one unit for 4 KB, one Query for 1 MB."""
    requests = read = 0
    by_attempt = [(segment.entries[0].attempt, sum(_segment_sizes(segment))) for segment in segments if segment.entries]
    for attempt in attempts[1:]:
        there = sum(size for number, size in by_attempt if number < attempt.number)
        requests += units(there, 1024 * 1024)
        read += units(there, READ_UNIT)
    return requests, 0, read


def _tries(segments: Sequence[Segment]) -> int:
    return sum(max(1, entry.tries) for one in segments for entry in one.entries if entry.kind in ("result", "error"))


def _fan_outs(segments: Sequence[Segment]) -> int:
    groups = {(entry.within, group_and_key(entry.step)[0]) for one in segments for entry in one.entries}
    return sum(bool(group) for _, group in groups)
