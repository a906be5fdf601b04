"""One step as a sequence of requests to whoever runs it: the semantics once, for plain and for async code.

`run_step` is a generator. It asks for one thing at a time (call the function, make entries durable, wait, renew the
lease) and is sent what came of it; the shells in `steps` and in async code do only that. It ends with an `Answer`.
"""

# No `from __future__ import annotations`: NamedTuple compiles each annotation that is a string, at every cold start.

from collections.abc import Generator
from typing import Any, NamedTuple

from . import hooks
from .attempt import Attempt
from .codec import Unencodable, decode_exception, encode_exception
from .entries import Entry, Kind
from .errors import STOP_SIGNALS, NotSerializable, StepInterrupted
from .journal import Frame
from .options import Options
from .outcomes import encode_result


class _NotDone:
    """What `recover` returns when the effect did not happen: `NOT_DONE`."""

    def __repr__(self) -> str:
        return "NOT_DONE"

    def __reduce__(self) -> str:
        return "NOT_DONE"  # copies and pickles are this very object: `recover` is asked by identity


NOT_DONE = _NotDone()


class Call(NamedTuple):
    """Call the function, or `recover`; answered with (value, exception)."""

    recover: bool


class Settle(NamedTuple):
    """Return when everything up to the mark is durable. After an outcome, the item of a fan-out may go on before that."""

    mark: int
    took_s: float | None = None
    """How long the step took, when the mark is its outcome's."""


class Pause(NamedTuple):
    """Wait before the next try."""

    seconds: float


class Renew(NamedTuple):
    """Renew the lease before going on."""


Request = Call | Settle | Pause | Renew


class Answer(NamedTuple):
    """What a step ended with, for its caller: a value, or an exception to raise."""

    value: Any
    error: BaseException | None = None


Program = Generator[Request, Any, Answer]


def replay(attempt: Attempt, frame: Frame, outcome: Entry, returns: object) -> Answer:
    """The answer of a remembered outcome."""
    if outcome.kind == "error":
        error = decode_exception(outcome.payload, attempt.codec)
        with attempt.lock:
            attempt.journal.raised(outcome.step, error, frame.lane, permanent=outcome.permanent)
        return Answer(None, error)
    try:
        return Answer(attempt.codec.decode(outcome.payload, returns))
    except Unencodable as why:
        what = f"the remembered result of step {outcome.step!r} in execution {attempt.head.id!r}"
        # No outcome, and not the step's failure: the code here can't read what is stored, and a later deploy may.
        return Answer(None, attempt.stop(NotSerializable(what, why.path, why.type_name, why.why)))


def run_step(attempt: Attempt, frame: Frame, options: Options, returns: object, arguments: str = "") -> Program:
    """Run a step that has no outcome. The caller has used its name (`Attempt.find`) and calls `left_step` after.

    `returns` is the annotation that its result comes back by; `arguments` their text, when they are recorded.
    """
    step = frame.step
    attempt.refuse_if_late(step, options.reserve_s)
    if attempt.needs_renewal():
        yield Renew()
    attempt.count_begun(frame)
    began = attempt.clock.now()
    frame.redact = (*options.redact,)
    if hooks.watching:
        hooks.tell(hooks.StepBegan(attempt.head, step, _within(frame)))
    ask_first = attempt.journal.was_started(step)
    if ask_first and options.at_most_once and options.recover is None:
        return _failed(attempt, frame, StepInterrupted(attempt.head.id, step), began)
    if not options.repeatable:
        mark = _announce(attempt, frame, options, began, arguments)
        if mark:
            yield Settle(mark)
    answer = yield from _tries(attempt, frame, options, ask_first=ask_first)
    recorded = "" if options.is_announced else arguments
    if answer.error is not None:
        if attempt.stopped is not None or isinstance(answer.error, STOP_SIGNALS):
            return answer
        return _failed(attempt, frame, answer.error, began, recorded)
    return (yield from _succeeded(attempt, frame, options, returns, answer.value, began, recorded))


def _announce(attempt: Attempt, frame: Frame, options: Options, began: float, arguments: str) -> int:
    """The mark to settle before an effect: earlier pending entries, and this step's `started` in the same append."""
    mark = attempt.appender.release(frame.lanes())
    if options.is_announced and not attempt.journal.was_started(frame.step):
        number, within = attempt.head.attempt, _within(frame)
        entry = Entry(
            "started", frame.step, "", number, began, began, within=within, arguments=arguments, redact=frame.redact
        )
        return attempt.remember(entry)
    return mark


def _tries(attempt: Attempt, frame: Frame, options: Options, *, ask_first: bool) -> Generator[Request, Any, Answer]:
    while True:
        frame.tries += 1
        if attempt.needs_renewal():
            yield Renew()
        answer = yield from _try(attempt, frame, options, ask_first=ask_first)
        if answer.error is None or attempt.stopped is not None:
            return answer
        error: Any = answer.error
        wait = options.retry.wait_after(frame.tries, error) if options.retry else None
        if wait is None:
            return answer
        attempt.refuse_if_late(frame.step, options.reserve_s, wait, cause=error)
        with attempt.lock:
            attempt.appender.hold(attempt.journal.retry(frame), frame.lane)
        yield Pause(wait)
        attempt.refuse_if_late(frame.step, options.reserve_s, cause=error)
        # An answer that timed out is a small crash: ask again before every further try.
        ask_first = options.recover is not None


def _try(attempt: Attempt, frame: Frame, options: Options, *, ask_first: bool) -> Generator[Request, Any, Answer]:
    if ask_first and options.recover is not None:
        value, error = yield Call(recover=True)
        if error is not None and not _will_retry(options, frame.tries, error):
            # Not knowing is a failed attempt, never NOT_DONE and never an outcome.
            return Answer(None, attempt.stop(error))
        if error is not None or value is not NOT_DONE:
            return Answer(value, error)
        # Asking may have taken long: another attempt may have taken over meanwhile, and run what is about to be run here.
        attempt.refuse_if_late(frame.step, options.reserve_s)
        if attempt.needs_renewal():
            yield Renew()
    value, error = yield Call(recover=False)
    if isinstance(error, STOP_SIGNALS):
        return Answer(None, attempt.stop(error))
    if frame.stopped and attempt.stopped is not None:
        return Answer(None, attempt.stopped)
    return Answer(value, error)


def _will_retry(options: Options, tries: int, error: Exception) -> bool:
    return options.retry is not None and options.retry.wait_after(tries, error) is not None


def _succeeded(
    attempt: Attempt, frame: Frame, options: Options, returns: object, value: object, began: float, arguments: str
) -> Generator[Request, Any, Answer]:
    """Store the result and answer with what a replay would read: the same bytes decoded."""
    what = f"the result of step {frame.step!r} in execution {attempt.head.id!r}"
    try:
        payload, shown = encode_result(attempt.codec, value, returns, what)
    except NotSerializable as error:
        # A repeatable step has no effect to protect, so its failure is like any other.
        if not options.repeatable:
            error = error.for_good()
        answer = _failed(attempt, frame, error, began, arguments, permanent=not options.repeatable)
        if not options.repeatable:
            yield Settle(attempt.appender.release(frame.lanes()))
        return answer
    entry = _outcome("result", attempt, frame, payload, began, arguments)
    if options.repeatable:
        attempt.remember_pending(entry, frame.lane)
    else:
        yield Settle(attempt.remember(entry), entry.ended - entry.began)
    frame.outcome = entry
    return Answer(shown)


def _failed(
    attempt: Attempt, frame: Frame, error: BaseException, began: float, arguments: str = "", *, permanent: bool = False
) -> Answer:
    """Record a failure. It is pending: it becomes history when the code goes on, or is taken back when it leaves."""
    payload = encode_exception(error, attempt.codec)
    entry = _outcome("error", attempt, frame, payload, began, arguments, permanent=permanent)
    attempt.remember_pending(entry, frame.lane)
    with attempt.lock:
        attempt.journal.raised(frame.step, error, frame.lane, permanent=permanent)
    frame.outcome, frame.error = entry, error
    return Answer(None, error)


def _outcome(
    kind: Kind,
    attempt: Attempt,
    frame: Frame,
    payload: str,
    began: float,
    arguments: str = "",
    *,
    permanent: bool = False,
) -> Entry:
    ended, tries = attempt.clock.now(), max(1, frame.tries)
    within, number = _within(frame), attempt.head.attempt
    return Entry(kind, frame.step, payload, number, began, ended, tries, permanent, within, arguments, frame.redact)


def _within(frame: Frame) -> str:
    """The name of the step around this one."""
    parent = frame.parent.named() if frame.parent is not None else None
    return parent.step if parent is not None else ""
