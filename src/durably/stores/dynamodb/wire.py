"""How an operation reaches DynamoDB: over the user's own client, or over the standard library in one piece.

A put by a boto3 client takes several times the CPU of the request itself, nearly all of it in generic machinery; in a
small Lambda that is tens of milliseconds. Endpoint, region, credentials (renewed as botocore does) and certificates
are still the ones that boto3 finds. Where there is a proxy to go through, the client is used after all.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import time
import urllib.request
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from .answers import Failed, Unreachable, epoch_of, told_by_boto3
from .connections import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Connections
from .endpoint import botocore_session_of, credentials_of, default_session, known_endpoint
from .signing import Signer

if TYPE_CHECKING:
    from boto3.session import Session

SIGNED_WITHIN_S = 60.0
"""A signature's time this near to the server's is not why it was refused."""

TARGET = "DynamoDB_20120810."
"""The service's version, with which its JSON protocol names operations."""


class Wire(Protocol):
    """Sends one operation, by its name in DynamoDB's API, and gives its answer and the server's Date."""

    def send(self, operation: str, params: dict[str, Any], patience_s: float) -> tuple[dict[str, Any], str | None]:
        """Wait for an answer no longer than that, where the way lets one choose. Raises Failed or Unreachable."""
        ...

    def takes_time(self, date: str | None) -> bool:
        """Sign by the server's time from now on. False when that is no other than the last signature's."""
        ...


class ClientWire:
    """Over a boto3 client, used as it is."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def send(self, operation: str, params: dict[str, Any], patience_s: float) -> tuple[dict[str, Any], str | None]:
        """See Wire.send. The client's own timeouts hold."""
        from botocore.exceptions import BotoCoreError, ClientError

        method = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("_")
        try:
            answer: dict[str, Any] = getattr(self._client, method)(**params)
        except (BotoCoreError, ClientError) as error:
            raise told_by_boto3(error) from error
        return answer, answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")

    def takes_time(self, date: str | None) -> bool:
        """A client signs by the machine's clock."""
        return False


class SignedWire:
    """Over connections of its own."""

    def __init__(self, endpoint: str, region: str, session: Any, credentials: Any) -> None:
        import botocore

        url = urlsplit(endpoint)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"the endpoint {endpoint!r} is no URL, for example http://localhost:8000")
        tls = _tls_context(session) if url.scheme == "https" else None
        self._connections = Connections(url.netloc.rpartition("@")[2], tls)
        self._signer = Signer(host_header(endpoint), region)
        self._credentials = credentials
        self._clock_behind_s = 0.0
        self._plain_headers = f"user-agent:durably botocore/{botocore.__version__}\r\naccept-encoding:identity\r\n"

    def send(self, operation: str, params: dict[str, Any], patience_s: float) -> tuple[dict[str, Any], str | None]:
        """See Wire.send."""
        body = _to_json(params).encode()
        request = self._signed(operation, body)
        try:
            status, date, raw, _ = self._connections.exchange(request, patience_s)
        except ssl.SSLCertVerificationError as error:
            raise Failed("InvalidSettings", f"{type(error).__name__}: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        try:
            answer: dict[str, Any] = json.loads(raw) if raw else {}
            if type(answer) is not dict:
                raise ValueError("it is no object")
        except ValueError as error:
            if status == 200:
                raise Unreachable(f"the answer is not DynamoDB's, or was cut short: {error}") from error
            answer = {}
        if status != 200:
            code = str(answer.get("__type", f"HTTP{status}")).rpartition("#")[2]
            message = answer.get("message") or answer.get("Message") or raw[:200].decode(errors="replace")
            raise Failed(code, message, status, answer.get("Item"), date)
        return answer, date

    def takes_time(self, date: str | None) -> bool:
        """See Wire.takes_time."""
        told = epoch_of(date)
        behind_s = 0.0 if told is None else told - time.time()
        if told is None or abs(behind_s - self._clock_behind_s) < SIGNED_WITHIN_S:
            return False
        self._clock_behind_s = behind_s
        return True

    def _signed(self, operation: str, body: bytes) -> bytes:
        """The whole request. It is sent in one piece: in two, the server waits for the second."""
        if self._credentials is None:
            raise Failed("NoCredentialsError", "Unable to locate credentials")
        try:
            # It may ask STS, a file or a program of the user's: whatever goes wrong there, the store was not asked.
            credentials = self._credentials.get_frozen_credentials()
        except Exception as error:
            raise told_by_boto3(error) from error
        try:
            now = time.time() + self._clock_behind_s
            signed = self._signer.headers(TARGET + operation, body, credentials, now)
        except ValueError as error:
            raise Failed("InvalidCredentials", str(error)) from error
        return f"POST / HTTP/1.1\r\n{signed}{self._plain_headers}content-length:{len(body)}\r\n\r\n".encode() + body


def wire_for(session: Session | None, *, anew: bool = False) -> Wire:
    """The way to DynamoDB for this boto3 session, or for the default one. Raises Failed where none can be found (no region).

    `anew`: with credentials looked up again, since those that a session keeps have expired.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        own = botocore_session_of(session) if session is not None else default_session()
        # A session that the user made may give clients of its own making, so it is asked for one.
        endpoint = known_endpoint(own) if session is None else None
        if endpoint is not None and not _is_a_clients(endpoint):
            region = own.get_config_variable("region")
            if region:
                return SignedWire(endpoint, region, own, own.get_credentials())
        return _by_client(session, anew)
    except (BotoCoreError, ClientError) as error:
        raise told_by_boto3(error) from error
    except (OSError, ValueError) as error:
        # A certificate file that is not there, an endpoint that is no URL.
        raise Failed("InvalidSettings", f"{type(error).__name__}: {error}") from error


def _by_client(session: Session | None, anew: bool) -> Wire:
    import boto3
    from botocore.config import Config

    session = session or boto3.session.Session()
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
    )
    client = session.client("dynamodb", config=config)
    endpoint: str = client.meta.endpoint_url
    if _is_a_clients(endpoint):
        return ClientWire(client)
    return SignedWire(
        endpoint, client.meta.region_name, botocore_session_of(session), credentials_of(session, anew=anew)
    )


def host_header(endpoint: str) -> str:
    """The endpoint's host as it is signed: in lower case, and with the port where it is not the scheme's own."""
    url = urlsplit(endpoint)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or ""
    return host if url.port in (None, {"http": 80, "https": 443}.get(url.scheme)) else f"{host}:{url.port}"


def _is_a_clients(endpoint: str) -> bool:
    """Whether the way there is left to a client: through a proxy, or to another path than the root."""
    parts = urlsplit(endpoint)
    if parts.netloc and parts.path.strip("/"):
        return True
    return parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname or "")


def _tls_context(session: Any) -> ssl.SSLContext:
    """Certificates as boto3 chooses them: AWS_CA_BUNDLE or the profile's, REQUESTS_CA_BUNDLE, else botocore's own."""
    from botocore.httpsession import get_cert_path

    bundle = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return ssl.create_default_context(cafile=bundle or get_cert_path(True))


def _binary(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no DynamoDB attribute")


_to_json = json.JSONEncoder(default=_binary, separators=(",", ":")).encode
