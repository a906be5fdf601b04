"""What comes back besides an item, whichever way an operation went: an error, no answer, and the server's time."""

from __future__ import annotations

from typing import Any


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


def told_by_boto3(error: Exception) -> Failed | Unreachable:
    """What boto3 raised: an answer, a connection that failed, or something before either."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, SSLError

    if isinstance(error, ClientError):
        told, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        found: Any = error.response.get("Item")
        date = meta.get("HTTPHeaders", {}).get("date")
        return Failed(told.get("Code", ""), str(error), meta.get("HTTPStatusCode", 0), found, date)
    if isinstance(error, (ConnectionError, HTTPClientError)) and not isinstance(error, SSLError):
        return Unreachable(str(error))
    return Failed(type(error).__name__, str(error))


def epoch_of(date: str | None) -> float | None:
    """The instant that a Date header tells, in epoch seconds: it has whole ones, so the middle of its second."""
    if date is None:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp() + 0.5
    except ValueError:
        return None
