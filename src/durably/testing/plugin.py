"""The pytest plugin: a fresh store, Lambda's context, and how often a step really ran. Loaded by every pytest run.

So it imports no more than the package it stands in, the core, before a fixture is asked for.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..entries import Head
    from ..stores.protocol import Store
    from .context import LambdaContext

CLEANING_S = 20.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of tests against a real table."""
    parser.getgroup("durably").addoption(
        "--durably-store",
        metavar="URL",
        help="run tests that use durably_store on this store, for example dynamodb://my-table; each in a namespace of its "
        "own, removed when it ends. Default: the environment variable DURABLY_TEST_STORE, else a SQLite file a test.",
    )


@pytest.fixture
def durably_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store that every handler in this test uses, whatever its own is: a SQLite file, or `--durably-store`.

    Ids of executions get a namespace of this test's own, so that tests may share a table; what they claimed in this
    process is deleted at the end.
    """
    from ..stores.sqlite import SQLiteStore
    from ..stores.url import open_store, opened_instead

    url, path = (
        request.config.getoption("--durably-store") or os.environ.get("DURABLY_TEST_STORE"),
        tmp_path / "durably.db",
    )
    # One of this test's own is closed with it; one by its URL is kept for as long as the process.
    store: Store = open_store(url) if url else SQLiteStore(path)
    monkeypatch.setenv("DURABLY_STORE", url or f"sqlite:///{path}")
    monkeypatch.setenv("DURABLY_NAMESPACE", f"test-{uuid.uuid4().hex[:12]}")
    claimed: dict[str, Head] = {}
    with _hooked("AttemptBegan", lambda event: claimed.update({event.head.id: event.head})), opened_instead(store):
        yield store
    if url:
        _delete(store, claimed)


@pytest.fixture
def lambda_context() -> Callable[..., LambdaContext]:
    """`lambda_context(timeout=timedelta(seconds=3), request_id=…, name=…, clock=…)`: what Lambda hands to a handler."""
    from .context import LambdaContext

    return LambdaContext


@pytest.fixture
def times_run() -> Iterator[Callable[[str], int]]:
    """`times_run("charge")`: how often that step's function was really called in this test; replays are not counted.

    An item of a fan-out is a step of its own: `times_run("thread[a.py]")`.
    """
    counts: Counter[str] = Counter()

    def count(event: Any) -> None:
        if not event.recover:
            counts[event.step] += 1

    with _hooked("TryBegan", count):
        yield counts.__getitem__


class _hooked:
    """Calls `told` with each event of that class while it is entered."""

    def __init__(self, kind: str, told: Callable[[Any], object]) -> None:
        self._kind, self._told = kind, told

    def __enter__(self) -> None:
        from .. import hooks

        kind = getattr(hooks, self._kind)
        self._remove = hooks.add_hook(lambda event: self._told(event) if isinstance(event, kind) else None)

    def __exit__(self, *raised: object) -> None:
        self._remove()


def _delete(store: Store, claimed: dict[str, Head]) -> None:
    from ..errors import StoreError

    for head in claimed.values():
        with suppress(StoreError):  # a test's leftovers expire by themselves
            store.delete(head.id, head.generation, until=store.clock.monotonic() + CLEANING_S)
