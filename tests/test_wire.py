"""The way to DynamoDB under bad servers and settings: stale connections, slow answers, nonsense, forks, expired keys."""

from __future__ import annotations

import calendar
import email.utils
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from durably import DynamoDBStore, StoreError
from durably.stores.dynamodb import connections
from durably.stores.dynamodb.endpoint import credentials_of

from .contract import UNTIL

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Answer = Callable[[socket.socket, int], None]


class Server:
    """Loopback HTTP that answers each request by `answer(connection, number of the request)`."""

    def __init__(self) -> None:
        self.answer: Answer = lambda connection, number: connection.sendall(EMPTY)
        self.connections: list[socket.socket] = []
        self.requests: list[bytes] = []
        self.tls: ssl.SSLContext | None = None
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self.tls is not None:
                self.connections.remove(connection)
                connection = self.tls.wrap_socket(connection, server_side=True)
                self.connections.append(connection)
            while request := connection.recv(100_000):
                self.requests.append(request)
                self.answer(connection, len(self.requests))
        except OSError:
            return

    def hang_up(self) -> None:
        """Close every connection, as a server does with those that lay idle for long."""
        while self.connections:
            connection = self.connections.pop()
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already
            connection.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        self.hang_up()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", made.url)
    yield made
    made.close()


def read(store: DynamoDBStore, patience_s: float = 5.0) -> Any:
    return store.read("nobody", until=store.clock.monotonic() + patience_s)


def test_connections_that_went_stale_cost_no_try(server: Server) -> None:
    store, together = DynamoDBStore("one"), threading.Barrier(12)

    def wait_for_all(connection: socket.socket, number: int) -> None:
        together.wait(10)
        connection.sendall(EMPTY)

    server.answer = wait_for_all
    readers = [threading.Thread(target=read, args=(store,)) for _ in range(12)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    server.answer = lambda connection, number: connection.sendall(EMPTY)
    server.hang_up()
    server.requests.clear()
    slept: list[float] = []
    store.clock.sleep = slept.append  # type: ignore[method-assign]
    assert read(store) is None
    assert slept == []
    assert len(server.requests) == 1


def test_an_answer_that_drips_is_given_up_when_the_time_is_over(server: Server) -> None:
    def drip(connection: socket.socket, number: int) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(200):
            time.sleep(0.02)
            connection.sendall(b"x")

    server.answer = drip
    began = time.monotonic()
    with pytest.raises(StoreError, match="did not answer GetItem"):
        read(DynamoDBStore("one"), 0.3)
    assert time.monotonic() - began < 2


def test_connections_that_a_firewall_forgot_cost_one_try(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READ_TIMEOUT_S", 0.2)
    store, together = DynamoDBStore("one"), threading.Barrier(6)

    def wait_for_all(connection: socket.socket, number: int) -> None:
        together.wait(10)
        connection.sendall(EMPTY)

    server.answer = wait_for_all
    readers = [threading.Thread(target=read, args=(store,)) for _ in range(6)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    forgotten = list(server.connections)
    server.answer = lambda connection, number: None if connection in forgotten else connection.sendall(EMPTY)
    server.requests.clear()
    assert read(store) is None
    assert len(server.requests) == 2


def answers_by_a_clock(server: Server) -> list[float]:
    """Let the server refuse signatures that are 5 minutes off, by a clock that is so many seconds ahead of ours."""
    refused = b'{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Signature expired: 2026"}'
    ahead_s = [0.0]

    def answer(connection: socket.socket, number: int) -> None:
        now = time.time() + ahead_s[0]
        told = email.utils.formatdate(now, usegmt=True).encode()
        signed = re.search(rb"x-amz-date:(\S+)", server.requests[-1])
        assert signed is not None
        at = calendar.timegm(time.strptime(signed[1].decode(), "%Y%m%dT%H%M%SZ"))
        status, body = (b"200 OK", b"{}") if abs(at - now) < 300 else (b"400 Bad Request", refused)
        head = b"HTTP/1.1 %s\r\nDate: %s\r\nContent-Length: %d\r\n\r\n" % (status, told, len(body))
        connection.sendall(head + body)

    server.answer = answer
    return ahead_s


def test_a_signature_that_is_too_old_by_the_servers_clock_is_made_anew(server: Server) -> None:
    answers_by_a_clock(server)[0] = 3600.0
    store = DynamoDBStore("one")
    assert [read(store), read(store)] == [None, None]
    assert len(server.requests) == 3
    assert store.clock.now() == pytest.approx(time.time() + 3600, abs=3)


def test_a_clock_that_was_set_is_told_and_leases_are_told_by_the_right_one_again(server: Server) -> None:
    """What the call says of leases is by the wrong clock: only the next attempt's is right."""
    ahead_s = answers_by_a_clock(server)
    store = DynamoDBStore("one")
    assert read(store) is None
    ahead_s[0] = -7200.0
    with pytest.raises(StoreError, match="clock is minutes off"):
        read(store)
    assert read(store) is None
    assert store.clock.now() == pytest.approx(time.time() - 7200, abs=3)


def test_a_signature_that_is_wrong_is_sent_once(server: Server) -> None:
    body = b'{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"does not match"}'
    told = email.utils.formatdate(usegmt=True).encode()
    head = b"HTTP/1.1 400 Bad Request\r\nDate: %s\r\nContent-Length: %d\r\n\r\n" % (told, len(body))
    server.answer = lambda connection, number: connection.sendall(head + body)
    with pytest.raises(StoreError, match="credentials"):
        read(DynamoDBStore("one"))
    assert len(server.requests) == 1


@pytest.mark.parametrize("bundle", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_over_tls_a_connection_is_kept_and_a_stale_one_costs_no_try(
    bundle: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not here")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
    named = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *named], check=True, capture_output=True)
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(certificate, key)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", server.url.replace("http://127.0.0.1", "https://localhost"))
    store, slept = DynamoDBStore("one"), []
    store.clock.sleep = slept.append  # type: ignore[method-assign]
    with pytest.raises(StoreError, match=r"CERTIFICATE_VERIFY_FAILED.*AWS_CA_BUNDLE"):
        read(store, 0.2)
    monkeypatch.setenv(bundle, str(certificate))
    store = DynamoDBStore("one")
    store.clock.sleep = slept.append  # type: ignore[method-assign]
    server.hang_up()
    assert [read(store) for _ in range(3)] == [None] * 3
    assert len(server.connections) == 1
    server.hang_up()
    assert read(store) is None
    assert slept == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html",
        b'HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\n"x"',
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        b"hello\r\n\r\n",
    ],
    ids=["null", "list", "html", "text", "busy", "no HTTP"],
)
def test_what_is_no_answer_of_dynamodb_is_a_store_error(server: Server, answer: bytes) -> None:
    server.answer = lambda connection, number: (connection.sendall(answer), connection.shutdown(socket.SHUT_RDWR))
    with pytest.raises(StoreError, match="one"):
        read(DynamoDBStore("one"), 0.2)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("AWS_ENDPOINT_URL_DYNAMODB", "localhost:8000", "no URL"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://localhost:abc", "AWS_ENDPOINT_URL"),
        ("AWS_CA_BUNDLE", "/nonexistent", "AWS_CA_BUNDLE"),
    ],
)
def test_settings_that_lead_nowhere_are_named(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=told):
        read(DynamoDBStore("one"))


def test_a_child_forked_while_a_thread_makes_ready_makes_ready_itself(server: Server) -> None:
    store = DynamoDBStore("one")
    assert read(store) is None
    with store._calls._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork beside threads
        child = os.fork()
        if child == 0:
            threading.Timer(10, os._exit, [1]).start()
            os._exit(0 if read(store) is None else 2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_rotated_keys_of_a_profile_are_looked_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    keys.write_text("[default]\naws_access_key_id = OLD\naws_secret_access_key = s\n")
    session = boto3.session.Session(region_name="us-east-1")
    assert credentials_of(session, anew=False).access_key == "OLD"
    keys.write_text("[default]\naws_access_key_id = NEW\naws_secret_access_key = s\n")
    assert credentials_of(session, anew=False).access_key == "OLD"
    assert credentials_of(session, anew=True).access_key == "NEW"
    given = boto3.session.Session("GIVEN", "s", region_name="us-east-1")
    assert credentials_of(given, anew=True).access_key == "GIVEN"


def test_expired_keys_are_asked_for_once_more(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expired = b'{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"expired"}'
    keys = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    keys.write_text("[default]\naws_access_key_id = OLD\naws_secret_access_key = s\n")

    def answer(connection: socket.socket, number: int) -> None:
        if b"OLD/" in server.requests[-1]:
            keys.write_text("[default]\naws_access_key_id = NEW\naws_secret_access_key = s\n")
            head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(expired)
            return connection.sendall(head + expired)
        return connection.sendall(EMPTY)

    server.answer = answer
    for session in (None, boto3.session.Session(region_name="us-east-1")):
        keys.write_text("[default]\naws_access_key_id = OLD\naws_secret_access_key = s\n")
        assert DynamoDBStore("one", session=session).read("nobody", until=UNTIL) is None
        assert b"NEW/" in server.requests[-1]


def answer_of_sts(status: bytes, code: bytes) -> Answer:
    body = b"<ErrorResponse><Error><Code>%s</Code><Message>no</Message></Error></ErrorResponse>" % code
    answer = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
    return lambda connection, number: connection.sendall(answer)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (answer_of_sts(b"403 Forbidden", b"AccessDenied"), "can't be used.*AccessDenied.*AssumeRoleWithWebIdentity"),
        (answer_of_sts(b"400 Bad Request", b"Throttling"), "did not answer.*Throttling"),
        (answer_of_sts(b"503 Busy", b"ServiceUnavailable"), "did not answer.*ServiceUnavailable"),
        (None, "did not answer.*Could not connect"),
    ],
    ids=["denied", "throttled", "busy", "down"],
)
def test_a_role_that_cannot_be_assumed_is_a_store_error(
    answer: Answer | None, told: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a Kubernetes pod: the keys come from STS, and what it answers is no exception of ours by itself."""
    sts = Server()
    sts.answer = answer or sts.answer
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text("a token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reviewer")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url if answer else "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=told):
        read(DynamoDBStore("one"), 0.3)
    sts.close()
    assert server.requests == []


def test_a_web_identity_token_that_is_not_there_is_a_store_error(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reviewer")
    with pytest.raises(StoreError, match="/nonexistent"):
        read(DynamoDBStore("one"), 0.3)


def test_over_a_client_a_connection_that_is_refused_is_tried_again() -> None:
    once = Config(retries={"total_max_attempts": 1})
    client = boto3.client("dynamodb", region_name="us-east-1", endpoint_url="http://127.0.0.1:9", config=once)
    with pytest.raises(StoreError, match=r"did not answer.*Could not connect"):
        read(DynamoDBStore("one", client=client), 0.2)


def test_the_path_of_an_endpoint_is_kept_as_boto3_keeps_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"{server.url}/behind/here")
    assert read(DynamoDBStore("one")) is None
    assert server.requests[0].startswith(b"POST /behind/here")
