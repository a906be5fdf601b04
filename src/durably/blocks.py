"""Durable code that is no Lambda handler: the `with execution(…)` block, and `once` for a single call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar, TypeVarTuple

from .attempt import Attempt
from .codec import JSON, Codec, returns_of
from .current import Entered, enter_attempt, leave_attempt
from .errors import DurablyError
from .execution import Opened, complete, finished_result, leave, open_execution, replay_of
from .naming import checked_id, execution_id
from .options import make_options
from .plan import EXPIRES, LEASE, Plan, refuse_durations
from .steps import run as run_step
from .stores.protocol import Store
from .stores.url import open_store

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Block:
    """What a block knows of its execution; how it is entered and left is the shells' part."""

    def __init__(
        self,
        id: str,
        *,
        store: Store | str | None = None,
        lease: timedelta = LEASE,
        expires: timedelta | None = EXPIRES,
        wait: timedelta | None = None,
        reserve: timedelta | None = None,
        codec: Codec = JSON,
        returns: object = None,
    ) -> None:
        refuse_durations("execution", lease, expires, wait, reserve)
        self.plan = Plan(
            id=execution_id("execution", checked_id(id, "execution(id)")),
            store=open_store(store),
            codec=codec,
            lease=lease,
            expires=expires,
            wait=wait,
            reserve=reserve,
            returns=returns,
            function="execution",
            source="the caller",
        )
        self.opened: Opened | None = None
        self._entered: tuple[Attempt, Entered] | None = None
        self.result: Any = None
        """The execution's result: set it in the block; of a finished execution it is the remembered one."""

    @property
    def id(self) -> str:
        """The execution's whole id."""
        return self.plan.id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self.entered().head.attempt

    @property
    def finished(self) -> bool:
        """Whether the execution was completed before: then the block only replays."""
        return self.entered().attempt is None

    def enter_with(self, attempt: Attempt, line: object = None) -> None:
        """Let this context's steps belong to the attempt."""
        self._entered = attempt, enter_attempt(attempt, line)

    def leave_context(self) -> None:
        """Let this context's steps belong to what was before."""
        if self._entered is not None:
            leave_attempt(*self._entered)

    def entered(self) -> Opened:
        """What was opened on entry. Raises DurablyError before that."""
        if self.opened is None:
            raise DurablyError(f"execution {self.plan.id!r} was not entered: write `with execution(…) as ex:`.")
        return self.opened


class execution(Block):  # a context manager that reads as a word
    """Run a block as the execution `id`: `with execution("order-42") as ex: ex.result = step(…)`.

    Python can't skip a body, so that of a completed execution runs as a replay, and a step that is not in the journal
    raises; test `ex.finished`. Raises on entry ExecutionInProgress, StoreError, or what a `Fatal` one failed with.
    """

    def __enter__(self) -> execution:
        self.enter_with(enter(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            leave_block(self, error)
        finally:
            self.leave_context()


def enter(block: Block) -> Attempt:
    """Open the block's execution: the attempt that runs it, or one that only replays a finished one."""
    opened = block.opened = open_execution(block.plan)
    return replay(block) if opened.attempt is None else opened.attempt


def replay(block: Block) -> Attempt:
    """The attempt that only replays the block's finished execution. Raises what a `Fatal` one failed with."""
    head = block.entered().head
    block.result = finished_result(block.plan, head)
    return replay_of(block.plan, head)


def leave_block(block: Block, error: BaseException | None) -> None:
    """End the block's attempt with its result, or with what was raised in it."""
    opened = block.entered()
    if opened.attempt is None:
        return
    if error is not None:
        leave(opened, error)
        return
    try:
        block.result = complete(opened, block.result)
    except BaseException as failure:
        leave(opened, failure)
        raise


def once_plan(id: str, fn: Callable[..., Any], store: Store | str | None) -> Plan:
    """The plan of a single call."""
    return Plan(
        id=execution_id("once", checked_id(id, "once(id, …)")),
        store=open_store(store),
        returns=returns_of(fn),
        function="once",
        source="the caller",
    )


def once(id: str, fn: Callable[[*Ts], R], /, *args: *Ts, store: Store | str | None = None) -> R:
    """Run `fn(*args)` once for this id, ever: one step in an execution of its own. Later calls return what it returned.

    Raises what `fn` raised (and a later call runs it again), ExecutionInProgress, NotSerializable or StoreError.
    """
    plan = once_plan(id, fn, store)
    opened = open_execution(plan)
    if opened.attempt is None:
        known: R = finished_result(plan, opened.head)
        return known
    token = enter_attempt(opened.attempt)
    try:
        result: R = complete(opened, run_step("once", fn, args, make_options()))
        return result
    except BaseException as error:
        leave(opened, error)
        raise
    finally:
        leave_attempt(opened.attempt, token)
