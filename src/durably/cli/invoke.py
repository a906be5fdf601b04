"""`durably invoke`: one event, or a file of a queue's messages, through a local Lambda, with a picture as it happens."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Any, Literal

import click
from rich.live import Live

from ..local import LocalLambda, News, Outcome, Stop, stop_at
from ..local.batches import Drained, QueueMapping
from ..local.picture import Picture
from ..local.stops import NO_MISCHIEF, Mischief
from .lambdas import drawn, ended_by_sigterm, line_of, refuse_short, takes_function
from .output import clean, clean_lines, console, print_json_line
from .shared import DURATION, fail, in_one_line, takes_json

REFRESHES_A_SECOND = 10
AT_THE_TIMEOUT = "timeout"


class Place(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """`before:STEP` or `after:STEP`, with `@2` or `@every`."""

    name = "place"

    def __init__(self, how: Literal["crash", "pause"]) -> None:
        self._how = how

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Stop | str:
        if isinstance(value, Stop) or value == AT_THE_TIMEOUT:
            return value  # type: ignore[no-any-return]  # narrowed just now
        try:
            return stop_at(str(value), self._how)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("handler", metavar="MODULE.FUNCTION")
@click.option("--event", type=click.File("rb"), metavar="FILE", help="the event as JSON, - for stdin; default: {}")
@click.option(
    "--sqs", type=click.File("r"), metavar="FILE", help="in place of an event: messages, one a line, through a queue"
)
@click.option(
    "--async", "is_async", is_flag=True, help="as Event: two retries, then an on-failure record and a dead letter"
)
@click.option(
    "--crash",
    multiple=True,
    type=Place("crash"),
    metavar="before:STEP|after:STEP[@N]",
    help="SIGKILL before a step, or after its effect and before its record, in the first attempt (or the N-th, or every)",
)
@click.option("--kill-at", type=DURATION, metavar="TIME", help="SIGKILL so long after the first attempt began")
@click.option("--duplicate", is_flag=True, help="deliver the event to a second sandbox while the first runs")
@click.option(
    "--zombie",
    is_flag=False,
    flag_value=AT_THE_TIMEOUT,
    type=Place("pause"),
    metavar="[before:STEP|after:STEP]",
    help="report the first attempt as timed out while its process lives on; at a step it stands still until the retry is over",
)
@click.option("--name", default="", help="the function's name; default: from the handler's")
@takes_function
@takes_json
@in_one_line
def invoke(
    handler: str,
    event: IO[bytes] | None,
    sqs: IO[str] | None,
    is_async: bool,
    crash: tuple[Stop, ...],
    kill_at: timedelta | None,
    duplicate: bool,
    zombie: Stop | str | None,
    as_json: bool,
    batch_size: int,
    visibility: timedelta | None,
    max_receives: int,
    **function: Any,
) -> None:
    """Run a handler once as Lambda does: the real runtime in a process of its own, killed where Lambda would.

    What is done on purpose (--crash, --kill-at, --duplicate, --zombie) needs retries, so it makes the invocation
    asynchronous. The result goes to stdout, the picture to stderr.
    """
    if sqs is not None:
        _refuse_beside_sqs({"--event": event, "--async": is_async, "--duplicate": duplicate})
        refuse_short(visibility, function["timeout"])
    stops = (*crash, *((zombie,) if isinstance(zombie, Stop) else ()))
    kill_after_s = None if kill_at is None else kill_at.total_seconds()
    mischief = Mischief(stops, kill_after_s, duplicate, zombie is not None)
    picture = Picture()
    with (
        ended_by_sigterm(),
        _shown(picture, as_json) as listen,
        LocalLambda(handler, on_news=listen, **function) as local,
    ):
        if sqs is not None:
            drained = _drain(local, sqs, mischief, batch_size, visibility, max_receives)
        else:
            payload = event.read() if event is not None else b"{}"
            outcome = _run(local, payload, mischief, is_async or mischief != NO_MISCHIEF)
        local.settle()
    if sqs is not None:
        _end_of_queue(drained, as_json)
    else:
        _end(outcome, picture, as_json)
    _fail_where_never_reached(stops, picture)
    if drained.dead if sqs is not None else outcome.failed:
        sys.exit(1)


def _refuse_beside_sqs(given: dict[str, object]) -> None:
    """A queue has its own events and its own retries; a duplicate there is a message that is in the file twice."""
    refused = [name for name, value in given.items() if value]
    if refused:
        raise click.UsageError(
            f"--sqs takes messages and delivers them by its own rules: leave out {', '.join(refused)}"
        )


def _run(local: LocalLambda, payload: bytes, mischief: Mischief, is_async: bool) -> Outcome:
    if is_async:
        return local.send(payload, mischief=mischief).wait()
    outcome: Outcome = _beside(local, lambda: local.invoke(payload))
    return outcome


def _drain(
    local: LocalLambda,
    lines: IO[str],
    mischief: Mischief,
    batch_size: int,
    visibility: timedelta | None,
    max_receives: int,
) -> Drained:
    mapping = QueueMapping(
        local, batch_size=batch_size, visibility=visibility, max_receive_count=max_receives, mischief=mischief
    )
    for body, attributes in _messages(lines):
        mapping.queue.send(body, attributes)
    drained: Drained = _beside(local, mapping.drain)
    return drained


def _beside(local: LocalLambda, work: Callable[[], Any]) -> Any:
    """Do it in another thread and wait here: Ctrl-C comes to this one, which then ends the processes."""
    end: Future[Any] = Future()

    def run() -> None:
        try:
            end.set_result(work())
        except Exception as error:
            end.set_exception(error)

    local.attempts.beside(run)
    return end.result()


@contextmanager
def _shown(picture: Picture, as_json: bool) -> Iterator[Callable[[News], object]]:
    """What to call with news: JSON lines on stdout, a live picture on a terminal, plain lines elsewhere."""
    screen = console(stderr=True)
    if as_json:
        yield lambda news: _print(news, picture)
    elif not screen.is_terminal:
        yield lambda news: _echo(line_of(news, picture.take(news)))
    else:
        with Live(console=screen, refresh_per_second=REFRESHES_A_SECOND, get_renderable=lambda: drawn(picture)) as live:
            yield lambda news: _draw(news, picture, live)


def _print(news: News, picture: Picture) -> None:
    picture.take(news)
    print_json_line(news.as_json())


def _echo(line: str | None) -> None:
    if line is not None:
        click.echo(line, err=True)


def _draw(news: News, picture: Picture, live: Live) -> None:
    picture.take(news)
    if news.what == "Output":
        live.console.print(clean_lines(news.said["text"]), style="dim")


def _messages(lines: IO[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A line is a message's body, or an object with `body` and perhaps `messageAttributes`."""
    for line in filter(None, map(str.strip, lines)):
        try:
            given = json.loads(line)
        except ValueError:
            given = None
        if isinstance(given, dict) and isinstance(given.get("body"), str):
            yield given["body"], _attributes(given.get("messageAttributes") or {})
        else:
            yield line, {}


def _attributes(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or not all(isinstance(one, dict) for one in given.values()):
        raise fail(
            'messageAttributes are written as SQS takes them: {"kind": {"DataType": "String", "StringValue": "…"}}'
        )
    return given


def _end(outcome: Outcome, picture: Picture, as_json: bool) -> None:
    if as_json:
        print_json_line(
            {"what": "Result", "how": outcome.how, "request_id": outcome.request_id, "payload": _payload(outcome)}
        )
    else:
        click.echo(clean_lines(outcome.payload.decode("utf-8", "replace")))
    if picture.given_up is not None and not as_json:
        condition, written = picture.given_up
        click.echo(f"given up, {condition}: {', '.join(map(clean, written))}", err=True)


def _fail_where_never_reached(stops: tuple[Stop, ...], picture: Picture) -> None:
    """What was to be tried was not: that is no success, whatever else went well."""
    missed = [stop for stop in stops if not picture.came_by(stop)]
    if missed:
        raise fail(_never_reached(missed, picture))


def _payload(outcome: Outcome) -> Any:
    try:
        return outcome.result
    except ValueError:
        return outcome.payload.decode("utf-8", "replace")


def _never_reached(stops: Sequence[Stop], picture: Picture) -> str:
    places = ", ".join(map(str, stops))
    seen = sorted({step for attempt in picture.attempts.values() for step in attempt.steps})
    steps = f"Its steps were: {', '.join(map(clean, seen[:20]))}." if seen else "It had no step at all."
    return f"no attempt came by {clean(places)}, so nothing was done there. {steps}"


def _end_of_queue(drained: Drained, as_json: bool) -> None:
    if as_json:
        print_json_line({"what": "Drained", **drained._asdict()})
    else:
        told = f"{len(drained.done)} messages done, {len(drained.dead)} dead letters, {drained.invocations} invocations"
        click.echo(told)
