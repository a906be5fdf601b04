"""Ids of executions: namespace, function name and event id put together. The only place that reads DURABLY_NAMESPACE."""

from __future__ import annotations

import os

from .errors import DurablyError, NoIdentity

ID_MAX = 1536
"""Bytes of an execution's id; DynamoDB's partition key takes 2048 (DynamoDB quotas), and errors and logs repeat it."""


def execution_id(*parts: str) -> str:
    """The parts joined by "/", with DURABLY_NAMESPACE before them. Raises NoIdentity when it grows too long."""
    namespace = os.environ.get("DURABLY_NAMESPACE")
    whole = "/".join((namespace, *parts) if namespace else parts)
    return refuse_long(whole)


def refuse_long(id: str) -> str:
    """The execution's id as it is. Raises NoIdentity when not every store takes it: too many bytes, or not text at all."""
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        raise NoIdentity(
            f"the execution id {id[:80]!r} has half of a surrogate pair in it, which no store can write. Use a hash of it."
        ) from None
    if size > ID_MAX:
        raise NoIdentity(
            f"the execution id {id[:80]!r}… is longer than {ID_MAX} bytes. Use a shorter id, or a hash of it."
        )
    return id


def function_name(given: str) -> str:
    """A function's name as it is. Raises DurablyError for the two whose executions would be those of `once` or `execution`."""
    first = given.partition("/")[0]
    if first in ("once", "execution"):
        raise DurablyError(
            f"a durable function can't be named {given!r}: the ids of {first}(…) begin so, and one would be given the "
            "other's results. Give it another name: @durable(name='…')."
        )
    return given


def checked_id(given: object, told_by: str) -> str:
    """An id that the user gave. Raises NoIdentity unless it is a str with something in it."""
    if not isinstance(given, str) or not given.strip():
        raise NoIdentity(f"{told_by} gave {given!r}, and an execution's id is a str that is not empty.")
    if given.encode("utf-8", "ignore").decode() != given:
        raise NoIdentity(
            f"{told_by} gave {given[:80]!r}, which has a lone surrogate in it. Take it out, or hash the id."
        )
    return given


def idempotency_key(execution: str, step: str) -> str:
    """A UUID that is the same on every attempt and try of that step."""
    import uuid

    # A step may be named after a file whose name is no text: Python makes lone surrogates of such bytes.
    name = f"durably:{execution}\0{step}".encode("utf-8", "backslashreplace").decode()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def random_id(size: int) -> str:
    """Random hex of that many bytes, made when it is needed: what import makes is shared by snapshot and fork."""
    return os.urandom(size).hex()
