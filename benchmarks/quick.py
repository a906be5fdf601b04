"""`make bench-quick`: requests and instructions against benchmarks/baseline.json; never times. Fails where there is more.

`python -m benchmarks.quick --write` makes this run the baseline: do so when a change was meant, and say why in the commit.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from durably import NOT_DONE, durable, fan_out, step
from tests.servers import Unavailable

from .instructions import count
from .watched_stores import OPEN, Killed, Watched

BASELINE = Path(__file__).parent / "baseline.json"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

MORE = 1.03
"""A ratio may grow by this much: the digits of a time or a random id make a path longer or shorter."""

FLAT = 1.05
"""The thousandth step may take this much more than the hundredth."""

FAN_OUT_AT_MOST = 14
"""Requests of a fan-out of 300 on DynamoDB, claim and finish included. How they gather is up to threads, so no exact number."""

Baseline = dict[str, Any]


class Stop(Exception):
    """Leaves the handler: the attempt fails, its steps are remembered."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick", description=__doc__)
    parser.add_argument("--write", action="store_true", help="make this run the baseline")
    asked = parser.parse_args(arguments)
    measured = measure(OPEN)
    stored: Baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    if asked.write:
        others = stored.get("instructions", {}) | measured["instructions"]
        BASELINE.write_text(json.dumps(measured | {"instructions": others}, indent=1, sort_keys=True) + "\n")
        print(f"quick: wrote {BASELINE}")
        return 0
    worse, notes = compare(stored, measured)
    for line in notes:
        print(f"quick: {line}")
    for line in worse:
        print(f"quick: WORSE: {line}", file=sys.stderr)
    print(f"quick: {len(worse)} worse than the baseline")
    return 1 if worse else 0


def measure(stores: dict[str, Any]) -> Baseline:
    """Requests by store and work, and instruction ratios by store; a store that can't be had is left out."""
    requests: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    unit = yardstick()
    for name, opened in stores.items():
        try:
            with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as store:
                requests[name] = {work: dict(sorted(did(store).items())) for work, did in WORKS.items()}
                if name == "dynamodb":
                    requests[name]["fan-out of 300"] = {"at most": _fan_out(store)}
                ratios[name] = {what: round(found / unit, 2) for what, found in instructions(store).items()}
        except Unavailable as why:
            print(f"quick: {name} left out: {why}", file=sys.stderr)
    return {"requests": requests, "instructions": {PYTHON: ratios}}


def compare(stored: Baseline, measured: Baseline) -> tuple[list[str], list[str]]:
    """What is worse than the baseline, and what else is to be said."""
    worse, notes = [], []
    for store, works in measured["requests"].items():
        for work, found in works.items():
            known = stored.get("requests", {}).get(store, {}).get(work)
            if "at most" in found:
                if found["at most"] > FAN_OUT_AT_MOST:
                    worse.append(f"{store}, {work}: {found['at most']} requests, {FAN_OUT_AT_MOST} at most")
            elif found != known:
                worse.append(f"{store}, {work}: took {found}, baseline {known}")
    known_ratios = stored.get("instructions", {}).get(PYTHON)
    if known_ratios is None:
        notes.append(f"no instruction ratios for Python {PYTHON} in the baseline: left out (`--write` adds them)")
    for store, ratios in measured["instructions"][PYTHON].items() if known_ratios else ():
        for what, found in ratios.items():
            limit = known_ratios.get(store, {}).get(what, 0.0)
            line = f"{store}, instructions of {what}: {found} of the yardstick, baseline {limit}"
            if what == LATE:
                if found > FLAT:
                    worse.append(f"{store}, {what}: {found}, {FLAT} at most")
            elif found > limit * MORE:
                worse.append(line)
            elif found * MORE < limit:
                notes.append(f"better: {line}")
    return worse, notes


# The works whose requests are counted.

_numbers = itertools.count()


def _run(store: Watched, body: Callable[[], object], event_id: str = "") -> None:
    id = event_id or f"evt-{next(_numbers):06}"

    @durable(store=store, name="quick", id=lambda event, context: id, keep_event=False)
    def handler(event: Any, context: Any) -> None:
        body()

    with contextlib.suppress(Stop, Killed):
        handler({}, None)


def steps(number: int, **options: Any) -> None:
    for one in range(number):
        step(f"step-{one:05}", small, one, **options)


def small(number: int) -> dict[str, Any]:
    return {"number": number, "title": "what a small step returns", "state": "done", "labels": ["one", "two"]}


def _first_run(number: int, **options: Any) -> Callable[[Watched], collections.Counter[str]]:
    return lambda store: _taken(store, lambda: steps(number, **options))


def _taken(store: Watched, body: Callable[[], object], event_id: str = "") -> collections.Counter[str]:
    store.restart()
    _run(store, body, event_id)
    return collections.Counter(store.seen)


def _again(before: Callable[[Watched], object]) -> Callable[[Watched], collections.Counter[str]]:
    """What the next attempt takes after one that ended with `before`."""

    def work(store: Watched) -> collections.Counter[str]:
        id = f"again-{before.__name__}"

        def ends() -> None:
            steps(100)
            before(store)

        _run(store, ends, id)
        if store.dead:
            store.come_back()
        return _taken(store, lambda: steps(100), id)

    return work


def fails(store: Watched) -> None:
    raise Stop


def dies(store: Watched) -> None:
    store.die()


def finishes(store: Watched) -> None:
    return


def _fan_out(store: Watched) -> int:
    return sum(_taken(store, lambda: fan_out("item", small, range(300), workers=16)).values())


WORKS: dict[str, Callable[[Watched], collections.Counter[str]]] = {
    "no step": _first_run(0),
    "1 step": _first_run(1),
    "10 steps": _first_run(10),
    "100 steps": _first_run(100),
    "10 repeatable steps": _first_run(10, repeatable=True),
    "10 steps with recover": _first_run(10, recover=lambda: NOT_DONE),
    "replay of 100 after a failure": _again(fails),
    "replay of 100 after a crash": _again(dies),
    "duplicate of a finished execution": _again(finishes),
}

# The instructions.

LATE = "a late step by an early one"


def yardstick() -> int:
    """The seed's ten lines on a dictionary: what ratios are to."""
    table: dict[str, str] = {}

    def once(id: str, fn: Callable[..., Any], *args: Any) -> Any:
        found = table.get(id)
        if found is not None:
            return json.loads(found)
        result = fn(*args)
        table[id] = json.dumps(result)
        return json.loads(table[id])

    def work() -> None:
        for number in range(100):
            once(f"step-{number}", small, number)

    return count(work) // 100


def instructions(store: Watched) -> dict[str, float]:
    """Of an invocation, of a step and of a replayed one; and how much more a late step takes than an early one."""
    inner: Any = store.inner

    def counted(number: int, id: str = "", *, failing: bool = False) -> int:
        def body() -> None:
            steps(number)
            if failing:
                raise Stop

        return count(lambda: _run(inner, body, id))

    counted(2)  # what is made at first use
    empty, ten, hundred = counted(0), counted(10), counted(110, "to-replay", failing=True)
    failed_ten = counted(10, "to-replay-10", failing=True)
    replayed = counted(110, "to-replay") - counted(10, "to-replay-10")
    found = {
        "an invocation": float(empty),
        "a step": (hundred - failed_ten) / 100,
        "a replayed step": replayed / 100,
    }
    if type(inner).__name__ == "MemoryStore":
        late = (counted(1000) - counted(900)) / ((counted(110) - ten) or 1)
        return found | {LATE: late * yardstick()}
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
