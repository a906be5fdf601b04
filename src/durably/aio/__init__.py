"""The same names for `async def` code: one engine and one journal, awaited. The store's calls never block the loop.

Lambda calls a plain function, so an async handler needs one line more:
`def handler(event, context): return asyncio.run(review(event, context))`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..current import current_execution, current_step
from ..errors import (
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
from ..program import NOT_DONE
from ..retry import Retry
from .executions import durable, execution, once
from .fanout import fan_out
from .steps import step

if TYPE_CHECKING:
    from ..stores.dynamodb import DynamoDBStore
    from ..stores.memory import MemoryStore
    from ..stores.sqlite import SQLiteStore

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


def __getattr__(name: str) -> Any:
    if name not in ("DynamoDBStore", "MemoryStore", "SQLiteStore"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("durably"), name)
