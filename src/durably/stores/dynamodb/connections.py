"""HTTP/1.1 connections to one host, kept alive: a request goes out in one piece and its answer is waited for until an instant."""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import time
from collections import deque
from typing import Any, NamedTuple

CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 3.0
IDLE_MAX = 32

_CHUNK = 65_536

_STALE = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What a connection that the server has closed ends with, plain or over TLS."""

_HEAD = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) [^\r\n]*\r\n((?:[\w-]+:[^\r\n]*\r\n)+)\r\n")
_NO_BODY = (204, 304)


class Answer(NamedTuple):
    """What came back: the status, the Date header, the body, and whether the connection is good for another request."""

    status: int
    date: str | None
    body: bytes
    stays_open: bool


class Connections:
    """Connections to one host, one for each thread that sends at a time."""

    def __init__(self, host: str, tls: ssl.SSLContext | None) -> None:
        self._host = host
        self._tls = tls
        self._idle: deque[http.client.HTTPConnection] = deque()

    def exchange(self, request: bytes, patience_s: float) -> Answer:
        """Send a whole request and wait for its answer that long. Raises OSError or HTTPException where none came."""
        ends = time.monotonic() + patience_s
        try:
            used = self._idle.pop()
        except IndexError:
            pass
        else:
            try:
                return self._over(used, request, ends)
            except _STALE:
                # The server closed it while it lay idle, and those beside it are as old. That is no answer and no try.
                self._drop_idle()
            except TimeoutError:
                # A firewall forgets connections that lay idle, and says nothing: those beside it would each take as long.
                self._drop_idle()
                raise
        return self._over(self._connected(min(CONNECT_TIMEOUT_S, patience_s)), request, ends)

    def _over(self, connection: http.client.HTTPConnection, request: bytes, ends: float) -> Answer:
        try:
            connection.sock.settimeout(max(0.001, min(READ_TIMEOUT_S, ends - time.monotonic())))
            connection.sock.sendall(request)
            answer = _read(connection.sock, ends)
        except BaseException:
            connection.close()
            raise
        if answer.stays_open and len(self._idle) < IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _connected(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._tls is None:
            made = http.client.HTTPConnection(self._host, timeout=timeout_s)
        else:
            made = http.client.HTTPSConnection(self._host, timeout=timeout_s, context=self._tls)
        made.connect()
        return made

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def __del__(self) -> None:
        self._drop_idle()


def _read(sock: socket.socket, ends: float) -> Answer:
    """The answer on a socket. The head that DynamoDB sends is read here, any other by http.client.

    That one reads headers with the package for mail, which takes more time than all the rest of a put on this side.
    """
    coming = _Until(sock, ends)
    begun = coming.more()
    head = _HEAD.match(begun)
    told = None if head is None else _fields(head[2])
    if head is None or told is None or int(head[1]) in _NO_BODY:
        coming.put_back(begun)
        with http.client.HTTPResponse(coming, method="POST") as response:  # type: ignore[arg-type]  # the part of a socket that it uses
            response.begin()
            body = response.read()
            return Answer(response.status, response.getheader("Date"), body, not response.will_close)
    length, date = told
    body = begun[head.end() :]
    if len(body) < length:
        body = _whole(coming, body, length)
    return Answer(int(head[1]), date, body[:length], len(body) == length)


def _fields(lines: bytes) -> tuple[int, str | None] | None:
    """The length and the Date that a head's lines tell. None where the body ends by another rule, or the connection with it."""
    found: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in found:
            return None
        found[name] = value.strip()
    length, connection = found.get(b"content-length", b""), found.get(b"connection", b"keep-alive")
    if not length.isdigit() or connection.lower() != b"keep-alive" or b"transfer-encoding" in found:
        return None
    date = found.get(b"date")
    return int(length), None if date is None else date.decode("latin-1")


def _whole(coming: _Until, begun: bytes, length: int) -> bytes:
    parts, got = [begun], len(begun)
    while got < length:
        more = coming.more()
        if not more:
            raise http.client.IncompleteRead(b"".join(parts), length - got)
        parts.append(more)
        got += len(more)
    return b"".join(parts)


class _Until(io.RawIOBase):
    """What is read of a socket until an instant: a socket's own timeout begins anew with every byte that comes."""

    def __init__(self, sock: socket.socket, ends: float) -> None:
        self._sock = sock
        self._ends = ends
        self._begun = b""

    def more(self) -> bytes:
        """The next bytes, none at the end. Raises TimeoutError when the instant has come."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not come whole in the time there was")
        self._sock.settimeout(min(READ_TIMEOUT_S, left))
        return self._sock.recv(_CHUNK)

    def put_back(self, begun: bytes) -> None:
        """Let these bytes be the first that `readinto` gives."""
        self._begun = begun

    def makefile(self, mode: str) -> io.BufferedReader:
        """As of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """It is only read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `more`."""
        begun = self._begun or self.more()
        fits = min(len(begun), len(buffer))
        buffer[:fits] = begun[:fits]
        self._begun = begun[fits:]
        return fits
