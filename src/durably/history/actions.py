"""What an operator does to executions. Each takes the lease first, or refuses and says what to do; command line and page use these.

`cancel` and `resolve` settle, `fork` copies, `redrive` runs again.
"""

from __future__ import annotations

from .actions_fork import Fork, fork
from .actions_redrive import Invoke, NotSent, delivery_of, failed_executions, lambda_invoker, redrive
from .actions_settle import cancel, resolve
from .states import OPERATOR

__all__ = [
    "OPERATOR",
    "Fork",
    "Invoke",
    "NotSent",
    "cancel",
    "delivery_of",
    "failed_executions",
    "fork",
    "lambda_invoker",
    "redrive",
    "resolve",
]
