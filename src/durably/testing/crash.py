"""`crash_everywhere`: kill a handler at every point at which its process can die, and see what its retries make of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, Literal

from .context import TIMEOUT
from .effects import Effect
from .points import Point
from .report import Report
from .stories import Story, Teller
from .tap import Tap
from .threads import Threads

PATIENCE = timedelta(seconds=20)
RETRIES = 2
"""Lambda's, of an asynchronous invocation."""


def crash_everywhere(
    handler: Callable[..., Any] | str,
    event: object,
    *,
    effects: Mapping[str, Effect] | None = None,
    world: Callable[[], Any] | None = None,
    tap: Sequence[str] = (),
    mode: Literal["thread", "process"] = "thread",
    may_repeat: Sequence[str] = (),
    result: Callable[[Any], Any] = lambda value: value,
    store: Callable[[Any], Any] | None = None,
    retries: int = RETRIES,
    timeout: timedelta = TIMEOUT,
    patience: timedelta = PATIENCE,
) -> Report:
    """Run `handler(event, context)` once undisturbed, then once for each point it came by, dead there and delivered again.

    Points lie before and after each call that passes the tap, each write to durably's store, each `counted` function.
    `effects`: how often each happened, by name: a function that counts (given the world, if there is one; a number, a
    list, or numbers by key), or a pattern of calls, `POST /repos/*/comments`. `world`: makes a fresh world for each story
    (may be a context manager). `tap`: environment variables that hold the addresses of services, or HTTP_PROXY. `mode`:
    threads of this process, quick; or `process`, a real sandbox and a real SIGKILL, with `handler` importable by name.
    `may_repeat`: effects that may happen once more for the death. `result`: the part of a result that is compared.
    `store`: makes the store from a clock. `retries`: how often the event is delivered again, as Lambda does.

    Raises RuntimeError where the undisturbed run already fails.
    """
    began = time.monotonic()
    told = _told_in_processes if mode == "process" else told_in_threads
    with told(handler, event, effects or {}, world, tap, store, timeout, patience) as teller:
        clean, seen = teller.undisturbed()
        stories = [teller.killed_at(point, number, retries) for number, point in enumerate(points_of(clean), 1)]
    took_s = time.monotonic() - began
    return Report.of("crash", handler, clean, stories, seen, may_repeat, result, took_s)


def points_of(clean: Story) -> list[Point]:
    """Where the undisturbed attempt could have died, in its order. Raises RuntimeError where it failed, or had none."""
    if clean.ended.how != "returned":
        raise RuntimeError(
            f"the handler fails undisturbed, so there is nothing to compare a crash with: {clean.ended.told or clean.ended.how}"
        )
    points = [moment.points[0] for moment in clean.runs[0].moments]
    if not points:
        raise RuntimeError(
            "the handler came by no point at which it could die: it wrote to no store of durably's, and no call passed the "
            "tap. Name the environment variables that hold its services' addresses, tap=[…], or wrap its fakes in counted(…)."
        )
    return points


@contextmanager
def told_in_threads(
    handler: Any,
    event: object,
    effects: Mapping[str, Effect],
    world: Callable[[], Any] | None,
    tap: Sequence[str],
    store: Callable[[Any], Any] | None,
    timeout: timedelta,
    patience: timedelta,
) -> Iterator[Teller]:
    """A teller of stories whose attempts are threads of this process."""
    stage = Threads(_imported(handler), store, timeout, patience)
    with stage.opened(), tapped(tap, stage) as server:
        yield Teller(stage, event, effects, world, server)


@contextmanager
def _told_in_processes(
    handler: Any,
    event: object,
    effects: Mapping[str, Effect],
    world: Callable[[], Any] | None,
    tap: Sequence[str],
    store: Callable[[Any], Any] | None,
    timeout: timedelta,
    patience: timedelta,
) -> Iterator[Teller]:
    from .processes import Processes

    with ExitStack() as closing:
        stage = closing.enter_context(Processes(handler, store, timeout))
        yield Teller(stage, event, effects, world, closing.enter_context(tapped(tap, stage)))


@contextmanager
def tapped(names: Sequence[str], stage: Any) -> Iterator[Tap]:
    """A tap for these variables, closed at the end."""
    tap = Tap(names, stage)
    try:
        yield tap
    finally:
        tap.close()


def _imported(handler: Any) -> Callable[..., Any]:
    if not isinstance(handler, str):
        return handler  # type: ignore[no-any-return]  # the user's own
    from importlib import import_module

    module, _, name = handler.rpartition(".")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function
