"""In-process retry of one step: which exceptions are worth another try, and how long to wait before it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .errors import STOP_SIGNALS, Fatal

When = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]


class Retry:
    """Try a step up to `attempts` times in this process, for the exceptions `on` names: classes or a predicate.

    The waits are `delay`, then `factor` times the last, at most `max_delay`; `jitter` is the part of each that is drawn at
    random (1: anything from 0 to the whole, 0: exactly). An exception's own `retry_after` (seconds or a timedelta) is
    the least that is waited. `on` has no default, so that a TypeError is not tried six times. Fatal and stop signals
    are never retried. A wait that would cross the deadline is not begun: OutOfTime, and the next attempt goes on.
    """

    __slots__ = ("attempts", "delay", "factor", "jitter", "max_delay", "on")

    def __init__(
        self,
        attempts: int,
        *,
        on: When,
        delay: timedelta = timedelta(seconds=1),
        factor: float = 2.0,
        max_delay: timedelta = timedelta(seconds=30),
        jitter: float = 1.0,
    ) -> None:
        self.attempts = attempts
        self.on = on
        self.delay = delay
        self.factor = factor
        self.max_delay = max_delay
        self.jitter = jitter
        self._refuse_nonsense()

    def _refuse_nonsense(self) -> None:
        """Refuse what could never work, where it is written and not on the first failure."""
        if type(self.attempts) is not int or self.attempts < 1:
            raise ValueError(f"Retry(attempts={self.attempts!r}): the number of tries in all, the first one included.")
        for name in ("delay", "max_delay"):
            if not isinstance(getattr(self, name), timedelta) or getattr(self, name) < timedelta(0):
                raise TypeError(f"Retry({name}={getattr(self, name)!r}): write a timedelta, e.g. timedelta(seconds=2).")
        if type(self.factor) not in (int, float) or self.factor <= 0:
            raise TypeError(f"Retry(factor={self.factor!r}): the number each wait is multiplied by, for example 2.")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"Retry(jitter={self.jitter!r}): a part of each wait, from 0 to 1.")
        if not callable(self.on) and not isinstance(self.on, tuple):
            raise TypeError(f"Retry(on={self.on!r}): name exception classes, or a function that takes the exception.")

    def wait_after(self, tries: int, error: Exception) -> float | None:
        """Seconds to wait before the next try after that many, or None when there is none."""
        if tries >= self.attempts or isinstance(error, (Fatal, *STOP_SIGNALS)) or not self._is_worth_it(error):
            return None
        try:
            grown = self.delay.total_seconds() * self.factor ** (tries - 1)
        except OverflowError:
            grown = self.max_delay.total_seconds()
        wait = min(grown, self.max_delay.total_seconds())
        wait -= wait * self.jitter * random.random()
        return max(wait, _retry_after(error))

    def _is_worth_it(self, error: Exception) -> bool:
        if isinstance(self.on, (tuple, type)):
            return isinstance(error, self.on)
        return bool(self.on(error))


def _retry_after(error: Exception) -> float:
    value: Any = getattr(error, "retry_after", None)
    if isinstance(value, timedelta):
        return max(0.0, value.total_seconds())
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        return 0.0
