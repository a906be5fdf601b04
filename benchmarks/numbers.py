"""Medians, ratios of interleaved rounds, and fits; prices are at the end of it, figures in words at its beginning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

Rows = list[dict[str, Any]]

DOLLARS_A_MILLION_WRITE_UNITS = 0.625
DOLLARS_A_MILLION_READ_UNITS = 0.125
DOLLARS_A_MILLION_OPERATIONS = 8.0
"""DynamoDB on demand and AWS's durable operations in us-east-1, from secondary sources of 2026: look them up."""


def middle(rows: Rows, key: str) -> float | None:
    """The median of one figure over the rounds, or None where there is none."""
    found = [float(row[key]) for row in rows if row.get(key) is not None]
    return median(found) if found else None


def ratio(ours: Rows, theirs: Rows, key: str) -> float | None:
    """The median over the rounds of ours by theirs: both of one round stood beside each other."""
    pairs = [(float(a[key]), float(b[key])) for a, b in zip(ours, theirs, strict=False) if b.get(key)]
    return median([a / b for a, b in pairs]) if pairs else None


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """The least-squares k of `cost = c * size^k`, and by how many percent a tenfold size changes the cost: 0 is flat."""
    xs, ys = [math.log10(size) for size in sizes], [math.log10(cost) for cost in costs]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    k = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum((x - mean_x) ** 2 for x in xs)
    return k, (10**k - 1) * 100


def dollars(counted: dict[str, Any]) -> float:
    """Dollars for a million executions of what was counted of one: requests to DynamoDB alone, no storage."""
    written = counted["write_units"] * DOLLARS_A_MILLION_WRITE_UNITS
    return float(written + counted["read_units"] * DOLLARS_A_MILLION_READ_UNITS)


def figure(value: float | None, unit: str = "") -> str:
    """Three digits, or a dash for what was not measured."""
    if value is None:
        return "–"
    if value == int(value):
        return f"{int(value):,}{unit}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 5)}f}{unit}"
