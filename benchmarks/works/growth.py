"""How a step's cost grows with the steps before it and with the bytes in the journal. Spec: `{"store", "id", "what", "sizes"}`."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import sys
import time
from typing import Any

from harness import Steps, peak_rss_mb

from durably import durable, step
from durably.stores.url import open_store

SMALL = 100
"""Steps timed on top of a journal."""

LARGEST_RESULT = 250_000
"""A journal's bytes come in results of at most this much; a thousandth of the journal at least."""


class Stop(Exception):
    """Ends an attempt with its steps remembered."""


def main() -> None:
    spec = json.loads(sys.argv[1])
    store = open_store(spec["store"])
    many_steps(store, f"{spec['id']}-warm", 10)
    grow = many_steps if spec["what"] == "steps" else large_journal
    print("\n" + json.dumps([grow(store, f"{spec['id']}-{size}", size) for size in spec["sizes"]]))


def many_steps(store: Any, id: str, count: int) -> dict[str, float]:
    """One execution of so many steps: its first run and its replay, and its last tenth apart."""
    trivial, marks = Steps().trivial, [0.0] * 3

    def body(failing: bool) -> None:
        marks[0] = time.perf_counter()
        for number in range(count):
            if number == count - count // 10:
                marks[1] = time.perf_counter()
            step(f"step-{number}", trivial, number)
        marks[2] = time.perf_counter()
        if failing:
            raise Stop

    attempt(store, id, lambda: body(True))
    first, tenth = marks[2] - marks[0], (marks[2] - marks[1]) / (count // 10)
    replayed = attempt(store, id, lambda: body(False))
    return {
        "size": count,
        "step_ms": first * 1000 / count,
        "last_tenth_ms": tenth * 1000,
        "replayed_step_ms": replayed * 1000 / count,
        "rss_mb": peak_rss_mb(),
    }


def large_journal(store: Any, id: str, size: int) -> dict[str, float]:
    """A journal of so many bytes, then small steps on top of it, in the same attempt and in the next."""
    length = min(LARGEST_RESULT, max(1000, size // 1000))
    # Random, or compression would make less of it than is said.
    piece = base64.b64encode(random.Random(7).randbytes(length * 3 // 4)).decode()
    trivial, marks = Steps().trivial, [0.0] * 4

    def body(failing: bool) -> None:
        marks[0] = time.perf_counter()
        for number in range(max(1, size // len(piece))):
            step(f"large-{number}", lambda: piece)
        marks[1] = time.perf_counter()
        for number in range(SMALL):
            step(f"small-{failing}-{number}", trivial, number)
        marks[2] = time.perf_counter()
        if failing:
            raise Stop

    attempt(store, id, lambda: body(True))
    filled, same = marks[1] - marks[0], marks[2] - marks[1]
    took = attempt(store, id, lambda: body(False))
    after = marks[2] - marks[1]
    return {
        "size": size,
        "fill_s": filled,
        "step_ms": same * 1000 / SMALL,
        "step_after_replay_ms": after * 1000 / SMALL,
        "replay_s": took - after,
        "rss_mb": peak_rss_mb(),
    }


def attempt(store: Any, id: str, body: Any) -> float:
    """One attempt, which may end in Stop; how long it took."""

    @durable(store=store, name="growth", id=lambda event, context: id, keep_event=False)
    def handler(event: Any, context: Any) -> None:
        body()

    began = time.perf_counter()
    with contextlib.suppress(Stop):
        handler({}, None)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
