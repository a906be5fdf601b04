"""PURE: an execution in the Trace Event Format, which chrome://tracing and https://ui.perfetto.dev open.

A process is an attempt, a thread is a lane: steps inside one another stack up in one, parallel ones get lanes of their own.
"""

from __future__ import annotations

from typing import Any

from .model import ExecutionView
from .waterfall import Bar, Track, waterfall

Data = dict[str, Any]


def trace(view: ExecutionView) -> Data:
    """The trace as a JSON object; times are microseconds since the execution began."""
    within = {step.name: step.within for step in view.steps}
    events: list[Data] = []
    for track in waterfall(view):
        events += _attempt_events(track, view.head.began, within)
    return {
        "displayTimeUnit": "ms",
        "otherData": {"execution": view.head.id, "state": view.state, "headline": view.headline},
        "traceEvents": events,
    }


def _attempt_events(track: Track, zero: float, within: dict[str, str]) -> list[Data]:
    attempt = track.attempt
    name = f"attempt {attempt.number}" + (
        f" ({'killed' if attempt.killed else attempt.how})" if attempt.ended or attempt.killed else ""
    )
    events: list[Data] = [_meta("process_name", attempt.number, 0, name)]
    events.append(
        _complete(f"attempt {attempt.number}", "attempt", attempt.number, 0, attempt.began - zero, track.took_s)
    )
    events[-1]["args"] = {"how": attempt.how, "killed": attempt.killed, "request_id": attempt.request_id}
    lanes = _Lanes()
    for bar in sorted(
        (bar for bar in track.bars if not bar.is_hollow), key=lambda bar: (bar.began, bar.depth, -bar.took_s)
    ):
        lane, ended = lanes.place(bar, within.get(bar.step, ""))
        event = _complete(bar.step, "step", attempt.number, lane, bar.began - zero, ended - bar.began)
        event["args"] = {"state": bar.state, "tries": bar.tries, "bytes": bar.size}
        if bar.error is not None:
            event["args"]["error"] = str(bar.error)
        events.append(event)
    return [*events, *(_meta("thread_name", attempt.number, lane, f"steps {lane}") for lane in lanes.numbers())]


class _Lanes:
    """Who runs in which lane: events of one thread must nest."""

    def __init__(self) -> None:
        self._open: list[list[tuple[str, float]]] = []
        self._lane_of: dict[str, int] = {}

    def place(self, bar: Bar, within: str) -> tuple[int, float]:
        """The lane, from 1, and the end, which for a rounded time must not lie behind its parent's."""
        ended = bar.began + bar.took_s
        for lane in self._open:
            while lane and lane[-1][1] <= bar.began:
                lane.pop()
        at = self._lane_of.get(within, 0)
        if at and self._open[at - 1] and self._open[at - 1][-1][0] == within:
            ended = min(ended, self._open[at - 1][-1][1])
        else:
            at = next((number for number, lane in enumerate(self._open, start=1) if not lane), 0)
            if not at:
                self._open.append([])
                at = len(self._open)
        self._open[at - 1].append((bar.step, ended))
        self._lane_of[bar.step] = at
        return at, ended

    def numbers(self) -> range:
        return range(1, len(self._open) + 1)


def _complete(name: str, kind: str, attempt: int, lane: int, at_s: float, took_s: float) -> Data:
    at, took = max(0, round(at_s * 1e6)), max(0, round(took_s * 1e6))
    return {"name": name, "cat": kind, "ph": "X", "ts": at, "dur": took, "pid": attempt, "tid": lane}


def _meta(what: str, attempt: int, lane: int, name: str) -> Data:
    return {"name": what, "ph": "M", "pid": attempt, "tid": lane, "args": {"name": name}}
