"""Calls to DynamoDB, made ready at first use; throttling and lost answers are asked again within the deadline.

botocore's own retries are off. Its defaults (60 s to connect and to read, seconds of back-off) outlive a Lambda.
"""

from __future__ import annotations

import os
import random
import threading
import weakref
from typing import TYPE_CHECKING, Any

from ...clock import Clock
from ...errors import StoreError
from .answers import Failed, Unreachable, epoch_of
from .texts import Item
from .wire import ClientWire, Wire, wire_for

if TYPE_CHECKING:
    from boto3.session import Session

PATIENCE_MIN_S = 0.1
"""A call is given this long even when the time is up: it is the release, and may still get through."""

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
        "Throttling",
        "ThrottlingException",
        "TransactionConflictException",
    )
)
_OTHER_KEYS = (
    "does not match the schema",
    "missing the key",
    "type mismatch for key",
    "missing key",
    "conditions on the keys",
)
_OTHER_TIME = ("signature expired", "signature not yet current")
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
        told = epoch_of(date) if self.offset_s is None else None
        if told is None:
            return
        offset = told - (self._clock.now() - _set_ahead_s(self._clock))
        self.offset_s = offset if abs(offset) > SKEW_MIN_S else 0.0


def _set_ahead_s(clock: Clock) -> float:
    """How far the clock is ahead on purpose, which is no error to correct. A clock of somebody's own never is."""
    return getattr(clock, "ahead_s", 0.0)


class Calls:
    """What sends operations on one table."""

    def __init__(self, table: str, session: Session | None, client: Any, clock: CorrectedClock) -> None:
        self.table = table
        self._session = session
        self._given = None if client is None else ClientWire(client)
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._own: Wire | None = None
        _made.add(self)

    def call(self, operation: str, *, until: float, **params: Any) -> dict[str, Any]:
        """The operation's answer. Raises Refused when its condition is not met, StoreError when the table can't be used."""
        tries, params = 0, {"TableName": self.table, **params}
        renewed = False
        while True:
            try:
                patience_s = max(PATIENCE_MIN_S, until - self._clock.monotonic())
                answer, date = self.wire().send(operation, params, patience_s)
            except Failed as error:
                clock_was_known = self._clock.offset_s is not None
                self._clock.learn(error.date)
                if error.code == "ConditionalCheckFailedException":
                    raise Refused(error.item) from None
                if error.code in _EXPIRED and not renewed and self._given is None:
                    renewed = True
                    self._renew()
                    continue
                if error.code == "InvalidSignatureException" and self.wire().takes_time(error.date):
                    if not clock_was_known:
                        continue
                    # It was set since: what this call says of leases is as wrong as its signature.
                    self._clock.offset_s = None
                if not _is_passing(error):
                    raise self._told(operation, error) from error
                trouble: Exception = error
            except Unreachable as error:
                trouble = error
            else:
                self._clock.learn(date)
                return answer
            tries += 1
            self._back_off(operation, tries, until, trouble)

    def wire(self) -> Wire:
        """Over the client given, or this process's own: sockets must not be shared over a fork. Raises Failed."""
        if self._given is not None:
            return self._given
        with self._lock:
            if self._own is None:
                self._own = self._new_wire()
            return self._own

    def _renew(self) -> None:
        with self._lock:
            self._own = self._new_wire(anew=True)

    def go_on_after_fork(self) -> None:
        """In a child: neither the parent's sockets, nor a lock that one of its threads held."""
        self._lock = threading.Lock()
        self._own = None

    def client(self) -> Any:
        """The client given, or a new one: for making a table, which is no matter of microseconds."""
        return self._client or self.session().client("dynamodb")

    def session(self) -> Session:
        """The session given, or boto3's own. Raises StoreError where boto3 is not installed."""
        try:
            import boto3
        except ImportError as error:
            raise no_boto3() from error
        return self._session or boto3.session.Session()

    def _new_wire(self, *, anew: bool = False) -> Wire:
        try:
            return wire_for(self._session, anew=anew)
        except ImportError as error:
            raise no_boto3() from error

    def _back_off(self, operation: str, tries: int, until: float, trouble: Exception) -> None:
        wait = random.random() * min(BACKOFF_MAX_S, BACKOFF_S * 2**tries)
        if self._clock.monotonic() + wait >= until:
            raise StoreError(
                f"DynamoDB table {self.table!r} did not answer {operation} in the time there was ({tries} tries): {trouble}. "
                "What was acknowledged is kept; the next attempt goes on from there. If it is throttled, look at the "
                "table's capacity; if it can't be reached, at the function's network and region."
            ) from trouble
        self._clock.sleep(wait)

    def _told(self, operation: str, error: Failed) -> StoreError:
        return StoreError(f"DynamoDB table {self.table!r} can't be used: {_advice(error, operation, self.table)}")


_made: weakref.WeakSet[Calls] = weakref.WeakSet()


def _go_on_after_fork() -> None:
    for calls in list(_made):
        calls.go_on_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_go_on_after_fork)


def no_boto3() -> StoreError:
    """What is raised where boto3 is needed and not installed."""
    return StoreError("the DynamoDB store needs boto3, which is not installed here: pip install 'durably[dynamodb]'.")


def _is_passing(error: Failed) -> bool:
    return error.status >= 500 or error.code in _AGAIN


def _advice(error: Failed, operation: str, table: str) -> str:
    code, told, action = error.code, str(error), f"dynamodb:{operation}"
    if code == "ResourceNotFoundException":
        return (
            f"there is none of that name in this account and region. Create it (DynamoDBStore({table!r}).create_table() on a "
            f"laptop or in a test), or correct DURABLY_STORE, the region or the credentials. ({told})"
        )
    if code == "InvalidSignatureException" and any(words in told.lower() for words in _OTHER_TIME):
        return f"this machine's clock is minutes off. Synchronise it; the next attempt goes on. ({told})"
    if code in ("AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException"):
        return (
            f"the credentials may not do {action}. Allow it on the table and its index in the function's role. ({told})"
        )
    if code == "ValidationException" and any(words in told.lower() for words in _OTHER_KEYS):
        return f"it has other keys: durably needs a table with pk (S) as partition key and sk (S) as sort key. ({told})"
    if code in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
        return f"boto3 found no credentials. In Lambda the role gives them; elsewhere set a profile or AWS_ACCESS_KEY_ID. ({told})"
    if code == "InvalidSettings":
        return f"{told}. Look at AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_DYNAMODB, AWS_CA_BUNDLE and REQUESTS_CA_BUNDLE."
    if code == "InvalidCredentials":
        return f"{told}. Set AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN without it."
    if code == "NoRegionError":
        return (
            "boto3 found no region. Set AWS_DEFAULT_REGION (boto3 reads no AWS_REGION) or a profile, or pass session=."
        )
    return f"{action} failed. ({told})"
