"""What would close the window in which an effect happens twice: `recover`, `at_most_once`, an idempotency key."""

from __future__ import annotations

from collections.abc import Sequence

from .stories import Story

OUTSIDE = "outside any step"
ON_A_RETRY = "only on a retry"
UNFORESEEN = (
    "undisturbed it never happens: look for a recover= that does more than look, or a branch on what happened before"
)


def place_of(steps: Sequence[str]) -> str:
    """The step an effect happened in: the innermost; a fan-out's items as one."""
    if not steps:
        return OUTSIDE
    family, bracket, _ = steps[-1].partition("[")
    return f"{family}[…]" if bracket else family


def cure(steps: Sequence[str], stories: Sequence[Story]) -> str:
    """What to do about an effect that happened too often, by what its step was seen to have."""
    if not steps:
        return "put it into a step(…), which replays; recover= if it must not happen twice even then"
    runs = [run for story in stories for run in story.runs]
    is_asked = any(steps[-1] in run.steps.recovering for run in runs)
    is_announced = any(steps[-1] in run.steps.announced for run in runs)
    if any(story.forgotten and steps[-1] not in {step for _, step in story.asked} for story in stories):
        return (
            "its step's name changes between attempts: name it by something of the event's own, not by clock or chance"
        )
    if any(_was_inside(story) for story in stories):
        return "an idempotency key (current_step().idempotency_key), if the API takes one, and a client timeout below the lease"
    if is_asked:
        return "its recover= did not find it: let it look for what the step's function does"
    if is_announced:
        return "at_most_once=True did not hold: the effect happens elsewhere too"
    return (
        "recover= if it can be looked for; an idempotency key (current_step().idempotency_key) if the API takes one; "
        "at_most_once=True if never is better than twice"
    )


def _was_inside(story: Story) -> bool:
    """Whether an attempt was held in a call while the other went on: what it does then, no look-up can foresee."""
    return any(run.held_at is not None and run.held_at.kind != "write" for run in story.runs)
