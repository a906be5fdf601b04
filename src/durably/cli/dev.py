"""`durably dev`: local Lambdas that stay up and take events over HTTP, as Lambda's Invoke API does."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import Any

import click

from ..local import LocalLambda, News
from ..local.api import InvokeApi
from ..local.batches import QueueMapping
from ..local.environment import function_name, region
from ..local.picture import Picture
from .lambdas import ended_by_sigterm, line_of, refuse_short, takes_function
from .output import clean, print_json_line
from .shared import fail, in_one_line, takes_json

_LAST = ("Waits", "Succeeds", "GivenUp", "BatchEnds", "DeadLetter")
"""After these no more is told of an attempt."""


@click.command()
@click.argument("handlers", nargs=-1, metavar="[NAME=]MODULE.FUNCTION...")
@click.option(
    "--sqs", "queues", multiple=True, metavar="NAME=MODULE.FUNCTION", help="a queue of that name, and its function"
)
@click.option("--port", type=click.IntRange(0, 65_535), default=9001, show_default=True, help="0 takes a free one")
@click.option(
    "--concurrency", type=click.IntRange(1, 1000), default=10, show_default=True, help="sandboxes of each function"
)
@takes_function
@takes_json
@in_one_line
def dev(
    handlers: tuple[str, ...],
    queues: tuple[str, ...],
    port: int,
    as_json: bool,
    batch_size: int,
    visibility: timedelta | None,
    max_receives: int,
    **function: Any,
) -> None:
    """Run handlers as local Lambdas until Ctrl-C, for `boto3.client("lambda", endpoint_url=…)` and `boto3.client("sqs", …)`.

    It listens on this machine alone, and answers no web page.
    """
    named = dict(_named(given) for given in handlers)
    fed = dict(_named(given) for given in queues)
    if not named and not fed:
        raise fail("name a handler: durably dev app.handler, or durably dev --sqs jobs=app.handler")
    twice = [name for name, count in Counter(_named(given)[0] for given in (*handlers, *queues)).items() if count > 1]
    if twice:
        raise click.UsageError(f"more than one is named {clean(', '.join(twice))}: write NAME=MODULE.FUNCTION")
    refuse_short(visibility, function["timeout"])
    shown = _Shown(as_json)
    with ended_by_sigterm(), ExitStack() as open_ones:
        functions = {
            name: open_ones.enter_context(LocalLambda(handler, name=name, on_news=shown, **function))
            for name, handler in {**fed, **named}.items()
        }
        mappings = {
            name: QueueMapping(
                functions[name], name=name, batch_size=batch_size, visibility=visibility, max_receive_count=max_receives
            )
            for name in fed
        }
        api = _open(functions, mappings, port)
        open_ones.callback(api.server_close)
        for name, mapping in mappings.items():
            functions[name].attempts.beside(mapping.serve)
        _say(api, functions, mappings, as_json)
        with suppress(KeyboardInterrupt):
            api.serve_forever(poll_interval=0.1)


class _Shown:
    """Prints the news of all functions, a line each; what is over is forgotten."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._picture = Picture()
        self._lock = threading.Lock()

    def __call__(self, news: News) -> None:
        with self._lock:
            attempt = self._picture.take(news)
            if self._as_json:
                print_json_line(news.as_json())
            else:
                line = line_of(news, attempt)
                if line is not None:
                    click.echo(line)
            if news.what in _LAST or (news.what == "Ends" and news.delivery == "call"):
                self._picture.attempts.pop((news.request_id, news.delivery, news.attempt), None)


def _named(given: str) -> tuple[str, str]:
    name, equals, handler = given.rpartition("=")
    return (name, handler) if equals else (function_name(handler), handler)


def _open(functions: dict[str, LocalLambda], mappings: dict[str, QueueMapping], port: int) -> InvokeApi:
    try:
        return InvokeApi(functions, {name: mapping.queue for name, mapping in mappings.items()}, port)
    except OSError as error:
        raise fail(
            f"port {port} can't be listened on: {error.strerror}. Give another with --port, or 0 for a free one."
        ) from error


def _say(api: InvokeApi, functions: dict[str, LocalLambda], mappings: dict[str, QueueMapping], as_json: bool) -> None:
    if as_json:
        print_json_line({"what": "Listens", "url": api.url, "functions": list(functions), "queues": list(mappings)})
        return
    click.echo(f"Lambda on {api.url}: {', '.join(map(clean, functions))}")
    first = next(iter(functions))
    click.echo(
        f'boto3.client("lambda", endpoint_url="{api.url}", region_name="{region()}").invoke(FunctionName="{clean(first)}", …)'
    )
    for name in mappings:
        click.echo(
            f'boto3.client("sqs", endpoint_url="{api.url}", …).send_message(QueueUrl="{api.url}/queue/{clean(name)}", …)'
        )
