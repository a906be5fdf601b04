"""PURE: an attempt's bars as rows to print: a fan-out's items in one, replayed steps in one, a long list shortened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .steps import group_and_key
from .waterfall import Bar, BarState, Track

ROWS_MAX = 100

_WORST: tuple[BarState, ...] = ("running", "failed", "interrupted", "caught", "done", "replayed")


class Row(NamedTuple):
    """One line. `at` and `width` are shares of the scale; `counts` says what it stands for when `steps` is not 1."""

    label: str
    depth: int
    state: BarState
    at: float
    width: float
    began: float
    took_s: float
    tries: int
    size: int
    steps: int
    counts: tuple[tuple[BarState, int], ...]
    error: str = ""


def rows(track: Track, *, whole: bool = False, most: int = ROWS_MAX) -> list[Row]:
    """The rows of an attempt. `whole` gives each bar a row of its own."""
    if whole:
        return [_row([bar]) for bar in track.bars]
    hollow = [bar for bar in track.bars if bar.is_hollow]
    gathered: dict[str, list[Bar]] = {}
    for bar in track.bars:
        if not bar.is_hollow:
            gathered.setdefault(group_and_key(bar.step)[0] or f"\0{bar.step}", []).append(bar)
    made = [_row(bars) for bars in gathered.values()]
    if len(made) > most:
        made = _shortened(made, most)
    return [*([_replayed(hollow)] if hollow else []), *made]


def _row(bars: Sequence[Bar]) -> Row:
    first = bars[0]
    counts = Counter(bar.state for bar in bars)
    at, end = min(bar.at for bar in bars), max(bar.at + bar.width for bar in bars)
    began = min(bar.began for bar in bars)
    ended = max(bar.began + bar.took_s for bar in bars)
    error = next((bar.error for bar in bars if bar.error is not None), None)
    label = first.step if len(bars) == 1 else group_and_key(first.step)[0] or first.step
    return Row(
        label=label,
        depth=first.depth,
        state=next(state for state in _WORST if counts[state]),
        at=at,
        width=end - at,
        began=began,
        took_s=ended - began,
        tries=max(bar.tries for bar in bars),
        size=sum(bar.size for bar in bars),
        steps=len(bars),
        counts=tuple(counts.items()),
        error=str(error) if error is not None else "",
    )


def _replayed(hollow: Sequence[Bar]) -> Row:
    names = ", ".join(dict.fromkeys(_short_names(hollow)))
    return _row(hollow)._replace(label=names, depth=0, size=0, tries=1)


def _short_names(hollow: Iterable[Bar]) -> Iterable[str]:
    for bar in hollow:
        group, _ = group_and_key(bar.step)
        yield f"{group}[…]" if group else bar.step


def _shortened(made: list[Row], most: int) -> list[Row]:
    """The first and the last rows, and of those between only what went wrong."""
    head, tail = most // 2, most - most // 2
    between = made[head:-tail]
    kept = [row for row in between if row.state != "done"][:most]
    left = [row for row in between if row.state == "done"]
    steps = sum(row.steps for row in left)
    gap = Row(
        f"{steps:,} more steps done",
        0,
        "done",
        0.0,
        0.0,
        0.0,
        0.0,
        1,
        sum(row.size for row in left),
        steps,
        (("done", steps),),
    )
    return [*made[:head], *([gap] if left else []), *kept, *made[-tail:]]
