"""What hooks are told, one value an event. `hooks` loads them when there is a hook."""

from __future__ import annotations

from typing import NamedTuple

from .entries import Entry, Head


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
