"""`race_everywhere`: two attempts of one event, interleaved at every write to the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from .context import TIMEOUT
from .crash import PATIENCE, points_of, told_in_threads
from .effects import Effect
from .points import Point
from .report import Report
from .runs import Run
from .stories import LAMBDA_WAITS_S, Story, Teller

Rival = Literal["duplicate", "zombie"]


def race_everywhere(
    handler: Callable[..., Any],
    event: object,
    *,
    effects: Mapping[str, Effect] | None = None,
    world: Callable[[], Any] | None = None,
    tap: Sequence[str] = (),
    rivals: Sequence[Rival] = ("duplicate", "zombie"),
    at: Literal["writes", "calls", "everything"] = "writes",
    may_repeat: Sequence[str] = (),
    result: Callable[[Any], Any] = lambda value: value,
    store: Callable[[Any], Any] | None = None,
    timeout: timedelta = TIMEOUT,
    patience: timedelta = PATIENCE,
) -> Report:
    """Hold an attempt at every write while another runs, then let it go; hold the other in turn. As `crash_everywhere`.

    A `duplicate` comes while the first attempt's lease runs; a `zombie` is a first attempt whose lease has run out, so that
    the second is Lambda's retry. `at`: writes to the store; calls (and counted functions), the only points that a handler
    without durably has; or both. A zombie held in a call lives on inside an effect, which no journal can undo.
    """
    began = time.monotonic()
    with told_in_threads(handler, event, effects or {}, world, tap, store, timeout, patience) as teller:
        clean, seen = teller.undisturbed()
        first = _held(points_of(clean), clean, at)
        stories = []
        for rival in rivals:
            for point in first:
                told = _race(teller, rival, point, None)
                stories.append(told)
                stories += [_race(teller, rival, point, second) for second in _held(_points_of_run(told), told, at)]
    return Report.of("race", handler, clean, stories, seen, may_repeat, result, time.monotonic() - began)


def _held(points: list[Point], story: Story, at: str) -> list[Point]:
    kinds = {
        point: "writes" if moment.kind == "write" else "calls"
        for run in story.runs
        for moment in run.moments
        for point in moment.points
    }
    return [point for point in points if at in ("everything", kinds[point])]


def _points_of_run(story: Story) -> list[Point]:
    """What the second attempt came by: what it can be held at while the first goes on."""
    return [moment.points[0] for moment in story.runs[1].moments]


def _race(teller: Teller, rival: Rival, point: Point, second: Point | None) -> Story:
    with teller.story():
        one, other = Run(1, holds_at=point), Run(2, holds_at=second)
        stage = teller.stage
        stage.begin(one, teller.event)
        stage.wait(one)
        if rival == "zombie":
            stage.pass_time(LAMBDA_WAITS_S[0])
        stage.begin(other, teller.event)
        stage.wait(other)
        for run in (one, other):
            if run.ended is None:
                stage.resume(run)
                stage.wait(run)
        runs = [one, other]
        stage.pass_time(sum(LAMBDA_WAITS_S))
        if all(run.ended is None or run.ended.how != "returned" for run in runs):
            # Both were turned away, or lost their lease: Lambda delivers again.
            runs.append(Run(3))
            teller.deliver(runs[-1])
        return teller.end(point, runs, rival=rival, second=second)
