"""How one execution is to be run: what the decorator, the block or the caller said, and the defaults of what they did not."""

# No `from __future__ import annotations`: NamedTuple compiles each annotation that is a string, at every cold start.

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from .attempt import patience_s
from .codec import JSON, Codec
from .stores.protocol import Store

LEASE = timedelta(seconds=30)
"""Shorter than Lambda's first retry, which comes after 60 s (AWS Lambda guide: retries of asynchronous invocations)."""

EXPIRES = timedelta(days=30)
"""Twice the longest time a source keeps an event for redelivery (SQS: 14 days)."""


class Plan(NamedTuple):
    """How one execution is to be run: what the decorator or the caller said."""

    id: str
    store: Store
    codec: Codec = JSON
    lease: timedelta = LEASE
    expires: timedelta | None = EXPIRES
    wait: timedelta | None = None
    reserve: timedelta | None = None
    remaining: Callable[[], float] | None = None
    """Seconds to the deadline, read anew at each call."""
    returns: object = None
    function: str = ""
    qualname: str = ""
    source: str = ""
    fingerprint: str = ""
    request_id: str = ""
    event: str | None = None

    def reserve_s(self) -> float:
        """`reserve`, or the smaller of 1 s and 10 % of the time there is now."""
        if self.reserve is not None:
            return self.reserve.total_seconds()
        return 0.0 if self.remaining is None else min(1.0, max(0.0, self.remaining()) * 0.1)

    def until(self) -> float:
        """The monotonic instant up to which the store may be asked again."""
        return self.store.clock.monotonic() + patience_s(self.remaining)


def refuse_durations(what: str, lease: object, expires: object, wait: object, reserve: object) -> None:
    """Raise TypeError or ValueError for a duration that can't be meant, where it is written and not at the claim."""
    for option, value in (("lease", lease), ("expires", expires), ("wait", wait), ("reserve", reserve)):
        if (value is not None or option == "lease") and not isinstance(value, timedelta):
            raise TypeError(f"{what}({option}={value!r}): durations are timedelta, for example timedelta(seconds=30).")
    if isinstance(lease, timedelta) and lease <= timedelta(0):
        raise ValueError(f"{what}(lease={lease!r}): a lease lasts some time; the default is 30 seconds.")
