"""How the effects of a story are counted: by asking the world, by the calls that the tap saw, by counted functions."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sized
from fnmatch import fnmatchcase
from typing import Any

from .tap import Call

Effect = str | Callable[..., Any]
"""A pattern of calls, `POST /repos/*/comments`, or a function that counts: a number, a list, or numbers by key."""

Counts = dict[str, dict[str, int]]
"""Effect, then key ("" where it is counted as a whole), then how often."""


class Ledger:
    """What happened in one story, as far as it passed the kit."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._functions: Counter[str] = Counter()
        self._lock = threading.Lock()

    def called(self, call: Call) -> None:
        """The world answered a call."""
        self.calls.append(call)

    def returned(self, name: str) -> None:
        """A counted function returned."""
        with self._lock:
            self._functions[name] += 1

    def counts(self, effects: Mapping[str, Effect], world: object) -> Counts:
        """Every effect's count as of now."""
        with self._lock:
            found: Counts = {name: {"": count} for name, count in self._functions.items()}
        for name, effect in effects.items():
            found[name] = {"": self._matching(effect)} if isinstance(effect, str) else _asked(effect, world)
        return found

    def _matching(self, pattern: str) -> int:
        """Answered calls of that form; one that the same idempotency key came with before is not another."""
        calls = [call for call in self.calls if call.status < 400]
        keys = [call.key for call in calls if fnmatchcase(f"{call.method} {call.path}", pattern)]
        return len({key for key in keys if key}) + keys.count("")


def _asked(count: Callable[..., Any], world: object) -> dict[str, int]:
    answer = count() if world is None else count(world)
    if isinstance(answer, Mapping):
        return {str(key): int(number) for key, number in answer.items()}
    return {"": len(answer) if isinstance(answer, Sized) else int(answer)}


def grown(before: Counts, now: Counts) -> set[str]:
    """The effects that happened between two counts."""
    return {
        name
        for name, counts in now.items()
        if any(number > before.get(name, {}).get(key, 0) for key, number in counts.items())
    }
