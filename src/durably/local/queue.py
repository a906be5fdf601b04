"""A queue as SQS keeps it: messages that come back after a visibility timeout, and are dead letters after so many receives."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .environment import ACCOUNT, region

BODY_MAX = 1024 * 1024
"""SQS quotas, November 2026."""


@dataclass(slots=True)
class Message:
    """One message and where it stands."""

    body: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    sent_at: float = 0.0
    visible_at: float = 0.0
    first_received_at: float = 0.0
    receives: int = 0

    def record(self, arn: str) -> dict[str, Any]:
        """As it stands in the event that a function gets."""
        return {
            "messageId": self.id,
            "receiptHandle": f"{self.id}#{self.receives}",
            "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": str(self.receives),
                "SentTimestamp": str(int(self.sent_at * 1000)),
                "SenderId": ACCOUNT,
                "ApproximateFirstReceiveTimestamp": str(int(self.first_received_at * 1000)),
            },
            "messageAttributes": {name: _attribute(value) for name, value in self.attributes.items()},
            "md5OfBody": hashlib.md5(self.body.encode(), usedforsecurity=False).hexdigest(),
            "eventSource": "aws:sqs",
            "eventSourceARN": arn,
            "awsRegion": region(),
        }


class Queue:
    """Messages on a clock that its user sets ahead. Threads may share it."""

    def __init__(self, name: str, *, visibility_s: float, max_receive_count: int, folder: Path) -> None:
        self.name = name
        self.arn = f"arn:aws:sqs:{region()}:{ACCOUNT}:{name}"
        self.ahead_s = 0.0
        self.changed = threading.Condition()
        self._visibility_s, self._max_receive_count = visibility_s, max_receive_count
        self._folder = folder
        self._messages: dict[str, Message] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def now(self) -> float:
        """Epoch seconds on the queue's clock."""
        return time.time() + self.ahead_s

    def send(self, body: str, attributes: Mapping[str, Any] | None = None, *, delay_s: float = 0.0) -> Message:
        """Put a message in. It is visible after `delay_s`."""
        now = self.now()
        message = Message(body, attributes or {}, sent_at=now, visible_at=now + delay_s)
        with self.changed:
            self._messages[message.id] = message
            self.changed.notify_all()
        return message

    def receive(self, most: int) -> tuple[list[Message], list[Message]]:
        """Up to so many visible messages, now hidden; and those that went to the dead letters instead."""
        now = self.now()
        received: list[Message] = []
        dead: list[Message] = []
        with self.changed:
            for message in list(self._messages.values()):
                if message.visible_at > now or len(received) >= most:
                    continue
                if message.receives >= self._max_receive_count:
                    dead.append(self._messages.pop(message.id))
                    continue
                message.receives += 1
                message.first_received_at = message.first_received_at or now
                message.visible_at = now + self._visibility_s
                received.append(message)
        for message in dead:
            self._bury(message)
        return received, dead

    def delete(self, messages: Sequence[Message]) -> None:
        """They are done."""
        with self.changed:
            for message in messages:
                self._messages.pop(message.id, None)

    def next_visible_at(self) -> float | None:
        """When there will be something to receive, None for an empty queue."""
        with self.changed:
            return min((message.visible_at for message in self._messages.values()), default=None)

    def _bury(self, message: Message) -> None:
        """A dead-letter queue gets the message as it was, with its id."""
        path = self._folder / "dead-letters" / self.name / f"{message.id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        letter = message.record(self.arn)
        kept = {"MessageId": message.id, "Body": message.body, "Attributes": letter["attributes"]}
        path.write_text(json.dumps({**kept, "MessageAttributes": message.attributes}, indent=2) + "\n")


def _attribute(given: Mapping[str, Any]) -> dict[str, Any]:
    """A message attribute as a function gets it: the same names, first letter small. What is binary stays base64."""
    values = {name[0].lower() + name[1:]: given[name] for name in ("StringValue", "BinaryValue") if name in given}
    return {**values, "stringListValues": [], "binaryListValues": [], "dataType": given.get("DataType", "String")}
