"""What an answer is read as, beside what http.client reads: any head, any body, in any pieces, whole or cut off."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from durably.stores.dynamodb.connections import Connections

from .test_wire import Server

REQUEST = b"POST / HTTP/1.1\r\nhost:here\r\ncontent-length:0\r\n\r\n"

bodies = st.sampled_from([b"", b"{}", b"x" * 70_000]) | st.binary(max_size=200)
plain = st.sampled_from(
    [
        b"Server: Jetty(12)",
        b"x-amzn-RequestId: 1",
        b"Date: Wed, 25 Nov 2026 22:12:35 GMT",
        b"X-Amz-Crc32:2745614147",
        b"x:",
    ]
)
connection = st.sampled_from(
    [None, None, None, b"Connection: keep-alive", b"connection: Close", b"Connection: close, TE", b"Connection:"]
)


def chunked(body: bytes) -> bytes:
    half = len(body) // 2
    chunks = [chunk for chunk in (body[:half], body[half:]) if chunk]
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bool]:
    """The bytes of an answer, and whether the connection is closed behind them."""
    body = draw(bodies)
    status = draw(st.sampled_from([b"200 OK", b"400 Bad Request", b"500 ", b"200 OK", b"503", b"204 No Content"]))
    lines = draw(st.lists(plain, max_size=4, unique=draw(st.integers(0, 3)) > 0))
    closed = draw(connection)
    if closed is not None:
        lines.append(closed)
    framing = draw(st.sampled_from(["length", "LENGTH", "chunked", "both", "until it closes"]))
    if framing in ("chunked", "both"):
        lines.append(b"Transfer-Encoding: chunked")
        body = chunked(body)
    if framing not in ("chunked", "until it closes"):
        lines.append((b"Content-Length: %d" if framing == "length" else b"CONTENT-LENGTH:%d ") % len(body))
    lines = draw(st.permutations(lines))
    before = draw(st.sampled_from([b"", b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
    head = before + version + b" " + status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    cut = draw(st.none() | st.integers(0, len(head)) | st.integers(0, len(body)).map(lambda end: len(head) + end))
    return (head + body)[:cut], cut is not None or framing == "until it closes"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def answer_with(server: Server, *pieces: bytes, then_close: bool = False) -> Connections:
    """Let the server answer so. Returns connections to it."""

    def answer(connection: socket.socket, number: int) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        if then_close:
            connection.close()

    server.answer = answer
    return Connections(server.url.removeprefix("http://"), None)


def by_the_library(host: str) -> Any:
    """What http.client makes of it: status, Date and body, or the kind of failure."""
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request("POST", "/")
        with connection.getresponse() as response:
            return response.status, response.getheader("Date"), response.read(), not response.will_close
    except (OSError, http.client.HTTPException) as error:
        return type(error)
    finally:
        connection.close()


OK = b"HTTP/1.1 200 OK\r\n"


@example(answer=(OK + b"Content-Length: 17\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"{}"), False), cuts=[])
@example(answer=(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", False), cuts=[])
@example(answer=(OK + b"Content-Length: 9\r\n\r\n{}", True), cuts=[])
@settings(max_examples=300, deadline=None)
@given(answer=answers(), cuts=st.lists(st.integers(0, 400), max_size=3))
def test_an_answer_is_read_as_http_client_reads_it(server: Server, answer: tuple[bytes, bool], cuts: list[int]) -> None:
    whole, closes = answer
    ends = sorted({*cuts, len(whole)})
    pieces = [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    connections = answer_with(server, *pieces, then_close=closes)
    ours: Any
    try:
        ours = tuple(connections.exchange(REQUEST, 5.0))
    except (OSError, http.client.HTTPException) as error:
        ours = type(error)
    theirs = by_the_library(server.url.removeprefix("http://"))
    # Which exception it is depends on when the other side's reset comes; both are "no answer came" to the store.
    if isinstance(theirs, type):
        assert isinstance(ours, type)
        assert ours is not TimeoutError
    else:
        assert ours == theirs


def test_what_comes_behind_an_answer_is_not_taken_for_the_next_one(server: Server) -> None:
    connections = answer_with(server, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 500 No\r\n\r\n")
    assert connections.exchange(REQUEST, 5.0)[2:] == (b"{}", False)
    answer_with(server, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
    assert connections.exchange(REQUEST, 5.0).body == b"next"
