"""results.json as Markdown: every table of RESULTS.md, and the goals with what was measured against each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import goals, peers
from .tables import PARTS, cost, table

SECTIONS = (
    "first_run",
    "replay",
    "fan_out",
    "fan_out_slow",
    "counted",
    "cold",
    "size",
    "engine",
    "sqlite_floor",
    "growth",
)


def write(results: dict[str, Any], path: Path) -> None:
    """Write the report; a section that was not measured yet is left out, and its goals say so."""
    sections = results["sections"]
    parts = [_head(results)]
    parts += [PARTS[name](sections[name]) for name in SECTIONS if name in sections and name in PARTS]
    if "counted" in sections:
        parts.append(cost(sections["counted"]))
    parts.append(_goals(sections))
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n")


def _head(results: dict[str, Any]) -> str:
    machine = results["machine"]
    commits: dict[str, list[str]] = {}
    for name, section in results["sections"].items():
        commits.setdefault(section["commit"], []).append(name.replace("_", " "))
    measured = "; ".join(f"{', '.join(names)} at {commit}" for commit, names in commits.items())
    left_out = (
        "".join(f"- left out: {name}: {why}\n" for name, why in results["left_out"].items()) or "- nothing left out\n"
    )
    main_packages = {
        "seed": ("boto3",),
        "powertools": ("aws-lambda-powertools", "aws_lambda_powertools"),
        "aws": ("aws-durable-execution-sdk-python", "aws-durable-execution-sdk-python-testing"),
        "dbos": ("dbos",),
        "restate": ("restate-sdk",),
    }
    named = [
        f"{package} {versions[package]} (Python {versions['python']})"
        for peer, versions in results["versions"].items()
        for package in main_packages.get(peer, ())
        if package in versions
    ]
    return f"""# Benchmarks: results

Written by `make bench` on {machine["date"]}; the raw figures are in [results.json](results.json), the scripts beside it.

- {machine["processor"]}, {machine["cores"]} cores, {machine["memory_gb"]} GB, {machine["system"]}; others were at work on it
- durably: {measured}
- {"; ".join(named)}; {peers.RESTATE_SERVER}; DynamoDB Local over HTTP on this machine
{left_out}
Each figure is the median of rounds in which the contenders take turns, each in a process of its own that was warmed up with
one small execution; a ratio is the median of the rounds' ratios. Milliseconds unless another unit stands there. CPU is the
contender's process alone: DynamoDB Local, Postgres and Restate's server work in theirs. A step returns 100 bytes of JSON. Every
process counts the steps that it really ran, and a run with another number than it should have is no result. Requests are counted
in runs of their own. Look at the ratios: the machine is small and shared, and nothing here was run on AWS."""


def _goals(sections: dict[str, Any]) -> str:
    rows = [[goal.text, goal.measured, goal.verdict] for goal in goals.all_goals(sections)]
    told = f"""Goals in milliseconds were set on a machine that imports boto3 in {goals.GOALS_BOTO3_MS:.0f} ms. What that import
took in this run stands under "Cold start", and beside such a goal what was measured in proportion to it; met or not is by
the clock."""
    return f"## Goals\n\n{told}\n\n{table(['goal', 'measured', 'met?'], rows)}"
