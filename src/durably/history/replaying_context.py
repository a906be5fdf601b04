"""What a replayed handler is given as Lambda's context."""

from __future__ import annotations

from ..entries import Head
from .states import OPERATOR

REMAINING_MS = 900_000
"""Lambda's longest timeout, and it does not run down: whoever stands in a debugger has time."""


class DeskContext:
    """Lambda's context object as far as handlers use it, told from the execution's head."""

    function_version = "$LATEST"
    memory_limit_in_mb = "128"
    identity = None
    client_context = None

    def __init__(self, head: Head) -> None:
        name = head.function or "function"
        last = [record.request_id for record in head.attempts if record.request_id not in ("", OPERATOR)]
        self.function_name = name
        self.aws_request_id = last[-1] if last else "00000000-0000-4000-8000-000000000000"
        self.invoked_function_arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
        self.log_group_name = f"/aws/lambda/{name}"
        self.log_stream_name = "replay"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds that remain."""
        return REMAINING_MS
