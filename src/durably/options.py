"""A step's name and options as a caller writes them, and what is said of ones that can't work."""

# No `from __future__ import annotations`: NamedTuple compiles each annotation that is a string, at every cold start.

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypedDict, Unpack

from .redaction import patterns_of
from .retry import Retry

NAME_MAX = 512
"""Bytes of a step's name. It is stored with every entry and read by people."""


class StepOptions(TypedDict, total=False):
    """The options of a step as a caller writes them."""

    retry: Retry | None
    recover: Callable[..., Any] | None
    at_most_once: bool
    repeatable: bool
    returns: object
    reserve: timedelta | None
    record_args: bool
    redact: str | Sequence[str]


class Options(NamedTuple):
    """The options of one step. `returns` is the class its result comes back as."""

    retry: Retry | None = None
    recover: Callable[[], Any] | None = None
    at_most_once: bool = False
    repeatable: bool = False
    returns: object = None
    reserve: timedelta | None = None
    record_args: bool = False
    redact: str | Sequence[str] = ()
    """Names of fields and parameters (`*` and `?` as in file names) whose values are hidden in history."""

    @property
    def reserve_s(self) -> float | None:
        """`reserve` in seconds."""
        return None if self.reserve is None else self.reserve.total_seconds()

    @property
    def is_announced(self) -> bool:
        """Whether `started` is appended before the step runs."""
        return self.recover is not None or self.at_most_once


def make_options(**options: Unpack[StepOptions]) -> Options:
    """The options of a step, or a word on what is wrong with them."""
    unknown = set(options) - StepOptions.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"a step has no option {min(unknown)!r}; there are {', '.join(StepOptions.__annotations__)}. Arguments for the "
            "function are positional: step('name', fn, arg), or use functools.partial."
        )
    made = Options(**options)
    if made.redact:
        made = made._replace(redact=patterns_of(made))
    if made.reserve is not None and not isinstance(made.reserve, timedelta):
        raise TypeError(f"reserve={made.reserve!r}: durations are timedelta, for example timedelta(seconds=5).")
    if made.retry is not None and not isinstance(made.retry, Retry):
        raise TypeError(f"retry={made.retry!r}: write retry=Retry(3, on=ConnectionError).")
    if made.recover is not None and not callable(made.recover):
        raise TypeError(
            f"recover={made.recover!r}: pass a function without arguments, for example lambda: find_comment(pr)."
        )
    if made.at_most_once and made.retry is not None and made.recover is None:
        raise ValueError(
            "at_most_once=True with retry= would run the step again: add recover=, or drop one of the two."
        )
    if made.repeatable and made.is_announced:
        raise ValueError(
            "repeatable=True says the step has no side effect; recover= and at_most_once= are for one that has."
        )
    return made


def check_name(name: object) -> str:
    """The step's name. Raises TypeError or ValueError when it can't be one."""
    if not isinstance(name, str):
        raise TypeError(
            f"a step's name is a str, and {name!r} is {type(name).__name__}. Write step('name', fn, *args)."
        )
    if not name:
        raise ValueError("a step's name is empty. It is the step's identity: write step('name', fn, *args).")
    if len(name) > NAME_MAX // 4 and len(name.encode("utf-8", "surrogatepass")) > NAME_MAX:
        raise ValueError(
            f"the step name {name[:60]!r}… is longer than {NAME_MAX} bytes. Name the step by an id, or by a hash of the long part."
        )
    return name
