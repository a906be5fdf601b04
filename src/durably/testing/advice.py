"""What would close the window in which an effect happens twice: `recover`, `at_most_once`, an idempotency key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .stories import Story

OUTSIDE = "outside any step"


def place_of(steps: Sequence[str]) -> str:
    """The step an effect happened in: the innermost; a fan-out's items as one."""
    if not steps:
        return OUTSIDE
    family, bracket, _ = steps[-1].partition("[")
    return f"{family}[…]" if bracket else family


def cure(steps: Sequence[str], stories: Iterable[Story], *, is_race: bool) -> str:
    """What to do about an effect that happened too often, by what its step was seen to have."""
    if not steps:
        return "put it into a step(…), which replays; recover= if it must not happen twice even then"
    runs = [run for story in stories for run in story.runs]
    is_asked = any(steps[-1] in run.steps.recovering for run in runs)
    is_announced = any(steps[-1] in run.steps.announced for run in runs)
    if any(story.forgotten for story in stories):
        return (
            "its step's name changes between attempts: name it by something of the event's own, not by clock or chance"
        )
    if is_race:
        return "an idempotency key (current_step().idempotency_key), if the API takes one, and a client timeout below the lease"
    if is_asked:
        return "its recover= did not find it: let it look for what the step's function does"
    if is_announced:
        return "at_most_once=True did not hold: the effect happens elsewhere too"
    return (
        "recover= if it can be looked for; an idempotency key (current_step().idempotency_key) if the API takes one; "
        "at_most_once=True if never is better than twice"
    )
