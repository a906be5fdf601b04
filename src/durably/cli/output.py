"""What reaches the terminal: user data without control characters, times and states in one manner, JSON on its own.

Everything stored may be hostile (the title of a pull request): no text of a user's is taken as markup, and none can move the
cursor, ring, recolour, or turn the writing direction of what stands after it.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from ..history.model import ExecutionState, StepState

STYLES: dict[str, str] = {
    "completed": "green",
    "done": "green",
    "running": "cyan",
    "waiting": "yellow",
    "caught": "yellow",
    "killed": "magenta",
    "interrupted": "magenta",
    "failed": "red",
    "cancelled": "dim",
    "forgotten": "dim",
}

_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINE_ENDS = frozenset("\n\u0085\u2028\u2029")


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Where people's output goes. Highlighting, markup and emoji codes are off: they would read the users' texts."""
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def clean(text: str, longest: int | None = None) -> str:
    """The text as one line that is safe on a terminal; what can't be shown stands there as a sign for it."""
    if not text.isprintable():
        text = "".join([character if character.isprintable() else _sign(character) for character in text])
    if longest is not None and len(text) > longest:
        text = text[: max(0, longest - 1)] + "…"
    return text


def clean_lines(text: str) -> str:
    """The same for a text of several lines, such as a traceback: its line ends are kept."""
    return "\n".join(clean(line) for line in text.splitlines())


def quoted(text: str) -> str:
    """The text as one word of a shell's line, for people to copy: an id may come from a stranger's header."""
    return "'" + clean(text).replace("'", "'\\''") + "'"


def plain(text: str, style: str = "", longest: int | None = None) -> Text:
    """A user's text for rich: cleaned, and never read as markup."""
    return Text(clean(text, longest), style=style, overflow="ellipsis", no_wrap=True)


def state_text(state: ExecutionState | StepState) -> Text:
    """A state in its colour."""
    return Text(state, style=STYLES[state])


def when(epoch_s: float | None) -> str:
    """A time in the reader's own zone, to the second; empty where there is none."""
    if not epoch_s:
        return ""
    return datetime.fromtimestamp(epoch_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def print_json(value: Any) -> None:
    """One JSON document, indented. ASCII: it is safe on any terminal and in any pipe."""
    click.echo(json.dumps(value, indent=2))


def print_json_line(value: Any) -> None:
    """One JSON document on a line of its own, sent on at once."""
    click.echo(json.dumps(value, separators=(",", ":")))
    sys.stdout.flush()


def _sign(character: str) -> str:
    if character in _LINE_ENDS:
        return "⏎"
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if character == "\x7f":
        return "␡"
    if unicodedata.category(character) == "Zs":
        return " "
    # Joiners and variation selectors belong to how a name is written; what turns the line around does not.
    if unicodedata.category(character) == "Cf" and character not in _TURNS:
        return character
    return "\ufffd"
