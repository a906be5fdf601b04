"""`resolve` and `cancel`: an operator says what a step came to, or that an execution is over."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ..entries import Ending, Entry, Head, Segment
from ..errors import DurablyError
from ..stores.protocol import Store
from .actions_given import json_of, outcome_payload, raw_payload, refuse_other_codec
from .actions_lease import act, read_head, read_journal, refuse_if_held, take

NAMES_SHOWN = 12


def cancel(store: Store, execution: str) -> Head:
    """Close an execution for good, also while an attempt runs: it stops at its next append or renewal, which is refused.

    A later delivery runs nothing and raises DurablyError; a redrive opens it again. Raises when it is finished already.
    """
    head = read_head(store, execution)
    if head.status in ("completed", "failed", "cancelled"):
        raise DurablyError(
            f"execution {head.id!r} is {head.status} already, so nothing of it will run. Nothing was changed."
        )
    return act(take(store, head, seize=True), Ending("cancelled", "cancelled by hand"))


def resolve(
    store: Store, execution: str, step: str, *, result: str | None = None, run_again: bool = False, raw: bool = False
) -> Head:
    """Say what a step without a result came to: `result`, as JSON text, or that it is to run again.

    The text may be what `durably show` prints of such a result, with the codec's marks, where it is no plain data. `raw`: it
    is the text that the function's own codec= writes, and is stored as it is.

    For a step that was interrupted (begun, no outcome: only the world knows whether its effect happened) and for one whose
    failure stands. The execution then waits to be redriven, also when it had failed or was cancelled. Raises DurablyError
    for a step that has a result or is not in the journal, and while an attempt runs.
    """
    if (result is None) is not run_again:
        raise DurablyError("say either the step's result, or that it is to run again.")
    payload = None if result is None else _payload(result, raw)
    head = read_head(store, execution)
    if head.status == "completed":
        raise DurablyError(
            f"execution {head.id!r} is completed. Fork it to run it another way: durably fork {shlex.quote(head.id)} --from STEP"
        )
    refuse_if_held(store, head, "Wait until it ends, or cancel it first.")

    def decide(segments: Sequence[Segment]) -> tuple[Entry, ...]:
        if payload is not None and not raw:
            refuse_other_codec(head.id, (entry for segment in segments for entry in segment.entries))
        return settling(head.id, segments, step, payload)

    decide(read_journal(store, head))  # what can't be is refused before anything is written
    told = f"{step!r} is to run again, by hand" if run_again else f"{step!r} resolved by hand"
    return act(take(store, head), Ending("waiting", told), decide)


def _payload(result: str, raw: bool) -> str:
    return raw_payload(result, "the result") if raw else outcome_payload(json_of(result, "the result"), "the result")


def settling(execution: str, segments: Sequence[Segment], step: str, payload: str | None) -> tuple[Entry, ...]:
    """PURE: the entries that give the step this result, or with None let it run again. Raises DurablyError."""
    names: dict[str, None] = {}
    outcome, is_started = None, False
    redact: tuple[str, ...] = ()
    within = ""
    for entry in (entry for segment in segments for entry in segment.entries if entry.kind != "began"):
        names[entry.step] = None
        if entry.step != step:
            continue
        redact, within = entry.redact or redact, entry.within or within
        if entry.kind in ("result", "error"):
            outcome = outcome or entry
        elif entry.kind == "started":
            is_started = True
        else:
            outcome, is_started = None, is_started and entry.kind != "forgotten"
    if step not in names:
        raise DurablyError(
            f"execution {execution!r} has no step {step!r} in its journal. It has: {listed(list(names))}."
        )
    if outcome is not None and outcome.kind == "result":
        raise DurablyError(
            f"step {step!r} of execution {execution!r} has a result, and a result is never taken back. To run on with another, "
            f"fork: durably fork {shlex.quote(execution)} --from STEP --outcome {shlex.quote(step + '=…')}"
        )
    if payload is None:
        if outcome is None and not is_started:
            raise DurablyError(
                f"step {step!r} of execution {execution!r} has no outcome, so the next attempt runs it anyway."
            )
        return (Entry("forgotten", step),)
    result = Entry("result", step, payload, within=within, redact=redact)
    return (result,) if outcome is None else (Entry("forgotten", step), result)


def listed(names: list[str]) -> str:
    """Names for an error's text, the first of them."""
    shown = ", ".join(repr(name) for name in names[:NAMES_SHOWN]) or "none"
    return shown + (f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else "")
