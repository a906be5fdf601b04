"""The same names for `async def` code: one engine and one journal, awaited. The store's calls never block the loop.

Lambda calls a plain function, so an async handler needs one line more:
`def handler(event, context): return asyncio.run(review(event, context))`.
"""

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

__all__ = [
    "NOT_DONE",
    "DuplicateStep",
    "DurablyError",
    "ExecutionInProgress",
    "Fatal",
    "LeaseLost",
    "NoIdentity",
    "NotSerializable",
    "OutOfTime",
    "Retry",
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
