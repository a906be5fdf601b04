"""The Runtime API of one sandbox: what awslambdaric asks and tells, on a port of its own.

No thread: whoever waits for something of the sandbox drives it with a selector. So nothing runs here between two
invocations, an answer is seen by the thread that waits for it, and Ctrl-C needs no other thread's help.
"""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Mapping
from typing import NamedTuple

from .http import BadRequest, Request, json_response, response, take_request
from .outcome import RESPONSE_MAX

VERSION = "/2018-06-01/runtime"
CHUNK = 256 * 1024


class Answer(NamedTuple):
    """What the runtime posted of one invocation: a result, an error, or a result that Lambda refuses."""

    kind: str
    body: bytes


class Connection:
    """One connection from the runtime, and what is still to be read and written on it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.received = bytearray()
        self.to_send = bytearray()

    def send(self, what: bytes) -> None:
        """Send as much as goes, keep the rest."""
        self.to_send += what
        try:
            sent = self.socket.send(self.to_send)
        except BlockingIOError:
            return
        del self.to_send[:sent]


class RuntimeApi:
    """The runtime's side of an invocation, as it comes in: `is_idle` when it asks for the next event, then `answer`."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._connections: set[Connection] = set()
        self._asking: Connection | None = None
        self._request_id = ""
        self.answer: Answer | None = None
        self.init_error: bytes | None = None

    @property
    def is_idle(self) -> bool:
        """The runtime has initialised, or has dealt with the last event, and asks for the next."""
        return self._asking is not None

    def deliver(self, request_id: str, event: bytes, headers: Mapping[str, str]) -> None:
        """Answer the runtime's question with an event."""
        assert self._asking is not None
        connection, self._asking = self._asking, None
        self._request_id, self.answer = request_id, None
        self._send(connection, response(200, event, {"Lambda-Runtime-Aws-Request-Id": request_id, **headers}))

    def close(self) -> None:
        """Give the port back."""
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self, _: int) -> None:
        connection = Connection(self._listener.accept()[0])
        self._connections.add(connection)
        self._selector.register(connection.socket, selectors.EVENT_READ, lambda events: self._move(connection, events))

    def _move(self, connection: Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._send(connection, b"")
            if events & selectors.EVENT_READ:
                self._read(connection)
        except (ConnectionError, BadRequest):
            self._drop(connection)

    def _read(self, connection: Connection) -> None:
        try:
            chunk = connection.socket.recv(CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._drop(connection)
            return
        connection.received += chunk
        request = take_request(connection.received)
        if request is not None:
            self._handle(connection, request)

    def _handle(self, connection: Connection, request: Request) -> None:
        what = request.path.removeprefix(VERSION)
        if (request.method, what) == ("GET", "/invocation/next"):
            self._asking = connection
        elif (request.method, what) == ("POST", "/init/error"):
            self.init_error = request.body
            self._send(connection, json_response(202, {"status": "OK"}))
        elif request.method == "POST" and what == f"/invocation/{self._request_id}/response":
            self._take_result(connection, request.body)
        elif request.method == "POST" and what == f"/invocation/{self._request_id}/error":
            self.answer = Answer("error", _in_lambdas_order(request.body))
            self._send(connection, json_response(202, {"status": "OK"}))
        else:
            self._send(connection, json_response(400, {"errorType": "InvalidRequestID"}))

    def _take_result(self, connection: Connection, body: bytes) -> None:
        if len(body) > RESPONSE_MAX:
            self.answer = Answer("too large", b"")
            self._send(connection, json_response(413, {"errorType": "RequestEntityTooLarge"}))
        else:
            self.answer = Answer("result", body)
            self._send(connection, json_response(202, {"status": "OK"}))

    def _send(self, connection: Connection, what: bytes) -> None:
        connection.send(what)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.to_send else 0)
        key = self._selector.get_key(connection.socket)
        if key.events != events:
            self._selector.modify(connection.socket, events, key.data)

    def _drop(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if self._asking is connection:
            self._asking = None
        self._selector.unregister(connection.socket)
        connection.socket.close()


def _in_lambdas_order(error: bytes) -> bytes:
    """The error as the caller sees it on Lambda: message, type, request id, stack trace."""
    try:
        fields = json.loads(error)
        return json.dumps(
            {name: fields[name] for name in ("errorMessage", "errorType", "requestId", "stackTrace")}
        ).encode()
    except (ValueError, KeyError, TypeError):
        return error
