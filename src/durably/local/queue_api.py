"""The two calls with which a program puts messages into a local queue: SendMessage and SendMessageBatch, and GetQueueUrl."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from .payloads import Refused
from .queue import BODY_MAX, Queue

QUERY_ERRORS = {"QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue"}
"""The code that a client shows, where it is not the error's own name: that of the protocol before this one."""


def answer_sqs(action: str, body: bytes, queues: Mapping[str, Queue]) -> dict[str, Any]:
    """Answer one call of SQS's JSON protocol. A queue is known by its name, at the end of any URL. Raises Refused."""
    try:
        return _answer(action, json.loads(body), queues)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused(400, "SerializationException", f"{action} can't be read: {error!r}") from error


def query_error(kind: str) -> dict[str, str]:
    """The header in which SQS gives an error's old code."""
    return {"x-amzn-query-error": f"{QUERY_ERRORS[kind]};Sender"} if kind in QUERY_ERRORS else {}


def _answer(action: str, asked: Mapping[str, Any], queues: Mapping[str, Queue]) -> dict[str, Any]:
    name = str(asked.get("QueueName") or asked.get("QueueUrl", "")).rpartition("/")[2]
    if name not in queues:
        raise Refused(400, "QueueDoesNotExist", f"there is no queue {name!r} here, only: {', '.join(queues) or 'none'}")
    queue = queues[name]
    if action == "GetQueueUrl":
        return {"QueueUrl": f"http://queue.local/{name}"}
    if action == "SendMessage":
        return _send(queue, asked)
    if action == "SendMessageBatch":
        return {
            "Successful": [{"Id": one["Id"], **_send(queue, one)} for one in asked.get("Entries", ())],
            "Failed": [],
        }
    raise Refused(
        400, "UnsupportedOperation", f"{action} is not served here; messages can be sent, and the function gets them"
    )


def _send(queue: Queue, asked: Mapping[str, Any]) -> dict[str, Any]:
    body = str(asked.get("MessageBody", ""))
    if not body or len(body.encode()) > BODY_MAX:
        raise Refused(400, "InvalidParameterValue", f"a message has a body of 1 to {BODY_MAX} bytes")
    message = queue.send(body, asked.get("MessageAttributes"), delay_s=float(asked.get("DelaySeconds") or 0))
    md5 = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    return {"MessageId": message.id, "MD5OfMessageBody": md5}
