"""Event to identity: the id under which every delivery of one event is the same execution. Pure, standard library only.

Each rule knows one kind of trigger by its shape and names whose promise makes its id a good one. Too fine an id costs a
repeated run, too coarse a one loses an event without a word; so where a choice is open, a rule takes the finer.
"""

from __future__ import annotations

from collections.abc import Mapping

from durably.errors import NoIdentity
from durably.identity.envelopes import from_cloudevent, from_eventbridge, from_step_functions
from durably.identity.http import from_http, is_http_shape
from durably.identity.plain import plain_event, shape_of, stored_event
from durably.identity.records import from_record
from durably.identity.value import Identity, spell

__all__ = ["Identity", "identify", "is_http", "plain_event", "spell", "stored_event"]

# Step Functions comes first: an EventBridge event that flows through a state machine keeps its id from state to state,
# and only the context object tells the states apart.
_RULES = (from_step_functions, from_eventbridge, from_record, from_http, from_cloudevent)

_LOOKED_FOR = (
    "Step Functions' context object",
    "detail.metadata.id",
    "EventBridge id",
    "SQS messageId",
    "SNS MessageId",
    "S3 bucket, key and versionId or sequencer",
    "DynamoDB stream or Kinesis eventID",
    "Kafka topic, partition and offset",
    "ActiveMQ messageID",
    "an HTTP request's headers",
    "CloudEvents source and id",
    "context.aws_request_id",
)


def identify(event: object, context: object) -> Identity:
    """Find the event's id by the shape its trigger gave it, else by Lambda's request id.

    The request id is the same on Lambda's own retries of an asynchronous event and on nothing else: a client's retry, a
    re-send and a redrive get a new one. Raises NoIdentity for a batch, for an HTTP request without an id of its
    sender's, and when nothing is found.
    """
    shape = shape_of(event)
    for rule in _RULES:
        if (found := rule(shape)) is not None:
            return found
    request_id = getattr(context, "aws_request_id", None)
    if isinstance(request_id, str) and request_id.strip():
        return Identity(spell(request_id), "context.aws_request_id")
    what = _described(event, shape)
    raise NoIdentity(f"The event, {what}, has no id that would be the same on its next delivery.", _LOOKED_FOR)


def is_http(event: object) -> bool:
    """Whether the event is an HTTP request: of its results only those with a statusCode below 400 complete."""
    return is_http_shape(shape_of(event))


def _described(event: object, shape: object) -> str:
    """What the event was, by keys and never by values: an error's text ends up in logs."""
    kind = type(event).__name__
    if isinstance(shape, Mapping):
        keys = [str(key)[:40] for key in list(shape)[:8]]
        return f"a {kind} with the keys {', '.join(keys)}" if keys else f"an empty {kind}"
    if isinstance(shape, list):
        return f"a list of {len(shape)}"
    return "None" if event is None else f"of type {kind}"
