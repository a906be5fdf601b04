"""Calls to DynamoDB: one client a process, made at first use; throttling and lost answers asked again within the deadline.

botocore's own retries are off. Its defaults (60 s to connect and to read, seconds of back-off) outlive a Lambda.
"""

from __future__ import annotations

import os
import random
import threading
from typing import TYPE_CHECKING, Any

from ...clock import Clock
from ...errors import StoreError
from .texts import Item

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.exceptions import ClientError

CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 3.0
BACKOFF_S, BACKOFF_MAX_S = 0.025, 1.0

SKEW_MIN_S = 2.0
"""A Date header tells whole seconds, so a smaller difference says nothing."""

_AGAIN = frozenset(
    (
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionConflictException",
    )
)
_EXPIRED = frozenset(("ExpiredTokenException", "ExpiredToken", "RequestExpired"))


class Refused(Exception):
    """A condition was not met. `item` is what stood there, where the answer has it."""

    def __init__(self, item: Item | None) -> None:
        super().__init__(item)
        self.item = item


class CorrectedClock:
    """The given clock, its `now` corrected by the server's when the two are seconds apart."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.offset_s: float | None = None
        self.monotonic = clock.monotonic
        self.sleep = clock.sleep

    def now(self) -> float:
        """Epoch seconds."""
        return self._clock.now() + (self.offset_s or 0.0)

    def learn(self, date: str | None) -> None:
        """Compare with the Date header of an answer, once."""
        if self.offset_s is not None or date is None:
            return
        from email.utils import parsedate_to_datetime

        try:
            offset = parsedate_to_datetime(date).timestamp() + 0.5 - self._clock.now()
        except ValueError:
            return
        self.offset_s = offset if abs(offset) > SKEW_MIN_S else 0.0


class Calls:
    """What sends operations on one table."""

    def __init__(self, table: str, session: Session | None, client: Any, clock: CorrectedClock) -> None:
        self.table = table
        self._session = session
        self._given = client
        self._clock = clock
        self._lock = threading.Lock()
        self._own: Any = None
        self._process = 0

    def call(self, operation: str, *, until: float, **params: Any) -> dict[str, Any]:
        """The operation's answer. Raises Refused when its condition is not met, StoreError when the table can't be used."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        tries = renewed = 0
        while True:
            try:
                return self._send(operation, params)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code == "ConditionalCheckFailedException":
                    found: Any = error.response.get("Item")
                    raise Refused(found) from None
                if code in _EXPIRED and not renewed and self._given is None:
                    renewed, self._own = 1, None
                    continue
                if not _is_passing(error):
                    raise self._told(operation, error) from error
                trouble: Exception = error
            except HTTPClientError as error:
                trouble = error
            except BotoCoreError as error:
                raise self._told(operation, error) from error
            tries += 1
            self._back_off(operation, tries, until, trouble)

    def _send(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        client = self.client()
        answer: dict[str, Any] = getattr(client, operation)(TableName=self.table, **params)
        self._clock.learn(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"))
        return answer

    def client(self) -> Any:
        """The client given, or this process's own: sockets must not be shared over a fork."""
        if self._given is not None:
            return self._given
        with self._lock:
            if self._own is None or self._process != os.getpid():
                self._own, self._process = self._make_client(), os.getpid()
            return self._own

    def _make_client(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise StoreError(
                "the DynamoDB store needs boto3, which is not installed here: pip install 'durably[dynamodb]'."
            ) from error
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": 1},
            tcp_keepalive=True,
        )
        session = self._session or boto3.session.Session()
        return session.client("dynamodb", config=config)

    def _back_off(self, operation: str, tries: int, until: float, trouble: Exception) -> None:
        wait = random.random() * min(BACKOFF_MAX_S, BACKOFF_S * 2**tries)
        if self._clock.monotonic() + wait >= until:
            raise StoreError(
                f"DynamoDB table {self.table!r} did not answer {operation} in the time there was ({tries} tries): {trouble}. "
                "What was acknowledged is kept; the next attempt goes on from there. If it is throttled, look at the "
                "table's capacity; if it can't be reached, at the function's network and region."
            ) from trouble
        self._clock.sleep(wait)

    def _told(self, operation: str, error: Exception) -> StoreError:
        code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
        return StoreError(f"DynamoDB table {self.table!r} can't be used: {_advice(code, operation, error, self.table)}")


def _is_passing(error: ClientError) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or error.response.get("Error", {}).get("Code", "") in _AGAIN


def _advice(code: str, operation: str, error: Exception, table: str) -> str:
    told = str(error)
    action = "dynamodb:" + "".join(word.capitalize() for word in operation.split("_"))
    if code == "ResourceNotFoundException":
        return (
            f"there is none of that name in this account and region. Create it (DynamoDBStore({table!r}).create_table() on a "
            f"laptop or in a test), or correct DURABLY_STORE, the region or the credentials. ({told})"
        )
    if code in ("AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException"):
        return (
            f"the credentials may not do {action}. Allow it on the table and its index in the function's role. ({told})"
        )
    if code == "ValidationException" and "key" in told.lower():
        return f"it has other keys: durably needs a table with pk (S) as partition key and sk (S) as sort key. ({told})"
    if code in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
        return f"boto3 found no credentials. In Lambda the role gives them; elsewhere set a profile or AWS_ACCESS_KEY_ID. ({told})"
    if code == "NoRegionError":
        return "boto3 found no region. Set AWS_REGION or AWS_DEFAULT_REGION, or pass session=."
    return f"{action} failed. ({told})"
