"""What calls over the network share here: one error, when trying again can help, and where secrets come from."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import Generic, Protocol, TypeVar, cast

import httpx

from durably import Retry


class Closable(Protocol):
    """A client."""

    def close(self) -> None:
        """Close its connections."""


T = TypeVar("T", bound=Closable)

TIMEOUT = timedelta(seconds=25)
"""Below the lease of 30 s: a call of an attempt that was given up for dead has ended before the next one begins."""


class CallFailed(Exception):
    """An answer that says no. `retry_after` is how long the server asked us to wait, if it did."""

    def __init__(self, status: int, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.retry_after = status, retry_after


class Unreadable(ValueError):
    """The model answered something else than the JSON it was asked for."""


def checked(response: httpx.Response) -> httpx.Response:
    """The response, or `CallFailed`."""
    if response.is_error:
        raise CallFailed(response.status_code, response.text[:300], retry_after(response.status_code, response.headers))
    return response


def retry_after(status: int, headers: Mapping[str, str]) -> timedelta | None:
    """The wait a rate limit asks for: `retry-after` in seconds, else until GitHub's primary limit is reset."""
    if status < 500 and status not in (403, 429):
        return None
    if headers.get("retry-after", "").isdigit():
        return timedelta(seconds=int(headers["retry-after"]))
    if headers.get("x-ratelimit-remaining") == "0":
        return timedelta(seconds=max(0.0, float(headers.get("x-ratelimit-reset", "0")) - time.time()))
    return None


def may_pass(error: BaseException) -> bool:
    """Whether trying again can help. Never true of a bug or of a plain refusal."""
    if isinstance(error, CallFailed):
        return error.status >= 500 or error.status in (408, 424, 429) or error.retry_after is not None
    return isinstance(error, httpx.TransportError | ConnectionError | Unreadable)


AGAIN = Retry(5, on=may_pass, delay=timedelta(seconds=0.5), factor=2, max_delay=timedelta(seconds=20))
"""The one place where anything here is tried again: the clients' own retries are off, for they know no `recover`."""


class OnePerProcess(Generic[T]):
    """A client made at the first call, not at import: a fork or a snapshot must share no connection.

    Under a lock: a fan-out's first sixteen calls come at once, and boto3's default session is not made for that.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._client, self._lock = make, cast("T | None", None), threading.Lock()

    def __call__(self) -> T:
        with self._lock:
            if self._client is None:
                self._client = self._make()
            return self._client

    def close(self) -> None:
        """Close the client, if there is one; the next call makes another."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None


@cache
def secret(name: str) -> str:
    """From the environment, else from Secrets Manager by `<name>_ARN`. Neither an argument nor a result of any step.

    Raises KeyError for an empty one, with which anybody could sign.
    """
    if value := os.environ.get(name):
        return value
    import boto3

    arn = os.environ[f"{name}_ARN"]
    return str(boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
