"""The crash kit and what tests of durable handlers need. Its pytest plugin is loaded by itself; see docs/testing.md.

Everything is imported when it is first named: the plugin is loaded by every pytest run, also by those that use none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import ManualClock
    from .context import LambdaContext
    from .crash import crash_everywhere
    from .functions import counted
    from .race import race_everywhere
    from .report import Report

__all__ = ["LambdaContext", "ManualClock", "Report", "counted", "crash_everywhere", "race_everywhere"]

_HOMES = {
    "LambdaContext": "context",
    "ManualClock": "clock",
    "Report": "report",
    "counted": "functions",
    "crash_everywhere": "crash",
    "race_everywhere": "race",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value
