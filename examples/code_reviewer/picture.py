"""How the demo looks: a bar an attempt and a table at the end; plain ANSI, no colour where nobody would see it."""

from __future__ import annotations

import os
import sys

WIDTH = 24
PLAIN = str.maketrans({"█": "#", "░": "-", "·": ".", "✓": "+", "✗": "x"})
CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


def paint(text: str, *styles: str) -> str:
    """Coloured text, or the text alone: no tty, NO_COLOR (no-color.org), TERM=dumb."""
    if not text or not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{';'.join(CODES[style] for style in styles)}m{text}\033[0m"


def say(text: str = "") -> None:
    """One line, now; in letters where the terminal's encoding lacks the signs."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(PLAIN).encode(encoding, "replace").decode(encoding)
    print(text, flush=True)


def title(text: str) -> None:
    """What comes now."""
    say()
    say(paint(text, "bold"))


def bar(replayed: int, ran: int, total: int) -> str:
    """The attempt's steps as a part of all: replayed ones hollow, ran ones solid."""
    hollow = min(WIDTH, round(WIDTH * replayed / total))
    solid = min(WIDTH - hollow, max(round(WIDTH * ran / total), 1 if ran else 0))
    rest = WIDTH - hollow - solid
    return paint("░" * hollow, "dim") + paint("█" * solid, "green") + paint("·" * rest, "dim")


def row(name: str, replayed: int, ran: int, total: int, ended: str, good: bool | None = None) -> None:
    """One attempt. `good` colours how it ended: None for a kill."""
    style = "yellow" if good is None else "green" if good else "red"
    say(f"  {name:<10}{bar(replayed, ran, total)} {replayed:>3} replayed {ran:>3} ran  {paint(ended, style)}")


def aside(text: str) -> None:
    """Something to know about the row above, or what happens until the next one."""
    say(paint(f"            {text}", "dim"))


def verdict(header: tuple[str, str, str], rows: list[tuple[str, str, bool, str, bool]]) -> None:
    """The table: what was counted, then for each of the two stories the figure and whether it is right."""
    say()
    say(paint(f"  {header[0]:<48}{header[1]:>14}{header[2]:>12}", "bold"))
    for what, first, first_is_right, second, second_is_right in rows:
        say(f"  {what:<48}{mark(first, first_is_right, 14)}{mark(second, second_is_right, 12)}")


def mark(figure: str, is_right: bool, width: int) -> str:
    """A figure with its tick or its cross."""
    return paint(f"{figure} {'✓' if is_right else '✗'}".rjust(width), "green" if is_right else "red")
