"""What is running here: the context variable that carries an attempt and its current step, and how users read it."""

from __future__ import annotations

import os
import threading
import warnings
from contextvars import ContextVar, Token
from datetime import timedelta
from typing import NamedTuple

from . import hooks
from .attempt import Attempt
from .errors import DurablyError
from .journal import Frame
from .naming import idempotency_key


class Running(NamedTuple):
    """An attempt, and the step that runs in this context, if one does."""

    attempt: Attempt
    frame: Frame | None
    line: object = None
    """The asyncio task it was set in: a step met in another task runs on a line of control of its own."""


running: ContextVar[Running | None] = ContextVar("durably_running", default=None)
_lone_step: ContextVar[str | None] = ContextVar("durably_lone_step", default=None)

_lock = threading.Lock()
_live = 0
_warned = False


Entered = Token[Running | None]


def enter_attempt(attempt: Attempt, line: object = None) -> Entered:
    """From here on this context's steps belong to the attempt. `line` is the asyncio task."""
    token = running.set(Running(attempt, None, line))
    if hooks.watching:
        try:
            hooks.tell(hooks.AttemptBegan(attempt.head, attempt.lease is None))
        except BaseException:
            running.reset(token)
            raise
    return token


def leave_attempt(attempt: Attempt, token: Entered) -> None:
    """The attempt is over; called in the context of `enter_attempt`."""
    running.reset(token)
    if hooks.watching:
        hooks.tell(hooks.AttemptEnded(attempt.head, attempt.left_as, attempt.left_with))


def enter_try(attempt: Attempt, frame: Frame, recover: bool, line: object = None) -> Entered:
    """From here on this context runs the step's function, or its `recover`."""
    token = running.set(Running(attempt, frame, line))
    if hooks.watching:
        try:
            hooks.tell(hooks.TryBegan(attempt.head, frame.step, frame.tries, recover))
        except BaseException:
            running.reset(token)
            raise
    return token


def leave_try(attempt: Attempt, frame: Frame, recover: bool, token: Entered, error: BaseException | None) -> None:
    """The function has returned or raised; called in the context of `enter_try`."""
    running.reset(token)
    if hooks.watching:
        hooks.tell(hooks.TryEnded(attempt.head, frame.step, frame.tries, recover, error))


class ExecutionNow:
    """The execution that runs here."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    @property
    def id(self) -> str:
        """The execution's id, with its namespace and function name."""
        return self._attempt.head.id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._attempt.head.attempt

    @property
    def remaining(self) -> timedelta | None:
        """The time left until the deadline, or None where there is none."""
        left = self._attempt.remaining
        return None if left is None else timedelta(seconds=left())

    @property
    def replaying(self) -> bool:
        """Whether steps so far were all answered from the journal and more of its outcomes are waiting."""
        attempt = self._attempt
        return attempt.lease is None or (attempt.ran == 0 and attempt.journal.replaying)


class StepNow:
    """The step that runs here."""

    __slots__ = ("_execution", "_frame", "name")

    def __init__(self, name: str, execution: str | None, frame: Frame | None) -> None:
        self.name = name
        self._execution = execution
        self._frame = frame

    @property
    def tries(self) -> int:
        """Which try of this attempt it is, from 1."""
        return self._frame.tries if self._frame is not None else 1

    @property
    def idempotency_key(self) -> str:
        """A UUID, the same on every attempt and try of this step: hand it to an API that takes one.

        Outside an execution nothing remembers it, so it is a random one.
        """
        if self._execution is not None:
            return idempotency_key(self._execution, self.name)
        import uuid

        return str(uuid.uuid4())


def current_execution() -> ExecutionNow | None:
    """The execution that runs in this context, or None."""
    here = running.get()
    return None if here is None else ExecutionNow(here.attempt)


def current_step() -> StepNow | None:
    """The step that runs in this context, or None. Its idempotency key is random outside an execution."""
    here = running.get()
    if here is None:
        name = _lone_step.get()
        return None if name is None else StepNow(name, None, None)
    frame = here.frame.named() if here.frame is not None else None
    return None if frame is None else StepNow(frame.step, here.attempt.head.id, frame)


lone_step = _lone_step


def count_live(change: int) -> None:
    """Count the attempts that run in this process."""
    global _live
    with _lock:
        _live += change


def refuse_lost_context(step: str) -> None:
    """A step outside any execution just runs, unless one is running in this process and the context got lost on the way."""
    global _warned
    if _live == 0 or (_warned and not _in_lambda()):
        return
    told = (
        f"step {step!r} was called where no execution is in context while one is running in this process, so it would run "
        "unrecorded. Context variables don't reach threads you start yourself: use fan_out(…), or start the thread with "
        "contextvars.copy_context().run."
    )
    if _in_lambda():
        raise DurablyError(told)
    _warned = True
    warnings.warn(told, RuntimeWarning, stacklevel=4)


def _in_lambda() -> bool:
    return bool(os.environ.get("AWS_LAMBDA_FUNCTION_NAME"))
