"""`durably fork`, `resolve` and `cancel`: one execution taken in hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..entries import Head
from ..history import actions
from ..history.actions_given import given_event, has_become_plain, json_of
from ..history.actions_lease import read_journal
from ..stores.protocol import Store
from .output import clean, console, print_json, quoted
from .shared import find_id, takes_json, takes_store


@click.command()
@click.argument("id")
@click.option("--from", "step", required=True, metavar="STEP", help="the first step that is run again")
@click.option(
    "--event", "event_file", type=click.File("r"), metavar="FILE", help="another input event (JSON; - for stdin)"
)
@click.option(
    "--event-id", metavar="ID", help="the id that the handler finds in that event, if it has an id= of its own"
)
@click.option(
    "--outcome", "outcomes", multiple=True, metavar="STEP=JSON", help="another result of a step; may be repeated"
)
@click.option("--raw", is_flag=True, help="outcomes are STEP=TEXT, as the function's own codec= writes it")
@takes_json
@takes_store
def fork(
    store: Store,
    id: str,
    step: str,
    event_file: Any,
    event_id: str | None,
    outcomes: tuple[str, ...],
    raw: bool,
    as_json: bool,
) -> None:
    """A new execution that keeps the outcomes before STEP. The original is not changed.

    It waits until it is redriven. Its event is the original's under an id of its own, so that it finds the fork.
    """
    event = None if event_file is None else given_event(event_file.read(), f"the event in {Path(event_file.name).name}")
    edited = dict((_raw_outcome if raw else _outcome)(text) for text in outcomes)
    whole = find_id(store, id, acting=True)
    made = actions.fork(store, whole, step, event=event, event_id=event_id, outcomes=edited, raw=raw)
    if as_json:
        kept = {"kept": list(made.kept), "edited": list(made.edited), "plain": list(made.plain)}
        print_json({**told(made.head), **kept})
        return
    out = console()
    out.print(f"forked  {clean(made.head.id)}", soft_wrap=True)
    out.print(f"kept    {_names(made.kept)}", soft_wrap=True)
    if made.edited:
        out.print(f"edited  {_names(made.edited)}", soft_wrap=True)
    for name in made.plain:
        out.print(_became_plain(name), style="yellow", soft_wrap=True)
    out.print(f"next    durably redrive {quoted(made.head.id)}", style="dim", soft_wrap=True)


@click.command()
@click.argument("id")
@click.argument("step")
@click.option("--result", metavar="JSON", help="what the step returned, as `show` would print it")
@click.option("--run-again", is_flag=True, help="its effect did not happen: the next attempt runs it")
@click.option("--raw", is_flag=True, help="the result is a text as the function's own codec= writes it")
@takes_json
@takes_store
def resolve(store: Store, id: str, step: str, result: str | None, run_again: bool, raw: bool, as_json: bool) -> None:
    """Settle a step by hand: one that was interrupted, or whose failure stands."""
    if (result is None) is not run_again:
        raise click.UsageError("say either --result JSON or --run-again.")
    whole = find_id(store, id, acting=True)
    head = actions.resolve(store, whole, step, result=result, run_again=run_again, raw=raw)
    is_plain = not raw and _has_become_plain(store, head, step)
    if as_json:
        print_json({**told(head), "step": step, "run_again": run_again, "plain": is_plain})
        return
    what = "is to run again" if run_again else "has the result you gave"
    console().print(f"step {clean(step)!r} {what}; the execution waits", soft_wrap=True)
    if is_plain:
        console().print(_became_plain(step), style="yellow", soft_wrap=True)
    console().print(f"next    durably redrive {quoted(head.id)}", style="dim", soft_wrap=True)


@click.command()
@click.argument("id")
@takes_json
@takes_store
def cancel(store: Store, id: str, as_json: bool) -> None:
    """Close an execution. An attempt that runs stops at its next step after a heartbeat; no later one begins."""
    head = actions.cancel(store, find_id(store, id, acting=True))
    if as_json:
        print_json(told(head))
    else:
        console().print(f"cancelled  {clean(head.id)}", soft_wrap=True)


def told(head: Head) -> dict[str, Any]:
    """What every action tells of the execution in JSON."""
    return {"id": head.id, "status": head.status, "attempt": head.attempt, "function": head.function}


def _has_become_plain(store: Store, head: Head, step: str) -> bool:
    """Whether the result just given is plain data, and an earlier one of the step was more."""
    entries = [entry for segment in read_journal(store, head) for entry in segment.entries if entry.step == step]
    return bool(entries) and entries[-1].kind == "result" and has_become_plain(entries, step, entries[-1].payload)


def _became_plain(step: str) -> str:
    return (
        f"note: step {clean(step)!r} returned more than plain data before, and what you gave is plain. `durably show` prints the "
        "form that brings its class back."
    )


def _raw_outcome(text: str) -> tuple[str, str]:
    step, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--outcome {clean(text)!r}: write STEP=TEXT.")
    return step, value


def _outcome(text: str) -> tuple[str, Any]:
    step, equals, value = text.partition("=")
    while equals and not _is_json(value):  # a step's own name may have "=" in it
        more, equals, value = value.partition("=")
        step = f"{step}={more}"
    if not equals:
        raise click.UsageError(
            f"--outcome {clean(text)!r}: write STEP=JSON, for example --outcome 'fetch={{\"n\": 1}}'."
        )
    return step, json_of(value, f"the outcome of {step!r}")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(clean(name) for name in names[:20]) or "nothing"
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
