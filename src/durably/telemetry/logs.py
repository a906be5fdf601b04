"""Log records that say which execution, attempt and step they belong to, and none twice because of a replay.

A filter on handlers, and no record factory: a factory that sets `execution` makes `logger.info(…, extra={"execution": …})`
raise KeyError in the middle of the user's code. Nothing is kept between records, so nothing leaks into the next
invocation or over to another thread, Powertools' Logger included (its appended keys are one dict for the whole process).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from ..current import current_execution, current_step

__all__ = ["Fields", "NotReplayed", "add_fields"]

FIELDS = ("execution", "attempt", "step")


class HasHandlers(Protocol):
    """A logger: the standard library's, or Powertools' Logger, which is none of its subclasses."""

    @property
    def handlers(self) -> Sequence[logging.Handler]:
        """Its handlers."""


class Fields(logging.Filter):
    """Puts `execution`, `attempt` and `step` on every record that has none of its own; `missing` where nothing runs."""

    def __init__(self, missing: str | None = None) -> None:
        super().__init__()
        self._missing = missing

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the fields. Every record passes."""
        execution, step = current_execution(), current_step()
        found = (
            self._missing if execution is None else execution.id,
            self._missing if execution is None else execution.attempt,
            self._missing if step is None else step.name,
        )
        for name, value in zip(FIELDS, found, strict=True):
            record.__dict__.setdefault(name, value)
        return True


class NotReplayed(logging.Filter):
    """Stops what a handler's own code logs while its steps are answered from the journal: an earlier attempt logged it.

    Records from inside a step pass, those of durably itself, and those with `extra={"replayed": True}`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        if record.name.partition(".")[0] == "durably" or getattr(record, "replayed", False):
            return True
        execution = current_execution()
        return execution is None or not execution.replaying


def add_fields(
    *targets: HasHandlers | logging.Handler, replayed: bool = False, missing: str | None = None
) -> Callable[[], None]:
    """Add the fields to everything that the handlers write, those of a logger or given as such. Returns the undo.

    Without a target, those of the root logger, where Lambda's own is. `replayed=True` lets records through that an
    earlier attempt has logged. `missing`: what stands in a field where no execution or step runs. Behind a queue,
    give the QueueHandler: its listener writes in a thread of its own, where nothing runs.

    Raises ValueError where there is no handler to add to.
    """
    handlers = [handler for target in targets or (logging.getLogger(),) for handler in _handlers(target)]
    if not handlers:
        raise ValueError(
            "add_fields found no handler to add to: configure logging first (logging.basicConfig()), or give it the handler."
        )
    filters: list[logging.Filter] = [Fields(missing)] if replayed else [NotReplayed(), Fields(missing)]
    for handler in handlers:
        for one in filters:
            handler.addFilter(one)

    def undo() -> None:
        for handler in handlers:
            for one in filters:
                handler.removeFilter(one)

    return undo


def _handlers(target: HasHandlers | logging.Handler) -> Sequence[logging.Handler]:
    return [target] if isinstance(target, logging.Handler) else list(target.handlers)
