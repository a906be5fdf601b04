"""The page as an ASGI application: routes, errors, and the guard in front of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ..errors import DurablyError, StoreError
from ..history.actions import Invoke
from ..history.reading import NoSuchExecution
from ..history.states import STUCK
from ..stores.protocol import Store
from .actions import ACTIONS, act
from .detail import NoSuchStep, show_bars, show_execution, show_step, show_text
from .forms import form_of
from .guard import TOKEN_CHARS_MIN, Guard, Keys, cookie_line
from .listing import ENDINGS_KEPT, census_of, ending_of, show_executions
from .site import HERE, Recent, Site, make_site, page


def create_app(
    store: Store,
    *,
    store_name: str = "",
    allow_actions: bool = False,
    token: str | None = None,
    allow_hosts: Iterable[str] = (),
    stuck: timedelta = STUCK,
    invoke: Invoke | None = None,
) -> ASGIApp:
    """The page over that store. With a token nothing is shown before it was given; a server others can reach needs one.

    `allow_hosts`: names it may be reached by, beside localhost and addresses. `invoke`: where a redrive sends events; to AWS
    Lambda by default. Raises ValueError for a short token.
    """
    if token is not None and len(token) < TOKEN_CHARS_MIN:
        raise ValueError(
            f"a token of {len(token)} characters can be guessed: give it {TOKEN_CHARS_MIN} or more, "
            'for example from python -c "import secrets; print(secrets.token_urlsafe(24))".'
        )
    site = make_site(store, store_name=store_name, allow_actions=allow_actions, stuck=stuck, invoke=invoke)
    errors = {DurablyError: partial(_show_error, site), HTTPException: partial(_show_error, site)}
    app = Starlette(routes=_routes(site), exception_handlers=errors)
    # Around all of it, not a middleware within: the answer to a failure of our own is guarded too.
    return Guard(app, keys=Keys(secrets.token_bytes(32), token), allow_hosts=allow_hosts)


def _routes(site: Site) -> list[Route | Mount]:
    census = Recent(lambda _: census_of(site), site.store.clock.monotonic, 1)
    endings = Recent(partial(ending_of, site), site.store.clock.monotonic, ENDINGS_KEPT)
    pages: dict[str, Callable[[Request], Response]] = {
        "/": partial(show_executions, site, census, endings),
        "/execution": partial(show_execution, site),
        "/execution/bars": partial(show_bars, site),
        "/execution/step": partial(show_step, site),
        "/execution/text": partial(show_text, site),
        "/login": partial(_show_login, site),
    }
    return [
        *(Route(path, endpoint, methods=["GET"]) for path, endpoint in pages.items()),
        *(Route(f"/execution/{name}", partial(act, site, name), methods=["POST"]) for name in ACTIONS),
        Route("/login", partial(_sign_in, site), methods=["POST"]),
        Mount("/static", _Static(directory=HERE / "static")),
    ]


class _Static(StaticFiles):
    """Files whose addresses carry their version."""

    async def get_response(self, path: str, scope: dict[str, object]) -> Response:  # type: ignore[override]  # Scope is a MutableMapping
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


def _show_login(site: Site, request: Request) -> Response:
    return page(site, request, "login.html", next=request.query_params.get("next", "/"), is_wrong=False)


async def _sign_in(site: Site, request: Request) -> Response:
    keys: Keys = request.scope["durably.keys"]
    form = await form_of(request)
    if not keys.is_token(form.get("token", "").strip()):
        return page(site, request, "login.html", status=401, next=form.get("next", "/"), is_wrong=True)
    response = RedirectResponse(_local(form.get("next", "/")), 303)
    response.headers.append("set-cookie", cookie_line(request.scope, keys, keys.new_session()))
    return response


def _local(address: str) -> str:
    """The address if it leads to a page here, else the list."""
    is_local = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_local else "/"


def _show_error(site: Site, request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        status, told = error.status_code, error.detail
    else:
        is_missing = isinstance(error, NoSuchExecution | NoSuchStep)
        status, told = 404 if is_missing else 503 if isinstance(error, StoreError) else 409, str(error)
    return page(site, request, "error.html", status=status, told=told)
