"""`durably web`: the page of executions, on this machine alone unless told otherwise."""

from __future__ import annotations

import secrets
import webbrowser
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import click

from ..history.states import STUCK
from ..stores.protocol import Store
from .shared import DURATION, fail, takes_store


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen on; any other takes a token")
@click.option("--port", type=click.IntRange(0, 65_535), default=8321, show_default=True, help="0 takes a free one")
@click.option(
    "--token",
    envvar="DURABLY_WEB_TOKEN",
    show_envvar=True,
    help="ask every reader for it; made up where one is needed and none is given",
)
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME", help="a name the page is reached by")
@click.option("--allow-actions", is_flag=True, help="let readers redrive, fork, cancel and resolve")
@click.option("--endpoint-url", metavar="URL", help="a redrive goes to the local Lambda there, in place of AWS")
@click.option("--stuck", type=DURATION, default=STUCK, metavar="TIME", help="idle for longer has failed (default 6h)")
@click.option("--open", "is_opened", is_flag=True, help="open it in the browser")
@takes_store
def web(
    store: Store,
    host: str,
    port: int,
    token: str | None,
    allow_hosts: tuple[str, ...],
    allow_actions: bool,
    endpoint_url: str | None,
    stuck: timedelta,
    is_opened: bool,
) -> None:
    """Show executions on a web page: live, with waterfall, graph, and each step's input, result and error.

    Other machines can reach it only with --host, and then every reader gives a token first.
    """
    guard, create_app = _parts()
    if not guard.is_loopback(host):
        token = token or secrets.token_urlsafe(24)
    listening = _listen(host, port)
    address = _address(host, listening.getsockname()[1])
    invoke = _invoker(endpoint_url)
    name = store_name(store)
    try:
        app = create_app(
            store,
            store_name=name,
            allow_actions=allow_actions,
            token=token,
            allow_hosts=allow_hosts,
            stuck=stuck,
            invoke=invoke,
        )
    except ValueError as error:
        raise fail(str(error)) from error
    click.echo(f"{name} on {address}{_with_token(token)}")
    if is_opened:
        listening.listen()  # before the browser comes
        webbrowser.open(address + _with_token(token))
    _serve(app, listening)


def store_name(store: Store) -> str:
    """What the page calls its store."""
    for scheme, attribute in (("sqlite:///", "path"), ("dynamodb://", "table")):
        value = getattr(store, attribute, None)
        if value:
            return f"{scheme}{value}"
    return type(store).__name__


def _parts() -> tuple[Any, Any]:
    try:
        from ..web import app, guard
    except ModuleNotFoundError as missing:
        if missing.name not in ("jinja2", "markupsafe", "starlette", "uvicorn"):
            raise
        raise fail(f"{missing.name} is missing. Install the page with: pip install 'durably[web]'") from missing
    return guard, app.create_app


def _listen(host: str, port: int) -> Any:
    """The socket, before anything is said: a port that is taken must not be announced."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise fail(f"can't listen on {host} port {port}: {error.strerror}. Choose another with --port.") from error
    return listening


def _serve(app: Any, listening: Any) -> None:
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
            ws="none",
            lifespan="off",
        )
    )
    server.run(sockets=[listening])


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _with_token(token: str | None) -> str:
    # Behind the #: a browser sends that part to nobody.
    return f"login#{quote(token, safe='')}" if token else ""


def _invoker(endpoint_url: str | None) -> Any:
    if endpoint_url is None:
        return None
    from ..history.actions import lambda_invoker

    return lambda_invoker(endpoint_url=endpoint_url)
