"""A loopback HTTP server for the fakes: routes, injected faults and counts. It knows no API; the fakes beside it do."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """What a route is given. `path` is unquoted, header names are lower case, `url` is the server's own address."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    url: str


@dataclass(frozen=True, slots=True)
class Response:
    """What a route answers: bytes or anything JSON."""

    status: int
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)


Route = Callable[..., Response]
"""Called with the request and the groups of its pattern."""


@dataclass
class Fault:
    """Trouble for requests whose `METHOD /path` matches: `when` says on which side of the effect it falls.

    `before`: the effect doesn't happen and `status` is answered. `after`: it happens and `status` is answered.
    `hold`: it happens and nothing is answered, until the caller has gone or `/_release` is called.
    """

    match: str
    when: str = "before"
    status: int = 502
    times: int = 1
    skip: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = field(default_factory=lambda: {"message": "Server Error"})


class Faults:
    """The faults still to come, and how many answers are held back at the moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._released = threading.Event()
        self.held = 0

    def add(self, fault: Fault) -> None:
        """Inject this fault from now on."""
        with self._lock:
            self._faults.append(fault)

    def take(self, request: Request) -> Fault | None:
        """The fault that this request meets, which is thereby used up by one."""
        line = f"{request.method} {request.path}"
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and re.fullmatch(fault.match, line):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def hold(self) -> None:
        """Keep the caller waiting, a minute at most."""
        with self._lock:
            self.held += 1
        self._released.wait(60)
        with self._lock:
            self.held -= 1

    def release(self) -> None:
        """Let every held answer go."""
        self._released.set()


class App:
    """Routes, faults and a count of requests: what one server serves."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Route]] = []
        self._lock = threading.Lock()
        self.faults = Faults()
        self.requests: Counter[str] = Counter()
        self.add("POST", "/_faults", self._inject)
        self.add("POST", "/_release", self._release)

    def add(self, method: str, pattern: str, route: Route) -> None:
        """Serve `pattern`, a regular expression over the whole path."""
        self._routes.append((method, re.compile(pattern), route))

    def answer(self, request: Request) -> Response:
        """The answer to one request, with the fault that lies in its way."""
        name, effect = self._effect_of(request)
        if effect is None:
            return Response(404, {"message": "Not Found"})
        if request.path.startswith("/_"):
            return effect()
        with self._lock:
            self.requests[name] += 1
        return self._meet(self.faults.take(request), effect)

    def _effect_of(self, request: Request) -> tuple[str, Callable[[], Response] | None]:
        for method, pattern, route in self._routes:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                return f"{method} {pattern.pattern}", partial(route, request, *match.groups())
        return "", None

    def _meet(self, fault: Fault | None, effect: Callable[[], Response]) -> Response:
        if fault is None:
            return effect()
        if fault.when == "before":
            return Response(fault.status, fault.body, fault.headers)
        response = effect()
        if fault.when == "hold":
            self.faults.hold()
            return response
        return Response(fault.status, fault.body, fault.headers)

    def _inject(self, request: Request) -> Response:
        self.faults.add(Fault(**json.loads(request.body)))
        return Response(204)

    def _release(self, _: Request) -> Response:
        self.faults.release()
        return Response(204)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Header and body in one segment, and no Nagle: else every answer takes 44 ms on loopback (delayed ACK).
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    app: App

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionAbortedError("the caller was killed while it was asking")
        request = Request(
            method=self.command,
            path=unquote(parts.path),
            query={name: values[-1] for name, values in parse_qs(parts.query).items()},
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            url=f"http://{self.headers['host']}",
        )
        self._send(self.app.answer(request))

    do_GET = do_POST = do_PATCH = _serve

    def _send(self, response: Response) -> None:
        raw = isinstance(response.body, bytes)
        body = response.body if raw else json.dumps(response.body).encode()
        self.send_response(response.status)
        if not raw:
            self.send_header("content-type", "application/json")
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status != 204:  # RFC 9110: a 204 has no content-length.
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def handle(self) -> None:
        # The caller was killed in the middle: that is what the fakes are for.
        with suppress(ConnectionError):
            super().handle()

    def finish(self) -> None:
        with suppress(ConnectionError):  # The same, on the last flush.
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the counts say it."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # A fan-out opens all its connections at once.
    daemon_threads = True


@contextmanager
def serving(app: App, port: int = 0) -> Iterator[str]:
    """Serve `app` on 127.0.0.1 from a thread of its own; yields the address."""
    handler = type("Handler", (_Handler,), {"app": app})
    server = _Server(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        app.faults.release()
        server.shutdown()
        server.server_close()
        thread.join()


def wait(seconds: float) -> None:
    """An API's latency."""
    if seconds > 0:
        time.sleep(seconds)
