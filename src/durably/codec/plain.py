"""Plain JSON data, which is most of what steps return: told apart and written at the speed of the C encoder.

The way of everything else is in `marks`, which a process loads when it meets the first such value.
"""

from __future__ import annotations

from json import JSONEncoder
from typing import Any

MAX_DEPTH = 100
"""Levels of nesting. At most five frames each, so it fits the 1,000 that Python gives by default with room for the caller's."""

LARGEST_INT = 1 << 2048
"""617 digits: Python reads ints of up to 640 whatever `sys.set_int_max_str_digits` says."""

dumps = JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode
"""Structure to text; whoever calls it has looked for cycles already."""

_ATOMS = frozenset((str, bool, type(None)))


def is_plain(value: Any, depth: int) -> bool:
    """Whether JSON's own encoder gives a text that comes back the same, but for what that text shows."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is int:
        return bool(-LARGEST_INT < value < LARGEST_INT)
    if kind is float:
        # Neither infinite nor NaN.
        return bool(value - value == 0.0)
    if depth > MAX_DEPTH:
        return False
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or (type(item) not in _ATOMS and not is_plain(item, depth + 1)):
                return False
        return True
    if kind is list:
        for item in value:  # noqa: SIM110 - a generator would take twice as long
            if type(item) not in _ATOMS and not is_plain(item, depth + 1):
                return False
        return True
    return False


def is_utf8(text: str) -> bool:
    """Whether a string has no lone surrogate, so that its text can be stored."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
