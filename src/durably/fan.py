"""What a fan-out means, whoever runs its items: their names, options and lanes, and the one fate of their failures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from .attempt import Attempt
from .errors import DuplicateStep
from .journal import Frame
from .options import Options, StepOptions, check_name, make_options
from .program import Answer

BEHIND = 5
"""Quick items that may be finished, times the workers, before their append is acknowledged: what a crash can repeat."""

NAMED_IN_NOTE = 5


class Items:
    """The items of one call of `fan_out`, named and checked before any of them runs."""

    def __init__(self, name: str, items: Iterable[Any], key: Callable[[Any], str | int] | None, workers: int) -> None:
        if type(workers) is not int or workers < 1:
            raise ValueError(f"fan_out({name!r}, workers={workers!r}): at least one worker is needed.")
        self.name = name
        self.all = list(items)
        self.workers = workers
        self.names = [check_name(f"{name}[{_key_of(item, key, name)}]") for item in self.all]

    def refuse_twins(self, execution: str) -> None:
        """Raise DuplicateStep when two items have one key."""
        seen: set[str] = set()
        for step in self.names:
            if step in seen:
                hint = (
                    f"Two items of fan_out({self.name!r}) have this key: drop one, or give key= what tells them apart."
                )
                raise DuplicateStep(execution, step, hint)
            seen.add(step)

    def options(self, options: StepOptions) -> list[Options]:
        """The options of each item: `recover` is asked about its own."""
        made = make_options(**options)
        recover: Callable[..., Any] | None = made.recover
        if recover is None or not _takes_an_item(recover):
            return [made] * len(self.all)
        return [made._replace(recover=partial(recover, item)) for item in self.all]

    def outcome(
        self, answers: Sequence[Answer | None], failures: Sequence[BaseException], *, give_exceptions: bool
    ) -> list[Any]:
        """The results in the order of items, or the first failure raised, with a note that counts the others."""
        if failures and not give_exceptions:
            raise _first_of(self.name, failures, sum(answer is None for answer in answers))
        return [answer.value if answer.error is None else answer.error for answer in answers if answer is not None]


class FanOut:
    """One call of `fan_out` in an execution: which items to run, and what becomes of their failures."""

    def __init__(self, attempt: Attempt, parent: Frame | None, items: Items, *, stop_at_failure: bool) -> None:
        self.behind = items.workers * BEHIND
        self.frames = [Frame(step, parent, is_item=True) for step in items.names]
        self._attempt = attempt
        self._lane = parent.lane if parent is not None else None
        self._names = items.names
        with attempt.lock:
            attempt.journal.refuse_used(self._names)
            self.known = [index for index, step in enumerate(self._names) if attempt.journal.has_outcome(step)]
            failed = attempt.journal.remembered_failures(self._names)
        # After a remembered failure the code has gone on: the same one again, and no item that was not begun then.
        self.goes_no_further = stop_at_failure and bool(failed)

    def todo(self, answers: Sequence[Answer | None]) -> list[int]:
        """The items that are to run."""
        return [] if self.goes_no_further else [index for index, answer in enumerate(answers) if answer is None]

    def close(self, answers: Sequence[Answer | None]) -> list[BaseException]:
        """All items are over and durable: their failures, in the journal's order, share one fate from here on."""
        attempt = self._attempt
        attempt.join_lanes(set(self.frames), self._lane)
        with attempt.lock:
            attempt.journal.regroup(self._names)
            failed = attempt.journal.remembered_failures(self._names)
        by_name = dict(zip(self._names, answers, strict=True))
        errors = [answer.error for step in failed if (answer := by_name[step]) is not None]
        return [error for error in errors if error is not None]

    def abandon(self) -> None:
        """A stop signal came first: what failed was never handed to the code, so it is no history."""
        attempt = self._attempt
        with attempt.lock:
            attempt.appender.hold(attempt.journal.never_handed_over(self._names), None)

    def refuse_stop(self, answer: Answer) -> Answer:
        """The answer, unless the attempt was stopped: then the signal is raised, for what failed meanwhile is no outcome."""
        stopped = self._attempt.stopped
        if stopped is not None and answer.error is not None:
            raise stopped
        return answer


def _first_of(name: str, failures: Sequence[BaseException], not_begun: int) -> BaseException:
    first, others = failures[0], failures[1:]
    if others or not_begun:
        shown = ", ".join(f"{type(error).__name__}: {str(error)[:80]}" for error in others[:NAMED_IN_NOTE])
        note = f"fan_out({name!r}): {len(others)} other item(s) failed too; {not_begun} not begun."
        first.add_note(f"{note} {shown}" if shown else note)
    return first


def _takes_an_item(recover: Callable[..., Any]) -> bool:
    try:
        inspect.signature(recover).bind(None)
    except TypeError:
        return False
    return True


def _key_of(item: Any, key: Callable[[Any], str | int] | None, name: str) -> str | int:
    made = item if key is None else key(item)
    if isinstance(made, (str, int)) and not isinstance(made, bool):
        return made
    if key is None:
        raise TypeError(
            f"fan_out({name!r}): an item is {type(item).__name__}, so say which of its fields names it, for example "
            "key=lambda item: item.id. (Its position would be no identity: it changes when the list does.)"
        )
    raise TypeError(f"fan_out({name!r}): key= gave {made!r} for an item; it must give a str or an int.")
