"""What is done to an event on purpose, and where in a step: `before:STEP`, `after:STEP`, `after:STEP@2`."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

PLACES = {"before": "TryBegan", "after": "TryEnded"}


class Stop(NamedTuple):
    """A place in a step, and what happens there: SIGKILL to its own process, or it stands still until it is let go on.

    `after` is after the effect and before the checkpoint. A fan-out's name means the first of its items to come there.
    """

    place: Literal["before", "after"]
    step: str
    attempt: int | None = 1
    """Which of Lambda's attempts; None for every one."""
    how: Literal["crash", "pause"] = "crash"

    def __str__(self) -> str:
        which = {None: "@every", 1: ""}.get(self.attempt, f"@{self.attempt}")
        return f"{self.place}:{self.step}{which}"

    @property
    def order(self) -> dict[str, Any]:
        """As the process is told."""
        return {"what": PLACES[self.place], "step": self.step, "how": self.how}


def stop_at(text: str, how: Literal["crash", "pause"] = "crash") -> Stop:
    """Read `before:STEP`, `after:STEP@2` or `after:STEP@every`. Raises ValueError."""
    place, colon, rest = text.partition(":")
    step, at, attempt = rest.rpartition("@")
    if not at or not (attempt.isdecimal() or attempt == "every"):
        step, attempt = rest, "1"
    if place not in ("before", "after") or not colon or not step:
        raise ValueError(
            f"{text!r} is no place to stop: write before:STEP or after:STEP, with @2 for the second attempt."
        )
    which = None if attempt == "every" else int(attempt)
    return Stop("before" if place == "before" else "after", step, which, how)


class Mischief(NamedTuple):
    """What is done to one event on purpose."""

    stops: tuple[Stop, ...] = ()
    kill_after_s: float | None = None
    """SIGKILL so long after the handler was called, in the first attempt."""
    duplicate: bool = False
    """The event is delivered to a second sandbox while the first runs."""
    zombie: bool = False
    """The first attempt is reported as timed out, and its process lives on. With a stop that pauses it, from there on."""

    def stops_of(self, attempt: int) -> tuple[Stop, ...]:
        """Those that this attempt comes to."""
        return tuple([stop for stop in self.stops if stop.attempt in (None, attempt)])


NO_MISCHIEF = Mischief()
