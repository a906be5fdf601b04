"""What `invoke` and `dev` share: their options, and how a local Lambda's news look on a terminal and in plain lines."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import click
from rich.console import Group, RenderableType
from rich.text import Text

from ..local.news import News
from ..local.picture import AttemptPicture, Picture, StepPicture
from .output import clean, plain
from .shared import DURATION

F = TypeVar("F", bound=Callable[..., Any])

SIGNS = {
    "running": ("▶", "cyan"),
    "ran": ("✓", "green"),
    "replayed": ("○", "dim green"),
    "recovered": ("◉", "green"),
    "failed": ("✗", "red"),
    "killed": ("✗", "magenta"),
    "timed out": ("✗", "magenta"),
    "stopped": ("◼", "yellow"),
}
"""A step's state → sign and colour. What was replayed is hollow: nothing ran."""
ENDS = {"returned": "green", "raised": "red", "running": "cyan", "starting": "dim"}
SHOWN_ONE_BY_ONE = 8
"""Items of one fan-out; more of them are counted in one line."""


def takes_function(command: F) -> F:
    """Give a command what describes the function and its sandboxes."""
    for option in (
        click.option("--time-scale", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True,
                     help="how many times faster waits between attempts pass; 1 is real time"),
        click.option("--folder", default=".durably", show_default=True, type=click.Path(file_okay=False),
                     help="where records, dead letters and the store are written"),
        click.option("--code", default=".", show_default=True, type=click.Path(file_okay=False, exists=True),
                     help="the function's own folder, LAMBDA_TASK_ROOT"),
        click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", callback=_environment,
                     help="an environment variable of the function"),
        click.option("--memory", "memory_mb", type=click.IntRange(128, 10_240), metavar="MB",
                     help="a ceiling of memory; default: none"),
        click.option("--timeout", type=DURATION, default="3s", show_default=True, metavar="TIME", callback=_timeout,
                     help="the function's timeout, ended by SIGKILL"),
        click.option("--retries", type=click.IntRange(0, 2), default=2, show_default=True,
                     help="attempts after a failed one"),
        click.option("--max-age", type=DURATION, default="6h", show_default=True, metavar="TIME",
                     help="how old an event may grow"),
        click.option("--batch-size", type=click.IntRange(1, 10_000), default=10, show_default=True,
                     help="of a queue: messages an invocation"),
        click.option("--visibility", type=DURATION, metavar="TIME",
                     help="of a queue: until a failed message comes again; default: six timeouts"),
        click.option("--max-receives", type=click.IntRange(1, 1000), default=3, show_default=True,
                     help="of a queue: then a message is a dead letter"),
    ):  # fmt: skip
        command = option(command)
    return command


def _timeout(context: click.Context, option: click.Parameter, given: timedelta) -> timedelta:
    if not given:
        raise click.BadParameter("it ends every invocation before it begins")
    return given


def refuse_short(visibility: timedelta | None, timeout: timedelta) -> None:
    """A queue's visibility timeout has to be the function's at least. Raises UsageError."""
    if visibility is not None and visibility < timeout:
        raise click.UsageError(
            f"--visibility is shorter than --timeout ({visibility.total_seconds():g} s, {timeout.total_seconds():g} s): "
            "messages would come again while they are worked on, and Lambda refuses such a mapping."
        )


def _environment(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if not all(name and separator for name, separator, _ in pairs):
        raise click.BadParameter("write NAME=VALUE")
    return {name: value for name, _, value in pairs}


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM, and a terminal that is closed, end the command as Ctrl-C does: it leaves nothing behind then either."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    # A SIGHUP that is ignored is so on purpose: by nohup.
    ends = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def drawn(picture: Picture) -> RenderableType:
    """Every attempt with its steps."""
    return Group(*[line for attempt in picture.attempts.values() for line in _attempt_lines(attempt)])


def _attempt_lines(attempt: AttemptPicture) -> Iterator[Text]:
    yield headline(attempt)
    for sign, style, text in _step_rows(attempt.steps.values()):
        yield Text.assemble("  ", (sign, style), " ", text)
    if attempt.error and attempt.state not in ("killed", "timed out"):
        yield Text.assemble("  ", plain(attempt.error, "red", 300))
    if attempt.waits_s is not None:
        yield Text(f"  {_waits(attempt)}", style="dim")


def headline(attempt: AttemptPicture) -> Text:
    """Attempt, how it stands, and the time it took or has left."""
    told = {"event": "", "call": ""}.get(attempt.delivery, f" ({attempt.delivery})")
    text = Text.assemble(
        (f"attempt {attempt.number}{told}", "bold"), "  ", (attempt.state, ENDS.get(attempt.state, "magenta"))
    )
    left_s = attempt.left_s(time.time())
    if left_s is not None:
        text.append(f", {left_s:.1f} s left")
    elif attempt.state not in ("starting", "running"):
        text.append(f" after {attempt.took_s:.2f} s")
    if attempt.init_s is not None:
        text.append(f"  cold start {attempt.init_s * 1000:.0f} ms", style="dim")
    if attempt.zombie:
        text.append(
            "  zombie: " + ("its process lives on" if attempt.zombie == "lives" else f"{attempt.zombie} in the end")
        )
    return text


def _step_rows(steps: Iterable[StepPicture]) -> Iterator[tuple[str, str, str]]:
    groups: dict[str, list[StepPicture]] = {}
    for step in steps:
        groups.setdefault(step.name.partition("[")[0] if step.name.endswith("]") else step.name, []).append(step)
    for name, members in groups.items():
        if len(members) <= SHOWN_ONE_BY_ONE:
            yield from [(*SIGNS[step.state], step_text(step)) for step in members]
        else:
            yield _counted(name, members)


def _counted(name: str, members: list[StepPicture]) -> tuple[str, str, str]:
    counts = {state: sum(step.state == state for step in members) for state in SIGNS}
    said = " · ".join(f"{count} {state}" for state, count in counts.items() if count)
    worst = next((state for state in ("killed", "timed out", "failed", "stopped", "running") if counts[state]), "ran")
    return (*SIGNS[worst], f"{clean(name)}[…] {len(members)}: {said}")


def step_text(step: StepPicture) -> str:
    """A step in a line: its name, how it stands, and what was done to it on purpose."""
    said: str = "stopped on purpose" if step.stop and step.state == "running" else step.state
    if step.state not in ("running", "replayed"):
        said += f" {step.took_s * 1000:.0f} ms"
    if step.tries > 1:
        said += f", {step.tries} tries"
    if step.error:
        said += f": {clean(step.error, 120)}"
    return f"{clean(step.name, 60)}  {said}"


def _waits(attempt: AttemptPicture) -> str:
    assert attempt.waits_s is not None
    seconds, really_s = attempt.waits_s
    return f"the next attempt in {seconds:.0f} s" + ("" if seconds == really_s else f" ({really_s:.1f} s here)")


def line_of(news: News, attempt: AttemptPicture) -> str | None:
    """The news as a plain line, None where it is not worth one. What a function writes is one line each, cleaned."""
    prefix = f"{attempt.function} {attempt.request_id[:8]} {headline(attempt).plain.split('  ')[0]}"
    if news.what == "Output":
        return "\n".join(f"{prefix} | {clean(line)}" for line in news.said["text"].splitlines()) or None
    if news.what in ("StepReplayed", "StepEnded") or "stop" in news.said:
        return f"{prefix} {step_text(attempt.steps[news.said['step']])}"
    told = {
        "Begins": "cold start" if news.said.get("cold") else "begins",
        "AttemptBegan": f"execution {clean(attempt.execution)}",
        "Ends": f"{attempt.state} after {attempt.took_s:.2f} s"
        + (f": {clean(attempt.error, 300)}" if attempt.error else ""),
        "ZombieEnds": f"zombie {attempt.zombie} in the end",
        "Succeeds": "the event is done",
        "DeadLetter": f"message {clean(str(news.said.get('message')))} is a dead letter",
    }
    if news.what == "AttemptEnded" and news.delivery == "batch" and news.said.get("error"):
        # What one record failed with: the function answers for the batch, and its outcome does not say.
        return f"{prefix} execution {clean(news.said['execution'])} failed: {clean(news.said['error'], 300)}"
    if news.what == "Waits":
        return f"{prefix} {_waits(attempt)}"
    if news.what == "GivenUp":
        return f"{prefix} given up, {news.said['condition']}: " + ", ".join(map(_shown, news.said["written"]))
    if news.what == "Batch":
        return f"{prefix} a batch of {len(news.said['messages'])}"
    if news.what == "BatchEnds":
        return f"{prefix} {len(news.said['done'])} done, {len(news.said['again'])} again"
    return f"{prefix} {told[news.what]}" if news.what in told else None


def _shown(path: str) -> str:
    near = os.path.relpath(path)
    return clean(path if near.startswith("..") else near)
