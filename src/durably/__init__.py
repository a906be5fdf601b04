"""Durable execution for the Python function you already have: a decorator, named steps, one table of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .blocks import execution, once
from .current import current_execution, current_step
from .decorator import durable
from .errors import (
    DuplicateStep,
    DurablyError,
    ExecutionInProgress,
    Fatal,
    LeaseLost,
    NoIdentity,
    NotSerializable,
    OutOfTime,
    StepInterrupted,
    StoreError,
)
from .fanout import fan_out
from .program import NOT_DONE
from .retry import Retry
from .steps import step

if TYPE_CHECKING:
    from .stores.dynamodb import DynamoDBStore
    from .stores.memory import MemoryStore
    from .stores.sqlite import SQLiteStore

__all__ = [
    "NOT_DONE",
    "DuplicateStep",
    "DurablyError",
    "DynamoDBStore",
    "ExecutionInProgress",
    "Fatal",
    "LeaseLost",
    "MemoryStore",
    "NoIdentity",
    "NotSerializable",
    "OutOfTime",
    "Retry",
    "SQLiteStore",
    "StepInterrupted",
    "StoreError",
    "current_execution",
    "current_step",
    "durable",
    "execution",
    "fan_out",
    "once",
    "step",
]

_STORES = {"DynamoDBStore": "dynamodb", "MemoryStore": "memory", "SQLiteStore": "sqlite"}


def __getattr__(name: str) -> Any:
    # A store is imported when it is asked for: sqlite3 alone would double the time of `import durably`.
    if name not in _STORES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.stores.{_STORES[name]}"), name)
