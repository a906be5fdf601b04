"""A URL in place of a store, and the default one. The only place that reads DURABLY_STORE."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from ..errors import StoreError
from .protocol import Store

DEFAULT_URL = "sqlite:///.durably/durably.db"

_opened: dict[tuple[str, str], Store] = {}
_lock = threading.Lock()
_instead: Store | None = None


def open_store(store: Store | str | None = None) -> Store:
    """The store itself, the one a URL names, or the default. One URL gives one store a process.

    Raises StoreError for a URL of no known form, and in Lambda when nothing was set.
    """
    if _instead is not None:
        return _instead
    if store is not None and not isinstance(store, str):
        if isinstance(store, type) or not hasattr(store, "claim"):
            raise TypeError(f"store={store!r} is no store: pass a URL, or an instance such as SQLiteStore('path').")
        return store
    url = store or os.environ.get("DURABLY_STORE") or _default_url()
    # A relative SQLite path means another file after a chdir.
    key = (url, os.getcwd() if url.startswith("sqlite:") else "")
    with _lock:
        if key not in _opened:
            _opened[key] = _open(url)
        return _opened[key]


@contextmanager
def opened_instead(store: Store) -> Iterator[None]:
    """Inside, every store that this process's code asks for is this one: for a replay, which must not write elsewhere."""
    global _instead
    before, _instead = _instead, store
    try:
        yield
    finally:
        _instead = before


def _default_url() -> str:
    if os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        raise StoreError(
            "no store is set, and a Lambda's own disk does not outlive it. Set the environment variable "
            "DURABLY_STORE=dynamodb://<table> on the function, or pass @durable(store='dynamodb://<table>')."
        )
    return DEFAULT_URL


def _open(url: str) -> Store:
    address, redact = _address_and_redact(url)
    scheme, separator, rest = address.partition("://")
    if scheme == "memory" and separator:
        from .memory import MemoryStore

        return MemoryStore(redact=redact)
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from .sqlite import SQLiteStore

        return SQLiteStore(unquote(rest[1:]), redact=redact)
    if scheme == "dynamodb" and rest.strip("/"):
        from .dynamodb import DynamoDBStore

        return DynamoDBStore(unquote(rest.strip("/")), redact=redact)
    raise StoreError(
        f"{url!r} names no store. Write dynamodb://<table>, sqlite:///<path> (four slashes for an absolute path), or "
        "memory://, in store= or in DURABLY_STORE."
    )


def _address_and_redact(url: str) -> tuple[str, tuple[str, ...]]:
    """The URL before its `?redact=token,*secret*`, and those names. Raises StoreError for any other parameter."""
    address, mark, query = url.partition("?redact=")
    if not mark:
        return url, ()
    if "&" in query:
        raise StoreError(f"{url!r}: a store's URL takes one parameter, ?redact=<name>,<name>.")
    return address, tuple(filter(None, unquote(query).split(",")))
