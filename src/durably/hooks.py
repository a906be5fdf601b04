"""What an attempt tells those who watch it: telemetry, the local Lambda and the crash kit use nothing else.

A hook is a function that is called with one event at a time, in the thread (or task) and context in which it happens.
An exception it raises is logged and changes nothing; what is no Exception passes, so that a simulated crash can be one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from .entries import Entry, Head

log = logging.getLogger("durably")


class AttemptBegan(NamedTuple):
    """The execution is claimed and its journal loaded; the handler is called next, in this context."""

    head: Head
    replays_only: bool = False
    """A finished execution whose `with` body runs as a replay."""


class AttemptEnded(NamedTuple):
    """The handler has returned or raised, and the attempt has left its execution. Told in the context of AttemptBegan."""

    head: Head
    status: str
    """completed, failed, waiting, or `lost`: it could not say how it ended, because its lease was gone or the store was."""
    error: BaseException | None = None


class StepReplayed(NamedTuple):
    """A step is answered from the journal."""

    head: Head
    outcome: Entry


class StepBegan(NamedTuple):
    """A step that has no outcome will run: nothing of it is done or appended yet."""

    head: Head
    step: str
    within: str = ""


class TryBegan(NamedTuple):
    """`fn`, or `recover`, is called next, in this context; a `started` that the step needs is in the store."""

    head: Head
    step: str
    tries: int
    recover: bool = False


class TryEnded(NamedTuple):
    """`fn`, or `recover`, has returned or raised, and nothing of that is in the store yet. Told in TryBegan's context."""

    head: Head
    step: str
    tries: int
    recover: bool = False
    error: BaseException | None = None


class StepEnded(NamedTuple):
    """A step that ran is over. `outcome` is its entry (durable, or pending as P2 allows); None: a stop signal or Ctrl-C."""

    head: Head
    step: str
    outcome: Entry | None
    error: BaseException | None = None


class Appended(NamedTuple):
    """An append came back, or failed. Told by the thread that wrote it, with an attempt's lock free."""

    head: Head
    number: int
    entries: tuple[Entry, ...]
    took_s: float
    error: BaseException | None = None


Event = AttemptBegan | AttemptEnded | StepReplayed | StepBegan | TryBegan | TryEnded | StepEnded | Appended
Hook = Callable[[Event], object]

watching: tuple[Hook, ...] = ()
"""The hooks there are. Whoever tells an event asks this first: with none, a step pays for one look."""

_complained: set[int] = set()


def add_hook(hook: Hook) -> Callable[[], None]:
    """Tell `hook` every event of every attempt in this process from now on. Returns what removes it again."""
    global watching
    watching = (*watching, hook)

    def remove() -> None:
        global watching
        watching = tuple(one for one in watching if one is not hook)

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
