"""A report as a table for people."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

from .stories import Story
from .verdicts import EffectReport, Wrong

WRONG_SHOWN = 12
WIDTH = 110
HEADER = ("effect", "undisturbed", "least", "most", "step", "verdict")


def table(
    headline: str,
    stories: Sequence[Story],
    effects: Collection[EffectReport],
    differing: Sequence[Story],
    wrong: Sequence[Wrong],
) -> str:
    """Headline, a line an effect, the cure for each that happens twice, and the stories that ended wrong."""
    parts = [headline, "", *_rows(effects, len(stories), len(differing))]
    for effect in effects:
        if effect.cure:
            parts += ["", *_wrapped(f"  {effect.name}, {_in(effect.place)}: ", effect.cure)]
    return "\n".join(parts + _forgotten(stories) + _wrong(wrong))


def _rows(effects: Collection[EffectReport], stories: int, differing: int) -> list[str]:
    rows = [HEADER, *(_row(effect) for effect in effects)]
    mark = "✓ always the same" if not differing else f"✗ the same in {stories - differing} of {stories}"
    rows.append(("result", "", "", "", "", mark))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _row(effect: EffectReport) -> tuple[str, ...]:
    return (
        effect.name,
        _undisturbed(effect),
        str(effect.least),
        str(effect.most),
        effect.place,
        _verdict(effect),
    )


def _undisturbed(effect: EffectReport) -> str:
    counts = list(effect.undisturbed.values())
    if len(counts) > 1 and len(set(counts)) == 1:
        return f"{len(counts)} × {counts[0]}"
    return str(sum(counts))


def _verdict(effect: EffectReport) -> str:
    told = []
    if effect.lost:
        told.append(f"✗ missing in {len(effect.lost)}")
    if effect.repeated:
        mark = "~ again in" if effect.may_repeat else "✗ again in"
        told.append(f"{mark} {len(effect.repeated)}")
    return ", ".join(told) or "✓ exactly once"


def _in(place: str) -> str:
    return place if " " in place else f"in step {place}"


def _forgotten(stories: Sequence[Story]) -> list[str]:
    names = sorted({name for story in stories for name in story.forgotten})
    if not names:
        return []
    told = (
        f"{', '.join(names[:4])}{' …' if len(names) > 4 else ''}. A name that depends on the clock, on chance or on a list "
        "that is fetched anew is another step on every attempt."
    )
    return ["", *_wrapped("  Recorded, and never asked for by the retry: ", told)]


def _wrong(found: Sequence[Wrong]) -> list[str]:
    if not found:
        return []
    lines = ["", "  Wrong:"]
    for wrong in found[:WRONG_SHOWN]:
        lines += textwrap.wrap(str(wrong), WIDTH, initial_indent="    ", subsequent_indent="      ")
    more = len(found) - WRONG_SHOWN
    return [*lines, f"    … and {more} more"] if more > 0 else lines


def _wrapped(lead: str, text: str) -> list[str]:
    return textwrap.wrap(lead + text, WIDTH, subsequent_indent="    ", drop_whitespace=True)
