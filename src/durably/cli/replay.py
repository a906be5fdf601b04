"""`durably replay`: a handler run here, answered from a real journal, under a debugger if wished."""

from __future__ import annotations

import importlib
import json
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import click

import durably

from ..codec import JSON, Unencodable, decode_exception
from ..entries import Entry
from ..history import replaying
from ..redaction import HIDDEN, patterns_of, redacted
from ..stores.protocol import Store
from .output import clean, clean_lines, console, print_json
from .shared import fail, find_id, takes_json, takes_store

PACKAGE = str(Path(durably.__file__).parent) + os.sep
STANDARD = sysconfig.get_path("stdlib") + os.sep
SITE = sysconfig.get_path("purelib") + os.sep


class Place(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int
    function: str


@click.command()
@click.argument("id")
@click.argument("handler", metavar="MODULE.HANDLER")
@click.option(
    "--dry/--live", default=True, help="stop before the first step that has no outcome (default), or run it here"
)
@click.option("--pdb", "debug", is_flag=True, help="stand in your code where it stopped or raised")
@takes_json
@takes_store
def replay(store: Store, id: str, handler: str, dry: bool, debug: bool, as_json: bool) -> None:
    """Run MODULE.HANDLER here with the event of ID, every finished step answered from its journal.

    Nothing is written to the store. Code between steps runs as it does in production; with --live the steps that have no
    outcome do so too, with their effects. Exit code 0: it returned or stopped; 1: it raised.
    """
    journal = replaying.copied(store, find_id(store, id))
    with redirect_stdout(sys.stderr) if as_json else nullcontext():  # what the handler prints is not our JSON
        outcome = replaying.replay(_load(handler), journal, live=not dry)
    outcome = outcome._replace(result=_redacted(outcome.result, patterns_of(store, *journal.entries)))
    where = _where(outcome.error)
    if as_json:
        print_json(_data(outcome, where))
    else:
        _show(outcome, journal.entries, where)
    if debug and where is not None and outcome.error is not None:
        _debug(outcome.error)
    if outcome.error is not None and not outcome.stopped_at:
        raise SystemExit(1)


def _load(name: str) -> Callable[..., Any]:
    """The handler of `package.module.handler`, as Lambda writes it, or `module:handler`; found from this folder on."""
    module, _, attribute = name.partition(":") if ":" in name else name.replace("/", ".").rpartition(".")
    if not module or not attribute or module.startswith("."):
        raise fail(f"{name!r} names no handler. Write it as Lambda does: module.handler")
    sys.path.insert(0, os.getcwd())
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise fail(f"{error}. Run this in the folder that your handler's module is imported from.") from error
    except SyntaxError as error:
        raise fail(f"module {module!r} can't be read: {error} ({error.filename}:{error.lineno})") from error
    found: Callable[..., Any] | None = getattr(loaded, attribute, None)
    if found is None:
        raise fail(f"module {module!r} has no {attribute!r}.")
    return found


def _show(outcome: replaying.Replayed, entries: tuple[Entry, ...], where: Place | None) -> None:
    out = console()
    out.print(f"{len(outcome.answered)} steps answered from the journal", style="dim")
    for step in outcome.ran:
        out.print(f"ran here: {clean(step)}", soft_wrap=True)
    place = f" ({where.file}:{where.line}, in {where.function})" if where is not None else ""
    if outcome.stopped_at:
        out.print(f"stopped before step {clean(outcome.stopped_at)!r}{place}", style="yellow", soft_wrap=True)
        for line in _known(outcome.stopped_at, entries):
            out.print(line, soft_wrap=True)
    elif outcome.error is not None:
        text = "".join(traceback.format_exception(outcome.error.with_traceback(_without_ours(outcome.error))))
        out.print(clean_lines(text), style="red", soft_wrap=True)
    else:
        out.print(f"returned {clean(_shown(outcome.result), 2000)}", style="green", soft_wrap=True)


def _known(step: str, entries: tuple[Entry, ...]) -> list[str]:
    """What the journal tells of the step it stopped before."""
    mine = [entry for entry in entries if entry.step == step]
    errors = [entry for entry in mine if entry.kind == "error"]
    if errors:
        error = decode_exception(errors[-1].payload)
        return [f"in attempt {errors[-1].attempt} it raised {clean(type(error).__name__)}: {clean(str(error), 500)}"]
    if any(entry.kind == "started" for entry in mine):
        return ["it was begun, and nothing is known of how it ended: its effect may have happened"]
    return ["it was never begun, or died on the way; --live runs it here"]


def _data(outcome: replaying.Replayed, where: Place | None) -> dict[str, Any]:
    error = None if outcome.stopped_at else outcome.error
    return {
        "answered": list(outcome.answered),
        "ran": list(outcome.ran),
        "stopped_at": outcome.stopped_at or None,
        "file": None if where is None else where.file,
        "line": None if where is None else where.line,
        "error": None if error is None else f"{type(error).__name__}: {error}",
        "result": None if outcome.error is not None else _plain(outcome.result),
    }


def _redacted(result: Any, patterns: tuple[str, ...]) -> Any:
    """What is shown of the result: by the store's patterns and the steps' own, as results are made of what steps returned."""
    if not patterns:
        return result
    try:
        return json.loads(redacted(JSON.encode(result), patterns))
    except Unencodable:
        return HIDDEN  # its repr would have all of it, and no names of fields that can be told


def _plain(result: Any) -> Any:
    try:
        return json.loads(json.dumps(result))
    except (TypeError, ValueError):
        return repr(result)


def _shown(result: Any) -> str:
    try:
        return json.dumps(result, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(result)


def _debug(error: BaseException) -> None:
    import pdb

    pdb.post_mortem(_without_ours(error, to_users_last=True))


def _where(error: BaseException | None) -> Place | None:
    """Where in the user's code it stopped."""
    last = [at for at in _frames(error) if _is_users(at)][-1:]
    return (
        Place(last[0].tb_frame.f_code.co_filename, last[0].tb_lineno, last[0].tb_frame.f_code.co_name) if last else None
    )


def _without_ours(error: BaseException, *, to_users_last: bool = False) -> TracebackType | None:
    """The traceback without durably's own frames; for a debugger it ends in the user's code, where the variables are."""
    frames = _frames(error)
    if to_users_last:
        users = [index for index, at in enumerate(frames) if _is_users(at)]
        frames = frames[: users[-1] + 1] if users else frames
    shown: TracebackType | None = None
    for at in reversed(frames):
        if not _is_in(at, PACKAGE):
            shown = TracebackType(shown, at.tb_frame, at.tb_lasti, at.tb_lineno)
    return shown or error.__traceback__


def _frames(error: BaseException | None) -> list[TracebackType]:
    frames, at = [], error.__traceback__ if error is not None else None
    while at is not None:
        frames.append(at)
        at = at.tb_next
    return frames


def _is_users(at: TracebackType) -> bool:
    return not _is_in(at, PACKAGE) and (not _is_in(at, STANDARD) or _is_in(at, SITE))


def _is_in(at: TracebackType, folder: str) -> bool:
    return at.tb_frame.f_code.co_filename.startswith((folder, "<frozen"))
