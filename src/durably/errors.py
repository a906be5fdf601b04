"""Every exception durably raises, each saying what happened, where, and what to do next.

The arguments are the data and the text is made in `__str__`, so an error pickles and its fields can be read.
"""

from __future__ import annotations


class DurablyError(Exception):
    """The base of every error durably raises; also raised itself where no caller would act differently."""


class ExecutionInProgress(DurablyError):
    """Another attempt of this execution holds the lease. Nothing was run."""

    def __init__(self, execution: str, attempt: int = 0, seconds_left: float = 0.0) -> None:
        super().__init__(execution, attempt, seconds_left)
        self.execution = execution
        self.attempt = attempt
        self.seconds_left = seconds_left

    def __str__(self) -> str:
        return (
            f"execution {self.execution!r} is in progress: attempt {self.attempt} holds its lease for another "
            f"{self.seconds_left:.0f} s. Nothing was run. Let the trigger deliver the event again, or give the "
            "decorator wait= to wait here for the holder's result."
        )


class LeaseLost(DurablyError):
    """This attempt no longer holds its execution's lease, so it can append nothing more. A stop signal."""

    def __init__(self, execution: str, attempt: int = 0, why: str = "another attempt or an operator took over") -> None:
        super().__init__(execution, attempt, why)
        self.execution = execution
        self.attempt = attempt
        self.why = why

    def __str__(self) -> str:
        return (
            f"attempt {self.attempt} of execution {self.execution!r} lost its lease: {self.why}. It can change nothing more; "
            "what it stored is kept, for whoever goes on. If nobody cancelled it and this happens often, give @durable a longer "
            "lease=."
        )


class StepInterrupted(DurablyError):
    """An `at_most_once` step was begun by an attempt that died or failed before its outcome was stored."""

    def __init__(self, execution: str, step: str) -> None:
        super().__init__(execution, step)
        self.execution = execution
        self.step = step

    def __str__(self) -> str:
        return (
            f"step {self.step!r} of execution {self.execution!r} was begun by an earlier attempt and left no result, so its "
            "effect may or may not have happened; at_most_once=True forbids running it again. Look in the outside world, "
            "then give the step recover=, which returns what it finds there or NOT_DONE."
        )


class DuplicateStep(DurablyError):
    """One step name was used twice in one attempt."""

    def __init__(self, execution: str, step: str, hint: str = "") -> None:
        super().__init__(execution, step, hint)
        self.execution = execution
        self.step = step
        self.hint = hint

    def __str__(self) -> str:
        advice = self.hint or "Give each call its own name, for example step(f'" + self.step + "/{item.id}', …)."
        return f"step {self.step!r} was used twice in execution {self.execution!r}. A step's name is its identity. {advice}"


class NotSerializable(DurablyError):
    """A result that can't be stored: no JSON form, no class to come back as, or too large.

    For a step this is an outcome that is never taken back: its effect happened, so it is not repeated.
    """

    def __init__(self, what: str, path: str = "", type_name: str = "", why: str = "") -> None:
        super().__init__(what, path, type_name, why)
        self.what = what
        self.path = path
        self.type_name = type_name
        self.why = why

    def for_good(self) -> NotSerializable:
        """The same, of a step whose effect has happened: it is the step's outcome, and never taken back."""
        kept = "The effect has happened, so this is the step's outcome for good and it is not run again."
        return NotSerializable(self.what, self.path, self.type_name, f"{self.why.rstrip('.')}. {kept}")

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        kind = f" ({self.type_name})" if self.type_name else ""
        return f"{self.what} can't be stored{where}{kind}: {self.why}"


class OutOfTime(DurablyError):
    """Too little time remains before the deadline to begin a step, or a further try of one. A stop signal."""

    def __init__(self, execution: str, step: str, remaining: float, reserve: float, first: bool = False) -> None:
        super().__init__(execution, step, remaining, reserve, first)
        self.execution = execution
        self.step = step
        self.remaining = remaining
        self.reserve = reserve
        self.first = first

    def __str__(self) -> str:
        told = (
            f"step {self.step!r} of execution {self.execution!r} was not begun: {self.remaining:.1f} s remain before the "
            f"deadline and reserve is {self.reserve:.1f} s. "
        )
        if self.first:
            return (
                told
                + "It was the attempt's first step, so no attempt can get further: raise the timeout or lower reserve."
            )
        return told + "What is done is kept, and the next attempt goes on from here."


class NoIdentity(DurablyError):
    """The event has no id that would be the same on a redelivery."""

    def __init__(self, why: str, looked_for: tuple[str, ...] = ()) -> None:
        super().__init__(why, looked_for)
        self.why = why
        self.looked_for = looked_for

    def __str__(self) -> str:
        looked = f" Looked for: {'; '.join(self.looked_for)}." if self.looked_for else ""
        return f"{self.why}{looked} Or say it yourself: @durable(id=lambda event, context: …)."


class StoreError(DurablyError):
    """The store can't be used, or did not answer in the time there was. A stop signal inside an attempt."""


class Fatal(Exception):
    """Raise it, or a subclass, and no later attempt runs the handler again: the failure is remembered."""


STOP_SIGNALS = (OutOfTime, LeaseLost, StoreError)
"""Never an outcome, never retried, and sticky: after the first, every step of the attempt raises it again."""


def is_fatal(error: BaseException) -> bool:
    """Whether no later attempt may run: the exception is Fatal, or a group with one in it."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_fatal(one) for one in error.exceptions)
    return isinstance(error, Fatal)
