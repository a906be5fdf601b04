"""A report as a table for people."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import EffectReport, Report

WRONG_SHOWN = 12
WIDTH = 110
HEADER = ("effect", "undisturbed", "least", "most", "step", "verdict")


def table(report: Report) -> str:
    """Headline, a line an effect, the cure for each that happens twice, and the stories that ended wrong."""
    parts = [_headline(report), "", *_rows(report)]
    for effect in report.effects.values():
        if effect.cure:
            parts += ["", *_wrapped(f"  {effect.name}, {_in(effect.place)}: ", effect.cure)]
    parts += _forgotten(report) + _wrong(report)
    return "\n".join(parts)


def _headline(report: Report) -> str:
    many = len(report.stories)
    kind = "crash points" if report.kind == "crash" else "races"
    each = f" · {1000 * report.took_s / many:.1f} ms each" if report.took_s and many else ""
    unmet = f" · {len(report.unmet)} not met again" if report.unmet else ""
    return f"{report.handler}: {many} {kind}, {len(report.wrong)} end wrong{unmet}{each}"


def _rows(report: Report) -> list[str]:
    rows = [HEADER, *(_row(effect) for effect in report.effects.values())]
    same = len(report.stories) - len(report.differing)
    mark = "✓ always the same" if not report.differing else f"✗ the same in {same} of {len(report.stories)}"
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


def _forgotten(report: Report) -> list[str]:
    names = sorted({name for story in report.stories for name in story.forgotten})
    if not names:
        return []
    told = (
        f"{', '.join(names[:4])}{' …' if len(names) > 4 else ''}. A name that depends on the clock, on chance or on a list "
        "that is fetched anew is another step on every attempt."
    )
    return ["", *_wrapped("  Recorded, and never asked for by the retry: ", told)]


def _wrong(report: Report) -> list[str]:
    if not report.wrong:
        return []
    lines = ["", "  Wrong:"]
    for wrong in report.wrong[:WRONG_SHOWN]:
        lines += textwrap.wrap(str(wrong), WIDTH, initial_indent="    ", subsequent_indent="      ")
    more = len(report.wrong) - WRONG_SHOWN
    return [*lines, f"    … and {more} more"] if more > 0 else lines


def _wrapped(lead: str, text: str) -> list[str]:
    return textwrap.wrap(lead + text, WIDTH, subsequent_indent="    ", drop_whitespace=True)
