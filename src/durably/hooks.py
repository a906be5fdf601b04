"""What an attempt tells those who watch it: telemetry, the local Lambda and the crash kit use nothing else.

A hook is a function that is called with one event at a time, in the thread (or task) and context in which it happens.
An exception it raises is logged and changes nothing; what is no Exception passes, so that a simulated crash can be one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .events import (
        Appended,
        AttemptBegan,
        AttemptEnded,
        Event,
        StepBegan,
        StepEnded,
        StepReplayed,
        TryBegan,
        TryEnded,
    )

__all__ = [
    "Appended",
    "AttemptBegan",
    "AttemptEnded",
    "Event",
    "Hook",
    "StepBegan",
    "StepEnded",
    "StepReplayed",
    "TryBegan",
    "TryEnded",
    "add_hook",
    "tell",
    "watching",
]

Hook = Callable[["Event"], object]

watching: tuple[Hook, ...] = ()
"""The hooks there are. Whoever tells an event asks this first: with none, a step pays for one look."""

_adding = threading.Lock()
_complained: set[int] = set()
log = logging.getLogger("durably")


def __getattr__(name: str) -> Any:
    # The events are loaded by the first hook: most processes have none, and pay for every import at a cold start.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import events

    value = globals()[name] = getattr(events, name)
    return value


def add_hook(hook: Hook) -> Callable[[], None]:
    """Tell `hook` every event of every attempt in this process from now on. Returns what removes it again.

    A hook that is added twice is told twice, until both are removed.
    """
    global watching
    removed = False
    with _adding:
        watching = (*watching, hook)

    def remove() -> None:
        global watching
        nonlocal removed
        with _adding:
            if removed:
                return
            removed = True
            at = next(index for index, one in enumerate(watching) if one is hook)
            watching = watching[:at] + watching[at + 1 :]
            _complained.discard(id(hook))  # another hook may be given this id

    return remove


def tell(event: Event) -> None:
    """Call every hook with the event. A hook that fails is complained about once, and is called again."""
    for hook in watching:
        try:
            hook(event)
        except Exception:
            if id(hook) not in _complained:
                _complained.add(id(hook))
                log.exception("a hook failed on %s, which changes nothing; said once", type(event).__name__)
