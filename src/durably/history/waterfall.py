"""PURE: attempts and steps as bars. Each attempt starts at the left edge, or the waits between retries would flatten all.

Within an attempt a gap in which no step ran is folded when it is long. A step answered from the journal is a hollow bar.
All attempts share one scale, so that lengths can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from .model import AttemptView, ErrorView, ExecutionView, StepView

BarState = Literal["done", "caught", "failed", "interrupted", "running", "replayed"]

FOLD_FROM_S = 1.0
"""No gap shorter than this is folded."""
FOLD_SHARE = 0.25
"""Nor one that is less than this share of what its attempt's steps took together."""
FOLDED_SHARE = 0.03
"""Of the attempt's own length, what a folded gap is drawn as."""


class Bar(NamedTuple):
    """One step in one attempt. `at` and `width` are shares of the whole scale, from 0 to 1."""

    step: str
    depth: int
    state: BarState
    at: float
    width: float
    began: float
    took_s: float
    tries: int
    size: int
    error: ErrorView | None = None

    @property
    def is_hollow(self) -> bool:
        """Answered from the journal, if the code came that far."""
        return self.state == "replayed"


class Fold(NamedTuple):
    """An idle gap, drawn narrow."""

    at: float
    width: float
    took_s: float


class Track(NamedTuple):
    """One attempt: its bars in the order of the steps, and where gaps are folded."""

    attempt: AttemptView
    bars: tuple[Bar, ...]
    folds: tuple[Fold, ...]
    width: float
    """Of the whole scale."""
    took_s: float


class _Run(NamedTuple):
    step: StepView
    state: BarState
    began: float
    ended: float
    tries: int
    error: ErrorView | None


def waterfall(view: ExecutionView) -> tuple[Track, ...]:
    """The tracks of all attempts, on one scale."""
    runs = {attempt.number: _runs_in(attempt, view.steps) for attempt in view.attempts}
    axes = {attempt.number: _Axis(attempt, runs[attempt.number]) for attempt in view.attempts}
    scale = max((axis.length for axis in axes.values()), default=0.0) or 1.0
    return tuple(
        _track(attempt, runs[attempt.number], axes[attempt.number], scale, _replayed(attempt, view.steps))
        for attempt in view.attempts
    )


def _runs_in(attempt: AttemptView, steps: Sequence[StepView]) -> list[_Run]:
    return [run for step in steps for run in _runs_of(step, attempt)]


def _runs_of(step: StepView, attempt: AttemptView) -> Iterable[_Run]:
    number = attempt.number
    failed = [failure for failure in step.history if failure.attempt == number]
    for failure in failed:
        yield _Run(step, "failed", failure.began, failure.ended, failure.tries, failure.error)
    is_of_this = step.attempt == number and not (step.state == "failed" and failed)
    if is_of_this and step.ended is not None and step.state in ("done", "caught", "failed"):
        yield _Run(step, step.state, step.began, step.ended, step.tries, step.error)
    elif is_of_this and step.state in ("running", "interrupted"):
        yield _Run(step, step.state, step.began, max(attempt.seen, step.began), step.tries, None)
    elif not failed and step.announced is not None and step.announced[0] == number:
        # Announced here, and its outcome is a later attempt's: this attempt died, or was stopped, within it.
        yield _Run(step, "interrupted", step.announced[1], max(attempt.seen, step.announced[1]), 1, None)


def _replayed(attempt: AttemptView, steps: Sequence[StepView]) -> list[StepView]:
    """What stood when the attempt began; not what is inside a step that stood, for its function is not called."""
    standing: set[str] = set()
    found = []
    for step in steps:
        stood = step.has_outcome and 0 < step.attempt < attempt.number
        if step.within in standing:
            standing.add(step.name)
        elif stood:
            standing.add(step.name)
            found.append(step)
    return found


def _track(attempt: AttemptView, runs: list[_Run], axis: _Axis, scale: float, replayed: list[StepView]) -> Track:
    bars = [Bar(step.name, step.depth, "replayed", 0.0, 0.0, 0.0, 0.0, step.tries, step.size) for step in replayed]
    for run in runs:
        at, end = axis.place(run.began) / scale, axis.place(run.ended) / scale
        size = run.step.size if run.state in ("done", "caught", "failed") else 0
        took = max(0.0, run.ended - run.began)
        step = run.step
        bars.append(Bar(step.name, step.depth, run.state, at, end - at, run.began, took, run.tries, size, run.error))
    folds = tuple(Fold(axis.place(a) / scale, axis.folded / scale, b - a) for a, b in axis.gaps)
    return Track(attempt, tuple(bars), folds, axis.length / scale, axis.took_s)


class _Axis:
    """Time → place, with long gaps folded."""

    def __init__(self, attempt: AttemptView, runs: Sequence[_Run]) -> None:
        self.began = min([attempt.began or float("inf"), *(run.began for run in runs)])
        self.ended = max([self.began, attempt.seen, *(run.ended for run in runs)])
        if self.began == float("inf"):
            self.began = self.ended = 0.0
        self.took_s = self.ended - self.began
        idle = self._idle(runs)
        busy = self.took_s - sum(b - a for a, b in idle)
        self.gaps = [(a, b) for a, b in idle if b - a >= max(FOLD_FROM_S, FOLD_SHARE * busy)] if busy > 0 else []
        drawn = self.took_s - sum(b - a for a, b in self.gaps)
        self.folded = FOLDED_SHARE * drawn
        self.length = drawn + self.folded * len(self.gaps)

    def _idle(self, runs: Sequence[_Run]) -> list[tuple[float, float]]:
        gaps, reached = [], self.began
        for run in sorted(runs, key=lambda run: run.began):
            if run.began > reached:
                gaps.append((reached, run.began))
            reached = max(reached, run.ended)
        return [*gaps, (reached, self.ended)] if self.ended > reached else gaps

    def place(self, moment: float) -> float:
        place = min(max(moment, self.began), self.ended) - self.began
        for began, ended in self.gaps:
            if moment >= ended:
                place -= ended - began - self.folded
            elif moment > began:
                place -= (moment - began) * (1 - self.folded / (ended - began))
        return place
