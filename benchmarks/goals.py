"""What durably set out to reach, each beside what was measured, missed or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .numbers import figure, middle, ratio

OURS, SEED, POWERTOOLS = "durably on DynamoDB", "the seed's ten lines", "Powertools Idempotency"
AWS_HTTP = "AWS SDK, stub over HTTP"

GOALS_BOTO3_MS = 151.0
"""What `import boto3` took on the machine by which the goals in milliseconds were set."""


class Goal(NamedTuple):
    """One line of the table; `verdict` is yes, no, or not measured."""

    text: str
    measured: str
    verdict: str


def all_goals(sections: dict[str, Any]) -> list[Goal]:
    """Every goal there is, in order."""
    return [
        *_against_the_seed(sections),
        *_engine(sections),
        *_fan_out(sections),
        *_sqlite(sections),
        *_imports(sections),
    ]


def at_most(text: str, limit: float, value: float | None, told: str = "") -> Goal:
    """A goal that a value at or below the limit meets."""
    if value is None:
        return Goal(text, "–", "not measured")
    return Goal(text, told or figure(value), "yes" if value <= limit else "**no**")


def _against_the_seed(sections: dict[str, Any]) -> Iterator[Goal]:
    for other in (SEED, POWERTOOLS):
        for what, key, limit in (("wall", "wall_s", 0.3), ("CPU", "cpu_s", 0.2)):
            found = _beside(sections, "first_run", other, "100", key)
            yield at_most(f"100 steps: at most {limit} of the {what} of {other}", limit, found)
    for other in (SEED, POWERTOOLS):
        found = _beside(sections, "replay", other, "100", "wall_s")
        yield at_most(f"replay of 100: at most 0.03 of {other}", 0.03, found)


def _engine(sections: dict[str, Any]) -> Iterator[Goal]:
    rounds = sections.get("engine", {}).get("rounds", [])
    for text, key, limit in (
        ("a step", "step_ms", 0.03),
        ("an invocation", "invocation_ms", 0.3),
        ("a replayed step", "replayed_step_ms", 0.005),
    ):
        found = middle(rounds, key)
        yield at_most(f"engine alone, {text}: at most {limit} ms", limit, found, _in_ms(sections, found))


def _fan_out(sections: dict[str, Any]) -> Iterator[Goal]:
    counts = sections.get("counted", {}).get("counts", {}).get(OURS, {})
    for work, told in (("fan-out", "quick items"), ("fan-out of 20 ms", "items of 20 ms")):
        operations = counts.get(work, {}).get("300", {}).get("operations")
        appends = None if operations is None else float(operations.get("PutItem", 0))
        yield at_most(f"fan-out of 300 {told}: at most 12 requests, claim and finish apart", 12, appends)
    text = "fan-out of 300 items of 20 ms at 10 ms: less wall than AWS's SDK over HTTP"
    yield at_most(text, 0.999, _beside(sections, "fan_out_slow", AWS_HTTP, "300", "wall_s"))
    samples = sections.get("fan_out", {}).get("samples", {}).get(OURS, {})
    small, large = (middle(samples.get(count, []), "rss_mb") for count in ("300", "3000"))
    told = "" if small is None or large is None else f"{figure(small)} → {figure(large)} MB"
    grown = None if small is None or large is None else large / small
    yield at_most("fan-out of 3000 in flat memory (at most 1.2 of 300's peak)", 1.2, grown, told)


def _sqlite(sections: dict[str, Any]) -> Iterator[Goal]:
    rounds = sections.get("sqlite_floor", {}).get("rounds", [])
    ours, bare = [{"ms": one["durably_ms"]} for one in rounds], [{"ms": one["bare_ms"]} for one in rounds]
    yield at_most("SQLite: a step within 1.3 of a bare INSERT and commit", 1.3, ratio(ours, bare, "ms"))
    samples = sections.get("first_run", {}).get("samples", {})
    for count in ("100", "1000"):
        ours, theirs = (samples.get(name, {}).get(count, []) for name in ("durably on SQLite", "DBOS on SQLite"))
        found = ratio(ours, theirs, "wall_s")
        told = "" if found is None else f"{1 / found:.1f} times"
        yield at_most(f"SQLite: ahead of DBOS by 5, {count} steps", 0.2, found, told)


def _imports(sections: dict[str, Any]) -> Iterator[Goal]:
    section = sections.get("cold", {})
    times = section.get("imports_ms", {})
    for text, name, limit in (
        ("over a process that has boto3", "durably after boto3", 5.0),
        ("over bare Python", "durably", 30.0),
    ):
        found = middle([{"ms": one} for one in times.get(name, [])], "ms")
        yield at_most(f"`import durably` {text}: at most {limit:.0f} ms", limit, found, _in_ms(sections, found))
    samples = section.get("samples", {})
    ours, theirs = (samples.get(name, {}).get("", []) for name in (OURS, "boto3's client alone"))
    found = ratio(ours, theirs, "ready_s")
    told = _told(ours, theirs, "ready_s")
    yield at_most("DynamoDB store ready in at most boto3's own time", 1.0, found, told)


def _in_ms(sections: dict[str, Any], found: float | None) -> str:
    """Milliseconds as measured, and what they would be where boto3 is imported as fast as when the goal was set."""
    boto3 = middle([{"ms": one} for one in sections.get("cold", {}).get("imports_ms", {}).get("boto3", [])], "ms")
    if found is None or boto3 is None:
        return ""
    return f"{figure(found)}; at the goals' speed {figure(found * GOALS_BOTO3_MS / boto3)}"


def _told(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], key: str) -> str:
    a, b = middle(ours, key), middle(theirs, key)
    return "" if a is None or b is None else f"{a * 1000:.0f} ms, boto3 {b * 1000:.0f} ms"


def _beside(sections: dict[str, Any], section: str, other: str, count: str, key: str) -> float | None:
    samples = sections.get(section, {}).get("samples", {})
    return ratio(samples.get(OURS, {}).get(count, []), samples.get(other, {}).get(count, []), key)
