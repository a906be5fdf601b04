"""What every page needs: the store, its templates, and views read a moment ago. One a server."""

from __future__ import annotations

import shlex
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ..history.actions import Invoke
from ..history.as_json import moment
from ..history.model import ExecutionView
from ..history.reading import read_execution
from ..history.spans import duration_text, size_text
from ..stores.protocol import Store
from .texts import pretty, tame

T = TypeVar("T")

HERE = Path(__file__).parent
FRESH_S = 0.5
"""Several readers of one live page share a reading of that age."""
RECENT_S = 30.0
"""Parts of a page that is already shown come from a reading of that age: an outcome never changes."""
KEPT_VIEWS = 4


class Recent(Generic[T]):
    """What was read lately, by key; the least used goes first."""

    def __init__(self, read: Callable[[str], T], monotonic: Callable[[], float], most: int) -> None:
        self._read = read
        self._monotonic = monotonic
        self._most = most
        self._kept: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._kept

    def get(self, key: str, max_age_s: float) -> T:
        """The value, read again when the kept one is older than that."""
        with self._lock:
            at, value = self._kept.get(key, (float("-inf"), None))
            if value is not None and self._monotonic() - at <= max_age_s:
                self._kept.move_to_end(key)
                return value
        read, at = self._read(key), self._monotonic()
        with self._lock:
            self._kept[key] = (at, read)
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return read

    def forget(self, key: str) -> None:
        """Read that one again when it is asked for."""
        with self._lock:
            self._kept.pop(key, None)


class Site(NamedTuple):
    """The parts of a running page."""

    store: Store
    store_name: str
    templates: jinja2.Environment
    views: Recent[ExecutionView]
    allow_actions: bool
    stuck: timedelta
    invoke: Invoke | None


def make_site(
    store: Store, *, store_name: str, allow_actions: bool, stuck: timedelta, invoke: Invoke | None = None
) -> Site:
    """The site over a store."""
    views = Recent(lambda id: read_execution(store, id, stuck=stuck), store.clock.monotonic, KEPT_VIEWS)
    return Site(store, store_name, _templates(), views, allow_actions, stuck, invoke)


def page(site: Site, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """A rendered template. A fragment that has not changed since the asker's last is an empty 304."""
    session = request.scope.get("durably.session")
    html = site.templates.get_template(template).render(
        site=site, status=status, csrf=session.csrf if session is not None else "", path=request.url.path, **values
    )
    if "x-fragment" not in request.headers:
        return HTMLResponse(html, status)
    etag = f'"{sha256(html.encode()).hexdigest()[:20]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"etag": etag})
    return HTMLResponse(html, status, headers={"etag": etag})


def link(path: str, **parameters: object) -> str:
    """A local address; parameters that are None or empty are left out."""
    query = urlencode({name: value for name, value in parameters.items() if value is not None and value != ""})
    return f"{path}?{query}" if query else path


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        # Whatever a template writes is tamed first and escaped after; no page has to think of it.
        finalize=lambda value: tame(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters.update(
        duration=duration_text,
        size=size_text,
        moment=moment,
        pretty=pretty,
        percent=_percent,
        clock=_clock,
        ticked=_ticked,
        shell=shlex.quote,
    )
    environment.globals.update(link=link, version=_version(), split_id=_split_id)
    return environment


def _ticked(text: str) -> Markup:
    """A line in which `names` stand between backticks, as code."""
    parts = [escape(tame(part)) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backtick within a name: then none is meant
        return escape(tame(text))
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def _percent(share: float) -> str:
    return f"{share * 100:.3f}%"


def _clock(epoch_s: float | None) -> str:
    text = moment(epoch_s)
    return f"{text[:10]} {text[11:19]} UTC" if text else "—"


def _split_id(id: str) -> tuple[str, str]:
    """The function's part, which many ids share, and the event's."""
    before, slash, after = id.partition("/")
    return (before + slash, after) if after else ("", id)


def _version() -> str:
    """Of the static files: a new version has new addresses, so they may be kept for a year."""
    files = sorted((HERE / "static").iterdir())
    return sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()[:12]
