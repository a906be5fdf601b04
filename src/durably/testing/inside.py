"""The kit inside a sandbox's process: the store, the hooks and the counted functions ask the parent at every point."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from .. import hooks
from ..clock import SYSTEM
from ..entries import Segment
from ..stores.protocol import Store
from ..stores.sqlite import SQLiteStore
from ..stores.url import opened_instead
from . import functions
from .link import VARIABLE, Asker
from .watched import WatchedStore


class Inside:
    """One process's side of its stories."""

    def __init__(self, asker: Asker) -> None:
        self._ask = asker.ask
        self._stores: dict[str, Store] = {}
        self._now = ""
        self._watched: Any = WatchedStore(
            self._store, self._write, appended=self._appended, claiming=lambda claim: self._look_up()
        )

    def install(self) -> None:
        """From here on every store this process asks for is the story's, and every point a question."""
        self._kept = opened_instead(self._watched)
        self._kept.__enter__()  # for good: the process is the kit's
        hooks.add_hook(self._told)
        functions.come_by = lambda side, name: self._ask({"point": ["function", side, [name]]})

    def _look_up(self) -> None:
        """A process that served another story before is told where this one's store is."""
        told = self._ask({"store": True})
        self._now = f"{told['make']}|{told['path']}"
        if self._now not in self._stores:
            self._stores[self._now] = _opened(told["make"], told["path"])

    def _store(self) -> Store:
        if not self._now:
            self._look_up()
        return self._stores[self._now]

    def _write(self, side: str, whats: tuple[str, ...], owner: str | None) -> None:
        self._ask({"point": ["write", side, whats]})

    def _appended(self, segment: Segment) -> None:
        self._ask({"appended": [[segment.execution, entry.kind, entry.step] for entry in segment.entries]})

    def _told(self, event: Any) -> None:
        outcome = getattr(event, "outcome", None)
        step = outcome.step if outcome is not None else getattr(event, "step", "")
        if step:
            within, recover = getattr(event, "within", ""), getattr(event, "recover", False)
            self._ask({"step": [event.head.id, type(event).__name__, step, within, recover]})


def _opened(make: str, path: str) -> Store:
    """The story's store: what `module:function` makes of a clock, or a SQLite file. The sandbox sets the clock ahead."""
    if not make:
        return SQLiteStore(path)
    module, _, name = make.partition(":")
    store: Store = getattr(import_module(module), name)(SYSTEM)
    return store


def prepare() -> None:
    """Called in a sandbox before the handler is imported."""
    Inside(Asker(os.environ.pop(VARIABLE))).install()
