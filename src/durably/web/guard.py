"""Who may ask for a page, and what a browser may do with it: the layer in front of every route.

What executions carry is private, and some of it was written by strangers. So: names that don't lead here are refused (a
page elsewhere could point its own name at 127.0.0.1), other sites' scripts are refused, and no answer runs a script that
is not the package's own file.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""No inline script or style, no other host, and no text of a script's made into markup (trusted types)."""

HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer a browser would send `Origin: null` with our own forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
TOKEN_CHARS_MIN = 16


class Session(NamedTuple):
    """One browser's. `csrf` goes into its forms and comes back with every POST."""

    id: str
    csrf: str


class Keys:
    """What signs sessions; made anew by every process, so a restart signs everybody out."""

    def __init__(self, secret: bytes, token: str | None) -> None:
        self.secret = secret
        self.token = token

    def new_session(self) -> Session:
        """A session for a browser that may come in."""
        return self._session(secrets.token_urlsafe(18))

    def cookie_of(self, session: Session) -> str:
        """The cookie's value: the id and its signature."""
        return f"{session.id}.{self._sign('session', session.id)}"

    def session_of(self, cookie: str) -> Session | None:
        """The session a cookie stands for, None when it was not signed here."""
        id, _, signature = cookie.partition(".")
        return self._session(id) if same(signature, self._sign("session", id)) else None

    def is_token(self, given: str) -> bool:
        """Whether this is the token; in constant time."""
        return self.token is not None and same(given, self.token)

    def _session(self, id: str) -> Session:
        return Session(id, self._sign("csrf", id))

    def _sign(self, what: str, id: str) -> str:
        return hmac.new(self.secret, f"{what}:{id}".encode(), "sha256").hexdigest()


class Guard:
    """ASGI middleware. Puts the session in `scope["durably.session"]` and sets its cookie where it is new."""

    def __init__(self, app: ASGIApp, *, keys: Keys, allow_hosts: Iterable[str] = ()) -> None:
        self.app = app
        self.keys = keys
        self.allow_hosts = frozenset(name.lower() for name in allow_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        session = self._session(headers)
        refusal = self._refusal(scope, headers, session)
        is_new = session is None and self.keys.token is None
        if is_new:
            session = self.keys.new_session()
        scope["durably.session"] = session
        scope["durably.keys"] = self.keys
        cookie = cookie_line(scope, self.keys, session) if is_new and session is not None and refusal is None else None
        await (refusal or self.app)(scope, receive, _dressed(send, scope, cookie))

    def _session(self, headers: Headers) -> Session | None:
        bearer = headers.get("authorization", "")
        if bearer[:7].lower() == "bearer " and self.keys.is_token(bearer[7:].strip()):
            return self.keys.new_session()
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return None
        morsel = cookies.get(cookie_name(headers.get("host", "")))
        return self.keys.session_of(morsel.value) if morsel is not None else None

    def _refusal(self, scope: Scope, headers: Headers, session: Session | None) -> Response | None:
        host = headers.get("host", "")
        if not is_allowed(host, self.allow_hosts):
            return PlainTextResponse(
                f"This page does not answer to the name {hostname(host)!r}. Start it with --allow-host NAME if that name is yours.",
                421,
            )
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            return PlainTextResponse("Another site asked for this. Open the page itself.", 403)
        if scope["method"] not in ("GET", "HEAD") and not is_same_origin(headers):
            return PlainTextResponse("This form was sent from another site, so nothing was done.", 403)
        if self.keys.token is not None and session is None and not _is_open(scope["path"]):
            return _to_login(scope)
        return None


def is_allowed(host: str, allow_hosts: frozenset[str]) -> bool:
    """Whether a Host header may be answered. An address can't be rebound, only a name can."""
    name = hostname(host)
    if name == "localhost" or name in allow_hosts:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def hostname(host: str) -> str:
    """`[::1]:8321` → `::1`."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_same_origin(headers: Headers) -> bool:
    """Whether a POST comes from a page of ours: every browser says where from."""
    origin = headers.get("origin", "")
    try:
        return bool(origin) and urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cookie_name(host: str) -> str:
    """A name a port: cookies of one machine are shared by all its ports."""
    _, _, port = host.rpartition("]")[2].partition(":")
    return f"durably-{port}" if port.isdigit() else "durably"


def cookie_line(scope: Scope, keys: Keys, session: Session) -> str:
    """The Set-Cookie of a session."""
    name = cookie_name(Headers(scope=scope).get("host", ""))
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    return f"{name}={keys.cookie_of(session)}; Path=/; HttpOnly; SameSite=Strict{secure}"


def same(given: str, wanted: str) -> bool:
    """Equality in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def _is_open(path: str) -> bool:
    return path == "/login" or path.startswith("/static/")


def _to_login(scope: Scope) -> Response:
    if scope["method"] not in ("GET", "HEAD") or Headers(scope=scope).get("x-fragment"):
        return PlainTextResponse("Sign in with the token first.", 401)
    query = scope["query_string"].decode("latin-1")
    wanted = scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse("/login" if wanted == "/" else f"/login?next={quote(wanted, safe='')}", 303)


def _dressed(send: Send, scope: Scope, cookie: str | None) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if not scope["path"].startswith("/static/"):
                headers.setdefault("cache-control", "no-store")
            if cookie is not None:
                headers.append("set-cookie", cookie)
        await send(message)

    return sender
