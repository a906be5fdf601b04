"""results.json as pictures: one SVG a question, drawn from the medians."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from . import svg
from .numbers import dollars, figure, middle

NAMES_AT, BARS_AT, BARS_END, ROW = 20, 205, 660, 24

ON_DYNAMODB = ("durably on DynamoDB", "the seed's ten lines", "Powertools Idempotency")
ON_THEIR_OWN = (
    "durably on SQLite",
    "DBOS on SQLite",
    "DBOS on Postgres",
    "Restate",
    "AWS SDK, stub over HTTP",
    "AWS SDK, stub in process",
)


class Bars(NamedTuple):
    """A group of bars on one scale, under a heading."""

    heading: str
    values: list[tuple[str, float]]


def write(results: dict[str, Any], folder: Path) -> None:
    """Draw every picture for which there are results."""
    folder.mkdir(exist_ok=True)
    sections = results["sections"]
    if "first_run" in sections:
        _save(folder, "steps", _steps(sections["first_run"]["samples"]))
    if "replay" in sections:
        _save(folder, "replay", _replay(sections["replay"]["samples"]))
    if "fan_out_slow" in sections:
        _save(folder, "fan-out", _fan_out(sections))
    if "counted" in sections:
        _save(folder, "cost", _cost(sections["counted"]["counts"]))
    if "growth" in sections:
        _save(folder, "growth", _growth(sections["growth"]))


def _save(folder: Path, name: str, picture: str) -> None:
    (folder / f"{name}.svg").write_text(picture)


def _steps(samples: dict[str, Any]) -> str:
    groups = [
        Bars("on the same DynamoDB Local", _values(samples, ON_DYNAMODB, "100", 10)),
        Bars("on a store of their own on this machine", _values(samples, ON_THEIR_OWN, "100", 10)),
    ]
    note = "ms of wall clock a step, 100 sequential trivial steps, claim and finish included; shorter is better"
    return _bars("What a durable step costs", note, groups, " ms")


def _replay(samples: dict[str, Any]) -> str:
    groups = [
        Bars("on the same DynamoDB Local", _values(samples, ON_DYNAMODB, "100", 1000)),
        Bars("on a store of their own on this machine", _values(samples, ON_THEIR_OWN, "100", 1000)),
    ]
    return _bars(
        "Going on after a crash", "ms until 100 finished steps are answered again; shorter is better", groups, " ms"
    )


def _fan_out(sections: dict[str, Any]) -> str:
    names = (*ON_DYNAMODB, "AWS SDK, stub over HTTP")
    groups = [Bars("ms of wall clock", _values(sections["fan_out_slow"]["samples"], names, "300", 1000))]
    if "counted" in sections:
        counted = [
            (name, float(works["fan-out of 20 ms"]["300"]["requests"]))
            for name, works in sections["counted"]["counts"].items()
        ]
        aws = sections["counted"]["aws"].get("fan-out of 20 ms", {}).get("300")
        if aws:
            counted.append(("AWS SDK, stub over HTTP", float(aws["requests"])))
        groups.append(Bars("requests to the store", counted))
    note = "300 items of 20 ms, 16 at a time, the store 10 ms away; the items alone take 380 ms"
    return _bars("Fanning out", note, groups, "")


def _cost(counts: dict[str, Any]) -> str:
    groups = [
        Bars(f"{count} steps", [(name, dollars(works["first run"][count])) for name, works in counts.items()])
        for count in ("20", "300")
    ]
    return _bars(
        "Dollars for a million executions", "DynamoDB's on-demand requests, first run; shorter is better", groups, " $"
    )


def _values(samples: dict[str, Any], names: tuple[str, ...], count: str, factor: float) -> list[tuple[str, float]]:
    found = [(name, middle(samples.get(name, {}).get(count, []), "wall_s")) for name in names]
    return [(name, value * factor) for name, value in found if value is not None]


def _bars(title: str, note: str, groups: list[Bars], unit: str) -> str:
    y, parts = 66.0, []
    for group in groups:
        y += 18
        parts.append(svg.text(NAMES_AT, y, group.heading, "group"))
        y += 8
        longest = max((value for _, value in group.values), default=1.0)
        for name, value in group.values:
            length = (BARS_END - BARS_AT) * value / longest
            parts.append(svg.text(NAMES_AT, y + 15, name))
            parts.append(svg.bar(BARS_AT, y + 4, length, 14, "ours" if name.startswith("durably") else "theirs"))
            parts.append(svg.text(BARS_AT + max(1.5, length) + 8, y + 15, figure(value, unit), "number"))
            y += ROW
    return svg.card(title, note, y + 14, parts)


def _growth(section: dict[str, Any]) -> str:
    parts = [
        *_lines(section["steps"], 60, "last_tenth_ms", "steps in the execution before it"),
        *_lines(section["bytes"], 420, "step_ms", "bytes in the journal before it"),
    ]
    note = "ms of wall clock for one more small step; flat is good. Both axes are logarithmic"
    return svg.card("A step costs the same late in a long execution", note, 360, parts)


def _lines(stores: dict[str, Any], left: float, key: str, axis: str) -> list[str]:
    width, top, bottom = 230.0, 80.0, 300.0
    sizes = [one["size"] for found in stores.values() for one in found]
    costs = [one[key] for found in stores.values() for one in found]
    low_x, high_x = math.log10(min(sizes)), math.log10(max(sizes))
    low_y, high_y = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))

    def at(size: float, cost: float) -> tuple[float, float]:
        x = left + width * (math.log10(size) - low_x) / (high_x - low_x)
        return x, bottom - (bottom - top) * (math.log10(cost) - low_y) / (high_y - low_y)

    parts = []
    for power in range(low_y, high_y + 1):
        _, y = at(min(sizes), 10.0**power)
        parts += [svg.rule(left, y, left + width, y), svg.text(left - 6, y + 4, f"{10.0**power:g}", "axis", "end")]
    for power in range(math.ceil(low_x), math.floor(high_x) + 1):
        x, _ = at(10.0**power, 10.0**low_y)
        parts.append(svg.text(x, bottom + 18, _short(10**power), "axis", "middle"))
    parts.append(svg.text(left + width / 2, bottom + 40, axis, "axis", "middle"))
    for (name, found), style in zip(stores.items(), ("line-3", "line-2", "ours-line"), strict=False):
        points = [at(one["size"], one[key]) for one in found]
        dots = {"line-3": "dot-3", "line-2": "dot-2", "ours-line": "ours-dot"}[style]
        parts += [svg.line(points, style), *(svg.dot(x, y, dots) for x, y in points)]
        parts.append(svg.text(left + width + 8, points[-1][1] + 4, name, "axis"))
    return parts


def _short(size: int) -> str:
    for letter, factor in (("M", 1_000_000), ("k", 1000)):
        if size >= factor:
            return f"{size // factor}{letter}"
    return str(size)
