"""PURE: lengths of time and sizes as people read them, the same in the terminal and on the page."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0


def duration_text(seconds: float) -> str:
    """`0 ms`, `340 ms`, `2.3 s`, `4 min 12 s`, `3 h 20 min`, `5 d 2 h`."""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    for unit, name, smaller, small_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1.0, "s"),
    ):
        if seconds >= unit - smaller / 2:
            whole, rest = divmod(round(seconds / smaller), round(unit / smaller))
            return f"{whole} {name} {rest} {small_name}" if rest else f"{whole} {name}"
    return f"{seconds:.0f} s"


def size_text(count: int) -> str:
    """`310 B`, `4.2 KB`, `5.0 MB`; 1 KB is 1,024 bytes."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KB" if count < 1024 * 1024 else f"{count / 1024 / 1024:.1f} MB"
