"""durably on the memory store: what a step, an invocation and a replayed step cost with no store behind them.

It is a script of its own because a replay there needs the first run's process. Spec: `{"rounds": n}`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from harness import Steps

from durably import MemoryStore, durable, step

STEPS = 1000
INVOCATIONS = 200


class Stop(Exception):
    """Ends an attempt with its steps remembered."""


def main() -> None:
    rounds = json.loads(sys.argv[1])["rounds"]
    print("\n" + json.dumps([one_round(number) for number in range(rounds)]))


def one_round(number: int) -> dict[str, float]:
    """Milliseconds a step, an invocation and a replayed step, wall clock and, named `cpu`, processor."""
    handler = handler_on(MemoryStore())
    handler({"id": f"warm-{number}", "steps": 10})
    empty = timed(lambda: [handler({"id": f"empty-{number}-{n}", "steps": 0}) for n in range(INVOCATIONS)])
    first = timed(lambda: attempt_that_fails(handler, {"id": f"a-{number}", "steps": STEPS, "fail": True}))
    again = timed(lambda: handler({"id": f"a-{number}", "steps": STEPS}))
    return {
        "invocation_ms": empty[0] / INVOCATIONS,
        "step_ms": first[0] / STEPS,
        "replayed_step_ms": again[0] / STEPS,
        "invocation_cpu_ms": empty[1] / INVOCATIONS,
        "step_cpu_ms": first[1] / STEPS,
        "replayed_step_cpu_ms": again[1] / STEPS,
    }


def handler_on(store: MemoryStore) -> Callable[[Any], Any]:
    trivial = Steps().trivial

    @durable(store=store, name="bench", id=lambda event, context: event["id"], keep_event=False)
    def handler(event: dict[str, Any], context: Any) -> int:
        for number in range(event["steps"]):
            step(f"step-{number}", trivial, number)
        if event.get("fail"):
            raise Stop
        return int(event["steps"])

    return lambda event: handler(event, None)


def attempt_that_fails(handler: Callable[[Any], Any], event: Any) -> None:
    try:
        handler(event)
    except Stop:
        return
    raise AssertionError("the attempt did not fail")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


if __name__ == "__main__":
    main()
