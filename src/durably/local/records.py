"""What Lambda leaves of an event that it gave up, in Lambda's own formats: an on-failure record and a dead letter.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .environment import function_arn
from .outcome import Outcome

ERROR_MESSAGE_MAX = 1024
"""A dead letter keeps the first kilobyte of the error's message."""


def write_failure(
    folder: Path, name: str, event: bytes, outcome: Outcome, *, request_id: str, condition: str, attempts: int
) -> list[Path]:
    """Write the records of one event, one file each. Returns their paths."""
    record = on_failure_record(name, event, outcome, request_id=request_id, condition=condition, attempts=attempts)
    letter = dead_letter(event, outcome, request_id)
    written = []
    for where, value in (("on-failure", record), ("dead-letters", letter)):
        path = folder / where / f"{request_id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2) + "\n")
        written.append(path)
    return written


def on_failure_record(
    name: str, event: bytes, outcome: Outcome, *, request_id: str, condition: str, attempts: int
) -> dict[str, Any]:
    """What an on-failure destination is sent. `condition` is RetriesExhausted or EventAgeExceeded."""
    return {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{function_arn(name)}:$LATEST",
            "condition": condition,
            "approximateInvokeCount": attempts,
        },
        "requestPayload": json.loads(event),
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": outcome.result,
    }


def dead_letter(event: bytes, outcome: Outcome, request_id: str) -> dict[str, Any]:
    """The message that a dead-letter queue gets, as SQS shows it: the event itself, and three attributes."""
    message = str(outcome.result.get("errorMessage", ""))
    return {
        "MessageId": str(uuid.uuid4()),
        "Body": event.decode(),
        "MessageAttributes": {
            "RequestID": {"DataType": "String", "StringValue": request_id},
            "ErrorCode": {"DataType": "Number", "StringValue": "200"},
            "ErrorMessage": {"DataType": "String", "StringValue": message[:ERROR_MESSAGE_MAX]},
        },
    }
