"""What spans and metrics say of an attempt: OpenTelemetry's names where it has one, `durably.*` for what is our own."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..entries import Head

Attributes = dict[str, str | int | bool]

_ENVIRONMENT = {
    "faas.name": "AWS_LAMBDA_FUNCTION_NAME",
    "faas.version": "AWS_LAMBDA_FUNCTION_VERSION",
    "faas.instance": "AWS_LAMBDA_LOG_STREAM_NAME",
    "cloud.region": "AWS_REGION",
}


class Trigger(NamedTuple):
    """What started the function, in the words of the conventions for faas and messaging spans."""

    faas: str
    system: str = ""
    """The messaging system. Its message's id is then the last part of the execution's."""


_TRIGGERS = {
    "header": Trigger("http"),
    "SQS": Trigger("pubsub", "aws_sqs"),
    "SNS": Trigger("pubsub", "aws.sns"),
    "ActiveMQ": Trigger("pubsub", "activemq"),
    "Kafka": Trigger("pubsub"),
    "Kinesis": Trigger("pubsub"),
    "EventBridge": Trigger("pubsub"),
    "envelope's": Trigger("pubsub"),
    "CloudEvents": Trigger("pubsub"),
    "S3": Trigger("datasource"),
    "DynamoDB": Trigger("datasource"),
    "DocumentDB": Trigger("datasource"),
    "Step": Trigger("other"),
    "context.aws_request_id": Trigger("other"),
}
"""By the first word of where the event's id was found."""


def trigger_of(head: Head) -> Trigger | None:
    """What started the function, or None where code ran it by itself."""
    return _TRIGGERS.get(head.source.partition(" ")[0])


def of_lambda() -> Attributes:
    """The function this process is, or nothing outside Lambda. Conventions have these on a resource; not everybody sets one."""
    if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:
        return {}
    known: Attributes = {name: os.environ[said] for name, said in _ENVIRONMENT.items() if said in os.environ}
    return {"cloud.provider": "aws", "cloud.platform": "aws_lambda", **known}


def of_attempt(head: Head) -> Attributes:
    """The attempt that the head belongs to."""
    made: Attributes = {
        "durably.execution": head.id,
        "durably.attempt": head.attempt,
        "durably.function": head.qualname or head.function,
    }
    if head.attempts and head.attempts[-1].request_id:
        made["faas.invocation_id"] = head.attempts[-1].request_id
    trigger = trigger_of(head)
    if trigger is not None:
        made["faas.trigger"] = trigger.faas
    if trigger is not None and trigger.system:
        made |= {
            "messaging.system": trigger.system,
            "messaging.operation.type": "process",
            "messaging.message.id": head.id.rpartition("/")[2],
        }
    return made


def kind_of(step: str) -> str:
    """The name of a step without the key of a fan-out's item: span names are to be few."""
    return step.partition("[")[0] or step if step.endswith("]") else step


def type_of(error: BaseException) -> str:
    """The class of an exception as `error.type` has it."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
