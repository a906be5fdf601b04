"""The tap: HTTP servers between the handler and the services it calls, so that each call can be seen, and died around."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length", "te", "upgrade"}
ANSWER_S = 60.0


class Call(NamedTuple):
    """A request that the world has answered."""

    method: str
    path: str
    status: int
    key: str
    """Its Idempotency-Key: the same one again is the same effect."""


class Watcher(Protocol):
    """Who is told of calls. `come_by` returns when the call may go on; False: the caller is dead, answer it nothing."""

    def come_by(self, side: str, what: str) -> bool: ...

    def answered(self, call: Call) -> None: ...


class Tap:
    """A server for each named environment variable that holds an address. `opened` redirects them for a story."""

    def __init__(self, names: Sequence[str], watcher: Watcher) -> None:
        self._servers = {name: _Server(watcher) for name in names}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Inside, the variables hold the tap's addresses, and it passes requests on to the ones they held.

        A variable that held nothing is taken for a proxy's, such as HTTP_PROXY.
        """
        before = {name: os.environ.get(name) for name in self._servers}
        for name, server in self._servers.items():
            server.upstream = before[name] or ""
            os.environ[name] = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield
        finally:
            restore(before)

    def close(self) -> None:
        """Close the ports."""
        for server in self._servers.values():
            server.close()


def restore(before: Mapping[str, str | None]) -> None:
    """Set environment variables to what they were."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # a fan-out opens all its connections at once
    daemon_threads = True
    block_on_close = False

    def __init__(self, watcher: Watcher) -> None:
        super().__init__(("127.0.0.1", 0), _Carrier)
        self.watcher, self.upstream = watcher, ""
        self._connections: set[socket.socket] = set()
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="durably-tap", daemon=True
        ).start()

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection is known as long as it is open."""
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """It is over."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def close(self) -> None:
        """Close the port and every connection: clients keep theirs open, and each has a thread here."""
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The caller was killed in the middle: that is what the tap is for."""


class _Carrier(BaseHTTPRequestHandler):
    """One connection of the handler's. Each request is read whole, passed on, and its answer given back in one write."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._carry
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:
        """The report says it."""

    def _carry(self) -> None:
        body = self._body()
        upstream, target = self._where_to()
        path = target.partition("?")[0] or "/"
        what, watcher = f"{self.command} {path}", self.server.watcher
        if not watcher.come_by("before", what):
            self.close_connection = True
            return
        try:
            status, headers, answer = self._forward(upstream, target, body)
        except (OSError, http.client.HTTPException) as error:
            status, headers, answer = 502, [("Content-Type", "text/plain")], f"the tap: {error}".encode()
        watcher.answered(Call(self.command, path, status, self.headers.get("Idempotency-Key", "")))
        if not watcher.come_by("after", what):
            self.close_connection = True
            return
        self._answer(status, headers, answer)

    def _where_to(self) -> tuple[str, str]:
        """The service's address and the target to ask it for; of a proxy's request both stand in the request."""
        if not self.path.startswith("http://"):
            base = urlsplit(self.server.upstream)
            return self.server.upstream, base.path.rstrip("/") + self.path
        url = urlsplit(self.path)
        return f"{url.scheme}://{url.netloc}", (url.path or "/") + (f"?{url.query}" if url.query else "")

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return body

    def _forward(self, upstream: str, target: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        url = urlsplit(upstream)
        if url.hostname is None:
            raise OSError(f"no address to pass {self.command} {self.path} on to")
        maker = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = maker(url.hostname, url.port, timeout=ANSWER_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            if body or self.command in ("POST", "PUT", "PATCH"):
                headers["Content-Length"] = str(len(body))
            connection.request(self.command, target, body or None, headers)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        with suppress(ConnectionError):
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            has_body = self.command != "HEAD" and status >= 200 and status not in (204, 304)
            if has_body:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if has_body:
                self.wfile.write(body)
            self.wfile.flush()
