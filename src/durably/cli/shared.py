"""What the commands share: the store they are told, `--json`, ids by a part of them, times, and errors in one line."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from ..errors import DurablyError, StoreError
from ..history.reading import PATIENCE_S, NoSuchExecution
from ..stores.protocol import Store
from ..stores.url import open_store
from .output import clean, clean_lines

F = TypeVar("F", bound=Callable[..., Any])

PART_MIN = 4
"""Characters of an id that are enough to act upon it; "1" may be the end of a stranger's."""

LONGEST_S = 100 * 366 * 86_400.0
"""A hundred years: a longer duration is a slip, and no date."""

SEARCHED_FOR_IDS = 10_000
"""Of the newest executions: an id may be given by a part of it when it is among them."""
NAMED_AT_MOST = 5
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def takes_store(command: F) -> F:
    """Give a command `store`, opened from `--store` or DURABLY_STORE, and let its errors be one line and exit code 1."""
    return takes_url(_opening(command, must_exist=True))


def takes_new_store(command: F) -> F:
    """The same for a command that may make the store, such as an import."""
    return takes_url(_opening(command, must_exist=False))


def takes_url(command: F) -> F:
    """Give a command `store` as it was written, or None, and let its errors be one line and exit code 1."""
    option = click.option(
        "--store",
        metavar="URL",
        envvar="DURABLY_STORE",
        show_envvar=True,
        help="dynamodb://TABLE or sqlite:///PATH; default: sqlite:///.durably/durably.db",
    )
    return option(in_one_line(command))


def takes_json(command: F) -> F:
    """Give a command `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="JSON for programs; its form is documented")(command)


def in_one_line(command: F) -> F:
    """Turn durably's own errors into one line on stderr and exit code 1."""

    @functools.wraps(command)
    def told(*args: Any, **named: Any) -> Any:
        try:
            return command(*args, **named)
        except DurablyError as error:
            raise click.ClickException(clean(str(error))) from error

    return told  # type: ignore[return-value]  # it takes and gives what the command does


def _opening(command: F, *, must_exist: bool) -> F:
    @functools.wraps(command)
    def opened(*args: Any, store: str | None, **named: Any) -> Any:
        return command(*args, store=opened_store(store, must_exist=must_exist), **named)

    return opened  # type: ignore[return-value]  # the same command, but for what its store is


def opened_store(url: str | None, *, must_exist: bool = True) -> Store:
    """The store of that URL, or the default one. Raises StoreError rather than make an empty file to look into."""
    store = open_store(url)
    path = getattr(store, "path", None)
    if must_exist and isinstance(path, Path) and not path.exists():
        raise StoreError(f"there is no SQLite file {str(path)!r}. Name the store with --store or DURABLY_STORE.")
    return store


def find_id(store: Store, given: str, *, acting: bool = False) -> str:
    """The whole id of an execution: as given, or the one of the newest that begins or ends so.

    `acting`: something will be done to it, so a part has to be of some length. Raises NoSuchExecution, or DurablyError for
    no id at all (a variable that is not set) and naming the candidates when there are several.
    """
    until = store.clock.monotonic() + PATIENCE_S
    if not given.strip():
        raise DurablyError("the id is empty. Is a variable of your shell not set?")
    if store.read(given, until=until) is not None:
        return given
    if acting and len(given) < PART_MIN:
        raise DurablyError(
            f"{given!r} is no id, and too short a part of one to act upon: give {PART_MIN} characters or more."
        )
    found: list[str] = []
    before: tuple[float, str] | None = None
    searched = 0
    while searched < SEARCHED_FOR_IDS:
        heads = store.newest(500, before=before, until=until)
        found += [head.id for head in heads if head.id.startswith(given) or head.id.endswith(given)]
        searched += len(heads)
        if len(heads) < 500:
            break
        before = (heads[-1].began, heads[-1].id)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NoSuchExecution(given)
    shown = ", ".join(found[:NAMED_AT_MOST]) + (", …" if len(found) > NAMED_AT_MOST else "")
    raise DurablyError(f"{given!r} is a part of {len(found)} ids: {shown}. Give more of it.")


class Duration(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no generic one
    """`90d`, `6h`, `15m`, `30s`, or several of them: `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        seconds = duration_s(str(value))
        if seconds is None or seconds > LONGEST_S:
            self.fail(
                f"{clean(str(value))!r} is no duration. Write for example 90d, 6h, 15m, 30s or 1h30m.", param, ctx
            )
        return timedelta(seconds=seconds)


class Moment(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no generic one
    """A time: how long ago (`1d`), or ISO 8601 (`2026-11-24T12:00`, in local time unless it says another). Epoch seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        moment = moment_of(str(value))
        if moment is None:
            self.fail(f"{clean(str(value))!r} is no time. Write how long ago (1d, 2h) or 2026-11-24T12:00.", param, ctx)
        return moment


DURATION = Duration()
MOMENT = Moment()


def duration_s(text: str) -> float | None:
    """The seconds of a duration, None when the text is none."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if not parts or re.sub(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", "", text.strip().lower()):
        return None
    if any(unit not in _UNITS for _, unit in parts):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def moment_of(text: str) -> float | None:
    """The epoch seconds of a time, None when the text is none."""
    ago = duration_s(text)
    if ago is not None and ago > LONGEST_S:
        return None
    if ago is not None:
        return datetime.now().astimezone().timestamp() - ago
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def fail(message: str) -> click.ClickException:
    """An error of a command's own, for `raise`: one line on stderr, exit code 1."""
    return click.ClickException(clean_lines(message))
