"""`durably redrive`: failed executions run again from their stored events."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..claims import WrittenByNewer
from ..entries import Head
from ..errors import DurablyError, StoreError
from ..history import actions
from ..history.actions_identity import event_of
from ..history.actions_redrive import is_one_record
from ..history.states import STUCK
from ..stores.protocol import Store
from .output import clean, console, print_json
from .shared import DURATION, MOMENT, find_id, takes_json, takes_store


class Redriven(NamedTuple):
    """What came of one execution."""

    head: Head
    error: str | None = None


@click.command()
@click.argument("id", required=False)
@click.option("--failed", is_flag=True, help="all that have failed: Fatal, or idle for longer than --stuck")
@click.option("--since", type=MOMENT, metavar="TIME", help="with --failed: those begun since then (1d, 2h, ISO 8601)")
@click.option("--stuck", type=DURATION, default=STUCK, metavar="TIME", help="idle for longer has failed (default 6h)")
@click.option("--of", "of", metavar="FUNCTION", help="with --failed: those of this function only")
@click.option("--function", metavar="NAME", help="the Lambda function, where it has another name than the executions'")
@click.option("--endpoint-url", metavar="URL", help="of a local Lambda, in place of AWS")
@click.option("--dry-run", is_flag=True, help="say what would be redriven, and change nothing")
@takes_json
@takes_store
def redrive(
    store: Store,
    id: str | None,
    failed: bool,
    since: float | None,
    stuck: timedelta,
    of: str | None,
    function: str | None,
    endpoint_url: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Invoke the function again with the stored event of ID, or of every failed execution.

    What is done is replayed. A fatal or cancelled execution is opened first. Exit code 1 when one could not be redriven.
    """
    if (id is None) is not failed:
        raise click.UsageError("give either an ID or --failed.")
    if id is not None:
        heads = [store.read(find_id(store, id, acting=True), until=store.clock.monotonic() + 20)]
    else:
        heads = list(actions.failed_executions(store, since, function=of, stuck=stuck))
    found = [head for head in heads if head is not None]
    if dry_run:
        done = [_foreseen(store, head, function) for head in found]
    else:
        invoke = actions.lambda_invoker(endpoint_url=endpoint_url)
        if id is not None:
            done = [Redriven(actions.redrive(store, found[0].id, invoke, function=function))]
        else:
            done = _each(store, found, invoke, function)
    print_json(_data(done, dry_run)) if as_json else _show(done, dry_run)
    if not as_json and function is None:
        _say_where_records_go(done)
    if any(one.error for one in done):
        raise SystemExit(1)


def _each(store: Store, heads: list[Head], invoke: actions.Invoke, function: str | None) -> list[Redriven]:
    """One after the other: an outage made many, and the function need not take them all in one second."""
    done: list[Redriven] = []
    unreachable: dict[str, str] = {}
    columns = (TextColumn("redriving"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[refused]}"))
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=len(heads), refused="")
        for place, head in enumerate(heads):
            try:
                done.append(_one(store, head, invoke, function, unreachable))
            except StoreError as error:
                # What was sent is told all the same, and the rest stays failed, to be found again.
                done.append(Redriven(head, str(error)))
                done += [Redriven(left, "left as it is, for the store can't be used") for left in heads[place + 1 :]]
                break
            refused = sum(one.error is not None for one in done)
            bar.update(task, advance=1, refused=f"{refused} refused" if refused else "")
    return done


def _one(
    store: Store, head: Head, invoke: actions.Invoke, function: str | None, unreachable: dict[str, str]
) -> Redriven:
    """`unreachable` has why an event could not be sent to a function: what goes there too stays failed, to be found again."""
    target = function or head.function
    if target in unreachable:
        return Redriven(head, f"left as it is, for an event to {target!r} was not sent before: {unreachable[target]}")
    try:
        return Redriven(actions.redrive(store, head.id, invoke, function=function))
    except actions.NotSent as error:
        unreachable[error.target] = error.why
        return Redriven(head, str(error))
    except DurablyError as error:
        return _refused(head, error)


def _foreseen(store: Store, head: Head, function: str | None) -> Redriven:
    try:
        return Redriven(actions.delivery_of(store, head.id, function=function).head)
    except DurablyError as error:
        return _refused(head, error)


def _refused(head: Head, error: DurablyError) -> Redriven:
    """The error as what came of one execution; raised again where the store is at fault, and so all of them are concerned."""
    if isinstance(error, StoreError) and not isinstance(error, WrittenByNewer):
        raise error
    return Redriven(head, str(error))


def _data(done: list[Redriven], dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "executions": [
            {"id": one.head.id, "function": one.head.function, "status": one.head.status, "error": one.error}
            for one in done
        ],
    }


def _show(done: list[Redriven], dry_run: bool) -> None:
    out = console()
    for one in done:
        if one.error is not None:
            out.print(f"refused   {clean(one.head.id)}: {clean(one.error)}", style="red", soft_wrap=True)
        else:
            out.print(f"{'would be ' if dry_run else ''}redriven  {clean(one.head.id)}", soft_wrap=True)
    if not done:
        out.print("nothing has failed")


def _say_where_records_go(done: list[Redriven]) -> None:
    """A function of one record is called by its Lambda's own handler, so its name need not be the Lambda's."""
    sent = (one.head for one in done if one.error is None and one.head.event is not None)
    names = {head.function for head in sent if is_one_record(event_of(head))}
    for name in sorted(names):
        text = f"records go in batches of one to the Lambda function {clean(name)!r}; --function NAME, where it has another name"
        console().print(text, style="dim", soft_wrap=True)
