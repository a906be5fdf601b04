"""`step`, awaited: does what a step's program asks for, with the store's calls on a thread."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack, overload

from ..attempt import Attempt
from ..current import Running, enter_try, leave_try, lone_step, refuse_lost_context, running
from ..journal import Frame
from ..options import Options, StepOptions, check_name, make_options
from ..program import Answer, Call, Pause, Program, Renew, Settle
from ..steps import begin, mark_stopped, refuse_generator
from .threads import on_thread
from .writing import settle

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class _Step:
    """`await step(name, fn, *args, **options)`, `@step` and `@step.named(…)` for async functions."""

    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]: ...

    @overload
    def __call__(
        self, name: str, fn: Callable[[*Ts], Awaitable[R]], /, *args: *Ts, **options: Unpack[StepOptions]
    ) -> Awaitable[R]: ...

    def __call__(  # type: ignore[misc]  # mypy can't match *args: Any with the overload's *Ts
        self, name: Any, fn: Any = None, /, *args: Any, **options: Unpack[StepOptions]
    ) -> Any:
        """As `durably.step`, awaited. `fn` and `recover` may be async or plain; a plain one runs on the loop.

        Cancelling a step is no outcome: the next attempt runs it again.
        """
        if fn is None and callable(name) and not args:
            if options:
                raise TypeError("step: options go to the named form: @step.named('name', …).")
            return _decorated(name, name.__name__, make_options())
        if fn is None:
            raise TypeError(f"step({name!r}): the function to run is missing: step({name!r}, fn, *args).")
        return run(name, fn, args, make_options(**options))

    def named(
        self, name: str, /, **options: Unpack[StepOptions]
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
        """Decorate an async function as a step whose name is a format string over its arguments."""
        made = make_options(**options)
        check_name(name)
        return lambda fn: _decorated(fn, name, made)


step = _Step()


async def run(
    name: str, fn: Callable[..., Any], args: tuple[Any, ...], options: Options, call: Callable[[], Any] | None = None
) -> Any:
    """Run one step in this context and task. `call` runs it when `fn(*args)` would not do."""
    check_name(name)
    if not callable(fn):
        raise TypeError(f"step {name!r}: {fn!r} is not a function. Pass it uncalled: step({name!r}, fn, *args).")
    refuse_generator(name, fn)
    call = call or functools.partial(fn, *args)
    here = on_this_line()
    if here is None:
        return await run_alone(name, call)
    frame = Frame(name, here.frame)
    answer = await perform(here.attempt, frame, fn, call, options, args)
    if answer.error is not None:
        raise answer.error
    return answer.value


def on_this_line() -> Running | None:
    """What runs in this task. A task that steps are met in for the first time becomes a line of control of its own."""
    here = running.get()
    task = asyncio.current_task()
    if here is not None and here.line is not task:
        # Its failures are its parent's business only when it is over: until then they are held apart.
        line = Frame("", here.frame, is_item=True)
        with here.attempt.lock:
            here.attempt.lines.setdefault(_lane_around(line), []).append((line, task))
        here = Running(here.attempt, line, task)
        running.set(here)
    return here


async def perform(
    attempt: Attempt,
    frame: Frame,
    fn: Callable[..., Any],
    call: Callable[[], Any],
    options: Options,
    args: tuple[Any, ...] = (),
    *,
    behind: int = 0,
) -> Answer:
    """The step's answer, from the journal or by running it. Stop signals and what is no Exception are raised."""
    try:
        _join_lines_that_are_over(attempt, frame.lane)
        known, program = begin(attempt, frame, fn, options, args)
        if program is None:
            return known
        try:
            return await _drive(attempt, frame, program, call, options, behind)
        finally:
            program.close()
            attempt.left_step(frame)
    except Exception as error:
        mark_stopped(attempt, frame, error)
        raise


async def _drive(
    attempt: Attempt, frame: Frame, program: Program, call: Callable[[], Any], options: Options, behind: int
) -> Answer:
    answer: Any = None
    try:
        while True:
            request = program.send(answer)
            answer = None
            if type(request) is Call:
                fn = options.recover if request.recover and options.recover is not None else call
                answer = await _call(attempt, frame, fn, request.recover)
            elif type(request) is Settle:
                quick = request.took_s is not None and attempt.appender.lets_run_ahead(request.took_s)
                await settle(attempt, request.mark, behind=behind if quick else 0)
            elif type(request) is Pause:
                await asyncio.sleep(request.seconds)
            elif type(request) is Renew:
                await on_thread(attempt.renew)
    except StopIteration as done:
        result: Answer = done.value
        mark_stopped(attempt, frame, result.error)
        return result


async def _call(attempt: Attempt, frame: Frame, fn: Callable[[], Any], recover: bool) -> tuple[Any, Exception | None]:
    token, failure = enter_try(attempt, frame, recover, asyncio.current_task()), None
    try:
        value = fn()
        return (await value if inspect.isawaitable(value) else value), None
    except BaseException as error:
        failure = error
        if not isinstance(error, Exception):
            raise
        return None, error
    finally:
        leave_try(attempt, frame, recover, token, failure)
        failure = None  # or this frame and the exception would hold each other until the collector comes


def _join_lines_that_are_over(attempt: Attempt, lane: Frame | None) -> None:
    """What a finished task's steps left is its parent's, and goes out before the parent's next step; not before a sibling's."""
    if not attempt.lines:
        return
    with attempt.lock:
        over = _take_lines_that_are_over(attempt, lane)
    if over:
        attempt.join_lanes(over, lane)


def _take_lines_that_are_over(attempt: Attempt, lane: Frame | None) -> set[Frame]:
    lines = attempt.lines.pop(lane, ())
    over = {line for line, task in lines if task.done()}
    alive = [pair for pair in lines if pair[0] not in over]
    if alive:
        attempt.lines[lane] = alive
    return over.union(*[_take_lines_that_are_over(attempt, line) for line in over])


def _lane_around(line: Frame) -> Frame | None:
    return line.parent.lane if line.parent is not None else None


async def run_alone(name: str, call: Callable[[], Any]) -> Any:
    """Outside an execution a step just runs."""
    refuse_lost_context(name)
    token = lone_step.set(name)
    try:
        value = call()
        return await value if inspect.isawaitable(value) else value
    finally:
        lone_step.reset(token)


def _decorated(fn: Callable[..., Any], name: str, options: Options) -> Callable[..., Any]:
    signature = inspect.signature(fn)

    @functools.wraps(fn)
    async def as_step(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        full = name.format(**bound.arguments) if "{" in name else name
        return await run(full, fn, args, options, functools.partial(fn, *args, **kwargs))

    return as_step
