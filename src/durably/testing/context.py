"""What Lambda hands to a handler beside the event, with a deadline on a clock of the test's choice."""

from __future__ import annotations

import uuid
from datetime import timedelta

from ..clock import SYSTEM, Clock

TIMEOUT = timedelta(seconds=60)


class LambdaContext:
    """The fields and the one method of Lambda's context. The deadline counts from when it is made."""

    function_version = "$LATEST"
    memory_limit_in_mb = "128"
    log_stream_name = "2026/01/01/[$LATEST]00000000000000000000000000000000"
    identity = None
    client_context = None

    def __init__(
        self,
        timeout: timedelta = TIMEOUT,
        *,
        request_id: str | None = None,
        name: str = "function",
        clock: Clock = SYSTEM,
    ) -> None:
        """`request_id` is the same on each of Lambda's own retries; without one it is a new one."""
        self.aws_request_id = request_id or str(uuid.uuid4())
        self.function_name = name
        self.invoked_function_arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
        self.log_group_name = f"/aws/lambda/{name}"
        self._clock = clock
        self._deadline = clock.monotonic() + timeout.total_seconds()

    def get_remaining_time_in_millis(self) -> int:
        """Until Lambda would end the attempt."""
        return max(0, int((self._deadline - self._clock.monotonic()) * 1000))
