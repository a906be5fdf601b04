"""How an operation reaches DynamoDB: over the user's own client, or signed by botocore and sent over the standard library.

A put by a boto3 client takes two to three times the CPU of the request itself, most of it in the client's generic
machinery; in a small Lambda that is tens of milliseconds. Endpoint, region, credentials and certificates are still the
ones that boto3 finds. Where there is a proxy to go through, the client is used after all.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.request
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from boto3.session import Session

CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 3.0
IDLE_MAX = 32

TARGET = "DynamoDB_20120810."
"""The service's version, with which its JSON protocol names operations."""


class Failed(Exception):
    """The service answered with an error, or the request could not be made."""

    def __init__(self, code: str, message: str, status: int = 0, item: Any = None, date: str | None = None) -> None:
        super().__init__(code, message, status, item, date)
        self.code = code
        self.message = message
        self.status = status
        self.item = item
        self.date = date
        """The server's Date, where it answered."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Unreachable(Exception):
    """No answer came: whether the operation took effect is unknown."""


class Wire(Protocol):
    """Sends one operation, by its name in DynamoDB's API, and gives its answer and the server's Date."""

    def send(self, operation: str, params: dict[str, Any], patience_s: float) -> tuple[dict[str, Any], str | None]:
        """Wait for an answer no longer than that, where the way lets one choose. Raises Failed or Unreachable."""
        ...


class ClientWire:
    """Over a boto3 client, used as it is."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def send(self, operation: str, params: dict[str, Any], patience_s: float) -> tuple[dict[str, Any], str | None]:
        """See Wire.send. The client's own timeouts hold."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        method = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("_")
        try:
            answer: dict[str, Any] = getattr(self._client, method)(**params)
        except ClientError as error:
            told, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
            found: Any = error.response.get("Item")
            date = meta.get("HTTPHeaders", {}).get("date")
            raise Failed(told.get("Code", ""), str(error), meta.get("HTTPStatusCode", 0), found, date) from error
        except HTTPClientError as error:
            raise Unreachable(str(error)) from error
        except BotoCoreError as error:
            raise Failed(type(error).__name__, str(error)) from error
        return answer, answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")


class SignedWire:
    """Over connections of its own, kept alive, one for each thread that sends at a time."""

    def __init__(self, session: Session, client: Any) -> None:
        self._idle: deque[http.client.HTTPConnection] = deque()
        url = urlsplit(client.meta.endpoint_url)
        self._url = client.meta.endpoint_url.rstrip("/") + "/"
        self._host = url.netloc
        self._tls = _tls_context(session) if url.scheme == "https" else None
        self._region = client.meta.region_name
        self._credentials = session.get_credentials()
        self._agent = f"durably botocore/{client.meta.config.user_agent.split('Botocore/')[-1].split(' ')[0]}"

    def send(self, operation: str, params: dict[str, Any], patience_s: float) -> tuple[dict[str, Any], str | None]:
        """See Wire.send."""
        body = json.dumps(params, default=_binary, separators=(",", ":")).encode()
        headers = self._signed(operation, body)
        try:
            status, date, raw = self._exchange(body, headers, patience_s)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        try:
            answer: dict[str, Any] = json.loads(raw) if raw else {}
        except ValueError as error:
            if status == 200:
                raise Unreachable(f"the answer was cut short: {error}") from error
            answer = {}
        if status != 200:
            code = str(answer.get("__type", f"HTTP{status}")).rpartition("#")[2]
            message = answer.get("message") or answer.get("Message") or raw[:200].decode(errors="replace")
            raise Failed(code, message, status, answer.get("Item"), date)
        return answer, date

    def _signed(self, operation: str, body: bytes) -> dict[str, str]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        if self._credentials is None:
            raise Failed("NoCredentialsError", "Unable to locate credentials")
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": TARGET + operation,
            "User-Agent": self._agent,
        }
        request = AWSRequest("POST", self._url, headers=headers, data=body)
        try:
            SigV4Auth(self._credentials.get_frozen_credentials(), "dynamodb", self._region).add_auth(request)
        except BotoCoreError as error:
            raise Failed(type(error).__name__, str(error)) from error
        return dict(request.headers.items())

    def _exchange(self, body: bytes, headers: dict[str, str], patience_s: float) -> tuple[int, str | None, bytes]:
        connection = self._connection(min(CONNECT_TIMEOUT_S, patience_s))
        try:
            connection.sock.settimeout(min(READ_TIMEOUT_S, patience_s))
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            raw = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close or len(self._idle) >= IDLE_MAX:
            connection.close()
        else:
            self._idle.append(connection)
        return response.status, response.getheader("Date"), raw

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        if self._tls is None:
            made = http.client.HTTPConnection(self._host, timeout=timeout_s)
        else:
            made = http.client.HTTPSConnection(self._host, timeout=timeout_s, context=self._tls)
        made.connect()
        return made

    def __del__(self) -> None:
        while self._idle:
            self._idle.pop().close()


def wire_for(session: Session) -> Wire:
    """The way to DynamoDB for this session. Raises Failed where no client can be made (no region)."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
    )
    try:
        client = session.client("dynamodb", config=config)
    except BotoCoreError as error:
        raise Failed(type(error).__name__, str(error)) from error
    if _goes_through_a_proxy(client.meta.endpoint_url):
        return ClientWire(client)
    return SignedWire(session, client)


def _goes_through_a_proxy(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname or "")


def _tls_context(session: Session) -> ssl.SSLContext:
    """Certificates as boto3 chooses them: AWS_CA_BUNDLE or the profile's, else botocore's own."""
    from botocore.httpsession import get_cert_path

    bundle = session._session.get_config_variable("ca_bundle")
    return ssl.create_default_context(cafile=bundle or get_cert_path(True))


def _binary(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no DynamoDB attribute")
