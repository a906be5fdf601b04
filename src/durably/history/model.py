"""What people are shown of an execution: its attempts, its steps and one line that says how it stands. Values only.

Everything here has passed redaction, so it is for showing: never write a head or a text of a view back into a store.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..entries import Head

ExecutionState = Literal["running", "killed", "waiting", "completed", "failed", "cancelled"]
"""As a reader sees it. `killed`: its lease ran out without an end. `failed`: Fatal, or nothing happened for too long."""

StepState = Literal["done", "caught", "failed", "interrupted", "running", "forgotten"]
"""`caught`: a failure that stands, the code went on from it. `failed`: it left the handler, so the next attempt runs the
step again (or never, when `permanent`). `interrupted`: begun by an attempt that is over, and no outcome. `forgotten`: to
be run again by an operator's wish."""


class ErrorView(NamedTuple):
    """An exception as it was stored."""

    class_name: str
    """Without its module."""
    message: str
    traceback: str = ""
    module: str = ""

    def __str__(self) -> str:
        return f"{self.class_name}: {self.message}" if self.message else self.class_name


class FailureView(NamedTuple):
    """An earlier failure of a step, taken back when it left the handler."""

    attempt: int
    began: float
    ended: float
    tries: int
    error: ErrorView | None


class StepView(NamedTuple):
    """One step. Times are epoch seconds; `attempt` is the one that its state is of."""

    name: str
    state: StepState
    attempt: int
    began: float
    ended: float | None = None
    tries: int = 1
    within: str = ""
    """The step this one ran inside of."""
    depth: int = 0
    group: str = ""
    """The fan-out it is an item of; `key` says which."""
    key: str = ""
    result: str | None = None
    """The codec's text, redacted; None unless there is a result."""
    error: ErrorView | None = None
    arguments: str = ""
    size: int = 0
    """Bytes of the stored outcome."""
    permanent: bool = False
    idempotency_key: str = ""
    history: tuple[FailureView, ...] = ()
    announced: tuple[int, float] | None = None
    """The attempt that announced it before its effect, and when: a step with `recover=` or `at_most_once`."""

    @property
    def has_outcome(self) -> bool:
        """Whether the next attempt is answered from the journal."""
        return self.state in ("done", "caught") or self.permanent


class AttemptView(NamedTuple):
    """One run of the handler. `steps` are the names of those that ran in it, not of the replayed ones."""

    number: int
    began: float
    ended: float | None
    how: str
    killed: bool
    request_id: str
    steps: tuple[str, ...]
    seen: float
    """The last instant it is known to have been alive, or its end."""
    remembered: bool = True
    """False: the head keeps the last attempts only; times and steps are those of its entries, and its end is not known."""
    replayable: int = 0
    """Outcomes that stood when it began: those it could be answered."""

    @property
    def is_live(self) -> bool:
        """Whether it runs now."""
        return self.remembered and self.ended is None and not self.killed


class ExecutionView(NamedTuple):
    """One execution, whole: attempts by number; steps in the order of the code, each followed by those inside it."""

    head: Head
    state: ExecutionState
    attempts: tuple[AttemptView, ...]
    steps: tuple[StepView, ...]
    headline: str
    now: float
    stopped_at: str = ""
    """The step that an execution which is not done stopped at, or runs."""
    error: ErrorView | None = None
    """What it failed with, or what its last attempt did."""
    segments: tuple[int, ...] = ()
    """Bytes of each append."""

    @property
    def done(self) -> int:
        """Steps that are answered from the journal from now on."""
        return sum(step.has_outcome for step in self.steps)


class ExecutionRow(NamedTuple):
    """One execution in a list: `head` is without event, result and, from an index, without lease and attempts."""

    head: Head
    state: ExecutionState


class Page(NamedTuple):
    """Some executions, newest first. `next` is the `before` of the next page, None when there is none."""

    rows: tuple[ExecutionRow, ...]
    next: tuple[float, str] | None
    searched: int
    """Heads that were looked at."""
