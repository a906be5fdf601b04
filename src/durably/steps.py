"""`step` in plain Python: the shell that does what a step's program asks for, one thing at a time."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack, overload

from . import hooks
from .attempt import Attempt
from .codec import returns_of
from .current import enter_try, leave_try, lone_step, refuse_lost_context, running
from .errors import LeaseLost, StoreError
from .journal import Frame
from .options import Options, StepOptions, check_name, make_options
from .program import Answer, Call, Pause, Program, Renew, Settle, replay, run_step
from .recording import arguments_text
from .redaction import patterns_of

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_PLAIN = Options()
_CO_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_CO_REFUSED = inspect.CO_COROUTINE | _CO_GENERATOR


class _Step:
    """`step(name, fn, *args, **options)`, `@step` and `@step.named(…)`."""

    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...

    @overload
    def __call__(
        self,
        name: str,
        fn: Callable[[*Ts], R],
        /,
        *args: *Ts,
        **options: Unpack[StepOptions],
    ) -> R: ...

    def __call__(  # type: ignore[misc]  # mypy can't match *args: Any with the overload's *Ts
        self, name: Any, fn: Any = None, /, *args: Any, **options: Unpack[StepOptions]
    ) -> Any:
        """Run `fn(*args)` as the step `name` and return its result; answer from the journal if it has an outcome.

        `retry`: in-process tries. `recover`: asked after a crash, it returns what it finds in the world or NOT_DONE.
        `at_most_once`: raise StepInterrupted rather than run again. `repeatable`: no side effect, so it may share an
        append. `returns`: the class the result comes back as, where `fn` has no return annotation. `reserve`: the time
        it must have before the deadline. `record_args`: keep the arguments in the journal. `redact`: names of fields
        whose values history hides; they are not stored with the arguments, and are with the result, which replays.

        Raises what `fn` raised, DuplicateStep, StepInterrupted, NotSerializable, or a stop signal: OutOfTime, LeaseLost,
        StoreError. As a bare decorator, the function's own name is the step's.
        """
        if fn is None and callable(name) and not args:
            if options:
                raise TypeError("step: options go to the named form: @step.named('name', …).")
            return _decorated(name, name.__name__, _PLAIN)
        if fn is None:
            raise TypeError(f"step({name!r}): the function to run is missing: step({name!r}, fn, *args).")
        return run(name, fn, args, make_options(**options) if options else _PLAIN)

    def named(self, name: str, /, **options: Unpack[StepOptions]) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function as a step whose name is a format string over its arguments: "thread/{path}:{line}"."""
        made = make_options(**options)
        check_name(name)
        return lambda fn: _decorated(fn, name, made)


step = _Step()


def refuse_async(name: str, fn: Callable[..., Any] | None) -> None:
    """Raise TypeError when a step's function, or its `recover`, is async or a generator, before it is called."""
    if _flags_of(fn) & _CO_REFUSED:
        refuse_generator(name, fn)
        raise TypeError(
            f"step {name!r} was given the async function {getattr(fn, '__qualname__', fn)!r} in plain code, which can't await "
            "it. Use the same names from durably.aio in async code."
        )


def refuse_generator(name: str, fn: Callable[..., Any] | None) -> None:
    """Raise TypeError for a generator function: called, it has done nothing yet, and there would be nothing to remember."""
    if _flags_of(fn) & _CO_GENERATOR:
        raise TypeError(
            f"step {name!r} was given the generator function {getattr(fn, '__qualname__', fn)!r}, whose body would not run inside "
            "the step. Let it return a list, or write step('name', lambda: list(fn(…)))."
        )


def _flags_of(fn: Callable[..., Any] | None) -> int:
    code = getattr(getattr(fn, "func", fn), "__code__", None)
    return 0 if code is None else code.co_flags


def run(
    name: str, fn: Callable[..., Any], args: tuple[Any, ...], options: Options, call: Callable[[], Any] | None = None
) -> Any:
    """Run one step in this context. `call` runs it when `fn(*args)` would not do; `fn` tells the result's class."""
    check_name(name)
    if not callable(fn):
        raise TypeError(f"step {name!r}: {fn!r} is not a function. Pass it uncalled: step({name!r}, fn, *args).")
    refuse_async(name, fn)
    if options.recover is not None:
        refuse_async(name, options.recover)
    call = call or functools.partial(fn, *args)
    here = running.get()
    if here is None:
        return _run_alone(name, call)
    frame = Frame(name, here.frame)
    answer = perform(here.attempt, frame, fn, call, options, args)
    if answer.error is not None:
        raise answer.error
    return answer.value


def perform(
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
        known, program = begin(attempt, frame, fn, options, args)
        if program is None:
            return known
        try:
            return _drive(attempt, frame, program, call, options, behind)
        finally:
            program.close()
            attempt.left_step(frame)
    except Exception as error:
        mark_stopped(attempt, frame, error)
        raise


def begin(
    attempt: Attempt, frame: Frame, fn: Callable[..., Any], options: Options, args: tuple[Any, ...]
) -> tuple[Answer, Program | None]:
    """Use the step's name: its remembered answer, or the program that runs it, after which `left_step` is due."""
    outcome = attempt.find(frame)
    returns = returns_of(fn) if options.returns is None else options.returns
    if outcome is not None:
        if hooks.watching:
            hooks.tell(hooks.StepReplayed(attempt.head, outcome))
        return replay(attempt, frame, outcome, returns), None
    arguments = ""
    if options.record_args:
        arguments = arguments_text(attempt.codec, fn, args, (*patterns_of(attempt.store, options),))
    return Answer(None), run_step(attempt, frame, options, returns, arguments)


def mark_stopped(attempt: Attempt, frame: Frame, error: BaseException | None) -> None:
    """The step ended with the stop signal, so the steps around it are built on a hole."""
    parent = frame.parent if error is not None and error is attempt.stopped else None
    while parent is not None:
        parent.stopped = True
        parent = parent.parent


def _drive(
    attempt: Attempt, frame: Frame, program: Program, call: Callable[[], Any], options: Options, behind: int
) -> Answer:
    answer: Any = None
    try:
        while True:
            request = program.send(answer)
            answer = None
            if type(request) is Call:
                fn = options.recover if request.recover and options.recover is not None else call
                answer = _call(attempt, frame, fn, request.recover)
            elif type(request) is Settle:
                _settle(attempt, request, behind)
            elif type(request) is Pause:
                attempt.clock.sleep(request.seconds)
            elif type(request) is Renew:
                attempt.renew()
    except StopIteration as done:
        result: Answer = done.value
        mark_stopped(attempt, frame, result.error)
        return result


def _call(attempt: Attempt, frame: Frame, fn: Callable[[], Any], recover: bool) -> tuple[Any, Exception | None]:
    token, failure = enter_try(attempt, frame, recover), None
    try:
        value = fn()
    except BaseException as error:
        failure = error
        if not isinstance(error, Exception):
            raise
        return None, error
    finally:
        leave_try(attempt, frame, recover, token, failure)
        failure = None  # or this frame and the exception would hold each other until the collector comes
    if inspect.iscoroutine(value):
        value.close()
        told = f"step {frame.step!r} returned a coroutine, which plain code can't await. Use the same names from durably.aio."
        return None, TypeError(told)
    return value, None


def _settle(attempt: Attempt, request: Settle, behind: int) -> None:
    if not behind or request.took_s is None or not attempt.appender.lets_run_ahead(request.took_s):
        return attempt.settle(request.mark)
    try:
        attempt.appender.settle_in_passing(request.mark, behind=behind)
    except (LeaseLost, StoreError) as error:
        raise attempt.stop(error) from None


def _run_alone(name: str, call: Callable[[], Any]) -> Any:
    refuse_lost_context(name)
    token = lone_step.set(name)
    try:
        return call()
    finally:
        lone_step.reset(token)


def _decorated(fn: Callable[P, R], name: str, options: Options) -> Callable[P, R]:
    refuse_async(name, fn)
    signature = inspect.signature(fn)
    is_template = "{" in name

    @functools.wraps(fn)
    def as_step(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R
        if not is_template and running.get() is None:
            result = _run_alone(name, functools.partial(fn, *args, **kwargs))
            return result
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        full = name.format(**bound.arguments) if is_template else name
        result = run(full, fn, args, options, functools.partial(fn, *args, **kwargs))
        return result

    return as_step
