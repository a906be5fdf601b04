"""The tables of RESULTS.md, one function a section of results.json."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .numbers import DOLLARS_A_MILLION_OPERATIONS, dollars, exponent, figure, middle, ratio

DURABLY, SEED, POWERTOOLS = "durably on DynamoDB", "the seed's ten lines", "Powertools Idempotency"
COST_AT = ("5", "20", "100", "300", "1000")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _first_run(section: dict[str, Any]) -> str:
    samples = section["samples"]
    rows = []
    for name, by_count in samples.items():
        cells = [figure(_ms(by_count, "0", "wall_s"))]
        for count in ("1", "10", "100", "1000"):
            wall, cpu = (_ms(by_count, count, key, int(count)) for key in ("wall_s", "cpu_s"))
            cells.append(f"{figure(wall)} / {figure(cpu)}")
        rows.append([name, *cells, figure(middle(by_count.get("1000", []), "rss_mb"))])
    ratios = []
    for other in (SEED, POWERTOOLS):
        for count in ("10", "100", "1000"):
            wall, cpu = (_ratio(samples, other, count, key) for key in ("wall_s", "cpu_s"))
            ratios.append([f"by {other}, {count} steps", figure(wall), figure(cpu)])
    return f"""## Sequential steps, first run

Wall / CPU a step, with claim and finish in it; with 0 steps, the invocation. Peak MB: of the process that ran the 1000, without
what a server of its own takes.

{table(["", "0 steps", "1", "10", "100", "1000", "peak MB"], rows)}

{table([f"{DURABLY} …", "wall", "CPU"], ratios)}"""


def _replay(section: dict[str, Any]) -> str:
    samples = section["samples"]
    rows = []
    for name, by_count in samples.items():
        cells = [figure(_ms(by_count, count, "wall_s")) for count in ("1", "10", "100", "1000")]
        rows.append([name, *cells, figure(_ms(by_count, "1000", "wall_s", 1000))])
    ratios = [
        [f"by {other}, {count} steps", figure(_ratio(samples, other, count, "wall_s"))]
        for other in (SEED, POWERTOOLS)
        for count in ("100", "1000")
    ]
    return f"""## The same, replayed after a crash

The process dies behind its last step, and a new one runs the execution to its end. Wall for the whole replay, and a step of 1000.
DBOS recovers by itself at start and Restate when its back-off is over: theirs is from the first to the last line of the
workflow (Restate's from the arrival of its request), without finding it and without its end, so it flatters them.

{table(["", "1", "10", "100", "1000", "a step of 1000"], rows)}

{table([f"{DURABLY} …", "wall"], ratios)}"""


def _fan_out(section: dict[str, Any]) -> str:
    rows = []
    for name, by_count in section["samples"].items():
        cells = []
        for count in ("300", "3000"):
            found = by_count.get(count, [])
            cells += [figure(_ms(by_count, count, "wall_s")), figure(_ms(by_count, count, "cpu_s"))]
            cells += [figure(middle(found, "threads")), figure(middle(found, "rss_mb"))]
        rows.append([name, *cells])
    heads = ["", "300: wall", "CPU", "threads", "MB", "3000: wall", "CPU", "threads", "MB"]
    queue = middle(section.get("dbos_queue", []), "wall_s")
    return f"""## Fan-out of quick items

16 at a time. DBOS runs them as steps in threads, the fastest way that was found: its queue with 16 at a time, as its README has
it, took {figure(queue)} s for 300. Powertools has a persistence layer a thread: shared by threads it mixes its rows up. Restate
starts all items at once. MB is the process's peak.

{table(heads, rows)}"""


def _fan_out_slow(section: dict[str, Any]) -> str:
    rows = [
        [
            name,
            figure(_ms(by_count, "300", "wall_s")),
            figure(_ms(by_count, "300", "cpu_s")),
            figure(middle(by_count["300"], "threads")),
        ]
        for name, by_count in section["samples"].items()
    ]
    return f"""## Fan-out of 300 items of 20 ms, the store 10 ms away

16 at a time: the items alone take 380 ms. A relay outside the contenders gives every answer 10 ms late, for all alike; the stub in
the process sleeps instead. DBOS and Restate are not in it: their stores are not reached that way.

{table(["", "wall", "CPU", "threads"], rows)}"""


def _counted(section: dict[str, Any]) -> str:
    rows = []
    for name, works in section["counts"].items():
        for work, by_count in works.items():
            for count in (count for count in ("0", "1", "10", "100", "1000", "300", "3000") if count in by_count):
                if work == "first run" and count in ("300", "3000"):
                    continue
                one = by_count[count]
                cells = (
                    one["requests"],
                    one["write_units"],
                    one["read_units"],
                    one["bytes_sent"],
                    one["bytes_received"],
                )
                rows.append(
                    [f"{name}: {work}, {count}", *(f"{cell:,g}" if cell < 1e6 else f"{cell:,}" for cell in cells)]
                )
    aws = [
        [f"{work}, {count}", f"{one['requests']:,}", f"{one['updates']:,}", f"{one['bytes']:,}"]
        for work, by_count in section["aws"].items()
        for count, one in by_count.items()
    ]
    return f"""## Requests, units and bytes

Counted between contender and DynamoDB Local, which tells the units, an index's included: durably's claim and finish also write
its listing index, a unit each. Bytes are of bodies, without HTTP's headers.

{table(["", "requests", "write units", "read units", "bytes sent", "received"], rows)}

AWS's SDK, checkpoints at the stub of its service:

{table(["", "requests", "updates", "bytes sent"], aws)}"""


def cost(section: dict[str, Any]) -> str:
    rows = []
    for name, works in section["counts"].items():
        first = works["first run"]
        rows.append([name, *(_money(dollars(first[count])) for count in COST_AT)])
    for name, works in section["counts"].items():
        first = works["first run"]
        units = [f"{first[count]['write_units']:g} + {first[count]['read_units']:g}" for count in COST_AT]
        rows.append([f"{name}: units", *units])
    operations = [_money(int(count) * DOLLARS_A_MILLION_OPERATIONS) for count in COST_AT]
    rows.append(["AWS durable functions, $8 a million operations", *operations])
    return f"""## Dollars for a million executions

First run of N steps, from the units above: $0.625 a million write units, $0.125 a million read units (on demand; a secondary
source: look them up for your region). Storage, the Lambda itself and AWS's charge for data are not in it; a step is taken as one
of AWS's operations. Units: write + read.

{table(["", *(f"N = {count}" for count in COST_AT)], rows)}"""


def _cold(section: dict[str, Any]) -> str:
    rows = [
        [name, *(figure(_s_as_ms(found[""], key)) for key in ("made_s", "ready_s", "first_step_s"))]
        for name, found in section["samples"].items()
    ]
    imports = [
        [name, figure(middle([{"ms": one} for one in times], "ms"))] for name, times in section["imports_ms"].items()
    ]
    return f"""## Cold start

A fresh Python process with its bytecode in place; from the first line of the script, so Python's own start is not in it. Made:
imported and constructed. Ready: client made and the store asked once. First step: an execution of one step done.

{table(["", "made", "ready", "first step done"], rows)}

{table(["import", "ms"], imports)}"""


def _size(section: dict[str, Any]) -> str:
    rows = [
        [name, figure(one["mb"]), figure(one.get("without_boto3_mb"))] for name, one in section["megabytes"].items()
    ]
    return f"""## Installed size

Megabytes of everything that is installed with it, bytecode apart; and without boto3 and what it needs, which Lambda has.

{table(["", "MB", "without boto3"], rows)}"""


def _engine(section: dict[str, Any]) -> str:
    keys = ("step_ms", "invocation_ms", "replayed_step_ms")
    rows = [[key.removesuffix("_ms").replace("_", " "), figure(middle(section["rounds"], key))] for key in keys]
    return f"""## The engine alone

durably on the memory store: milliseconds of wall clock.

{table(["", "ms"], rows)}"""


def _sqlite_floor(section: dict[str, Any]) -> str:
    rounds = section["rounds"]
    rows = [
        ["bare INSERT and commit", figure(middle(rounds, "bare_ms"))],
        ["a durably step", figure(middle(rounds, "durably_ms"))],
        ["ratio", figure(ratio_of(rounds))],
    ]
    return f"""## SQLite's floor

A step beside a bare `INSERT` and commit of as many bytes, in turns on one disk; both WAL with synchronous=FULL.

{table(["", "ms"], rows)}"""


def ratio_of(rounds: list[dict[str, float]]) -> float | None:
    """A durably step by the bare insert of its round."""
    return ratio([{"ms": one["durably_ms"]} for one in rounds], [{"ms": one["bare_ms"]} for one in rounds], "ms")


def _growth(section: dict[str, Any]) -> str:
    parts = []
    for name, found in section["steps"].items():
        k, percent = exponent([one["size"] for one in found[1:]], [one["last_tenth_ms"] for one in found[1:]])
        heads = [f"{name}: steps", *(f"{one['size']:,}" for one in found)]
        rows = [
            ["a step", *(figure(one["step_ms"]) for one in found)],
            ["a step of the last tenth", *(figure(one["last_tenth_ms"]) for one in found)],
            ["a replayed step", *(figure(one["replayed_step_ms"]) for one in found)],
            ["peak MB", *(figure(one["rss_mb"]) for one in found)],
        ]
        parts.append(
            table(heads, rows)
            + f"\n\nFit from 100 on: a step costs N^{k:.3f}, {percent:+.1f} % for ten times the steps."
        )
    for name, found in section["bytes"].items():
        k, percent = exponent([one["size"] for one in found], [one["step_ms"] for one in found])
        heads = [f"{name}: journal", *(_bytes(one["size"]) for one in found)]
        rows = [
            ["a small step on top", *(figure(one["step_ms"]) for one in found)],
            ["… in the next attempt", *(figure(one["step_after_replay_ms"]) for one in found)],
            ["the replay, s", *(figure(one["replay_s"]) for one in found)],
            ["peak MB", *(figure(one["rss_mb"]) for one in found)],
        ]
        parts.append(
            table(heads, rows) + f"\n\nFit: a step costs size^{k:.3f}, {percent:+.1f} % for ten times the bytes."
        )
    return "## Growth\n\n" + "\n\n".join(parts)


def _ms(by_count: dict[str, Any], count: str, key: str, divisor: float = 1) -> float | None:
    value = middle(by_count.get(count, []), key)
    return None if value is None else value * 1000 / divisor


def _s_as_ms(rows: list[dict[str, Any]], key: str) -> float | None:
    value = middle(rows, key)
    return None if value is None else value * 1000


def _ratio(samples: dict[str, Any], other: str, count: str, key: str) -> float | None:
    return ratio(samples.get(DURABLY, {}).get(count, []), samples.get(other, {}).get(count, []), key)


def _money(value: float) -> str:
    return f"${value:,.2f}"


def _bytes(size: int) -> str:
    for unit, factor in (("MB", 1_000_000), ("KB", 1000)):
        if size >= factor:
            return f"{size // factor} {unit}"
    return f"{size} B"


PARTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "first_run": _first_run,
    "replay": _replay,
    "fan_out": _fan_out,
    "fan_out_slow": _fan_out_slow,
    "counted": _counted,
    "cold": _cold,
    "size": _size,
    "engine": _engine,
    "sqlite_floor": _sqlite_floor,
    "growth": _growth,
}
"""By section."""
