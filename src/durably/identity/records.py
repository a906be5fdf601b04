"""Records of queues and streams: one bare record, a batch of one, and the refusal of any larger batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from durably.errors import NoIdentity
from durably.identity.batches import refuse_batch
from durably.identity.value import Identity, look, spell, text

# Where triggers that don't say "Records" keep theirs, by eventSource.
_LISTS = {
    "aws:kafka": "records",
    "SelfManagedKafka": "records",
    "aws:amq": "messages",
    "aws:mq": "messages",
    "aws:rmq": "rmqMessagesByQueue",
    "aws:docdb": "events",
}


def from_record(event: object) -> Identity | None:
    """The id of one record, bare or the only one of its batch. Raises NoIdentity for more than one."""
    records = _records(event)
    if records is None:
        return _identify(event)
    if len(records) > 1 and (text(event, "eventSource") in _LISTS or _is_record(records[0])):
        refuse_batch(event, records)
    return _identify(records[0]) if len(records) == 1 else None


def _records(event: object) -> Sequence[object] | None:
    """The records of a batch, else None. A list is a batch as EventBridge Pipes hands it over."""
    if isinstance(event, list):
        return event
    name = _LISTS.get(text(event, "eventSource"), "Records")
    found = look(event, name)
    if isinstance(found, Mapping):  # Kafka and RabbitMQ group them by topic or queue
        return [record for group in found.values() if isinstance(group, list) for record in group]
    return found if isinstance(found, list) else None


def _is_record(record: object) -> bool:
    return bool(text(record, "eventSource") or text(record, "EventSource")) or _identify(record) is not None


def _identify(record: object) -> Identity | None:
    rule = _rule(record)
    return rule(record) if rule else None


def _rule(record: object) -> Callable[[object], Identity | None] | None:
    source = text(record, "eventSource") or text(record, "EventSource")
    if source in _BY_SOURCE:
        return _BY_SOURCE[source]
    return next((rule for keys, rule in _BY_KEYS if isinstance(record, Mapping) and keys <= record.keys()), None)


def _one(name: str, *path: str) -> Callable[[object], Identity | None]:
    def rule(record: object) -> Identity | None:
        found = text(record, *path)
        return Identity(spell(found), name) if found else None

    return rule


def _s3(record: object) -> Identity | None:
    """Bucket, key, event name, and what tells one change of the object from the next.

    The name is in it because deleting a version carries the versionId its creation had. S3's docs: creations and
    deletions have a sequencer; tags, ACLs and restores may come many times for one version and have none, so those
    take the id of the request that caused them. A delivery repeated by S3 repeats all of it.
    """
    bucket, key = text(record, "s3", "bucket", "name"), text(record, "s3", "object", "key")
    version, sequencer = text(record, "s3", "object", "versionId"), text(record, "s3", "object", "sequencer")
    if not (bucket and key and (version or sequencer)):
        return None
    change = sequencer or "request=" + text(record, "responseElements", "x-amz-request-id")
    components = [bucket, key, text(record, "eventName"), *([f"version={version}"] if version else []), change]
    return Identity(spell(*components), "S3 bucket, key, event name, versionId and sequencer")


def _kinesis(record: object) -> Identity | None:
    """Shard and sequence number (`eventID`), within the stream: shards of two streams have the same names."""
    event_id = text(record, "eventID")
    stream = text(record, "eventSourceARN").partition(":stream/")[2].partition("/")[0]
    return Identity(spell(*([stream] if stream else []), event_id), "Kinesis eventID") if event_id else None


def _kafka(record: object) -> Identity | None:
    """Topic, partition and offset; and the record's timestamp, because a topic made anew counts from 0 again."""
    topic, numbers = text(record, "topic"), [look(record, name) for name in ("partition", "offset", "timestamp")]
    if not topic or not all(isinstance(number, int) for number in numbers):
        return None
    return Identity(spell(topic, *map(str, numbers)), "Kafka topic, partition, offset and timestamp")


def _rabbitmq(record: object) -> Identity | None:
    raise NoIdentity(
        "RabbitMQ gives a message no id of its own, and its redelivery has a new request id. If your publisher sets "
        "message_id, use it: @durable(id=lambda message, context: message['basicProperties']['messageId']).",
        ("a RabbitMQ message id",),
    )


_activemq = _one("ActiveMQ messageID", "messageID")

# AWS's docs call each of these unique: SQS "across all AWS accounts" and the same on every receive (a redrive from the
# DLQ gives a new one); SNS the same on its retries; DynamoDB streams "globally unique".
_BY_SOURCE: Mapping[str, Callable[[object], Identity | None]] = {
    "aws:sqs": _one("SQS messageId", "messageId"),
    "aws:sns": _one("SNS MessageId", "Sns", "MessageId"),
    "aws:s3": _s3,
    "aws:dynamodb": _one("DynamoDB stream eventID", "eventID"),
    "aws:kinesis": _kinesis,
}

# Records that don't name their source, known by keys that no other record has.
_BY_KEYS: Sequence[tuple[set[str], Callable[[object], Identity | None]]] = (
    ({"MessageId", "ReceiptHandle", "Body"}, _one("SQS MessageId", "MessageId")),  # boto3's receive_message
    ({"topic", "partition", "offset", "timestamp"}, _kafka),
    ({"messageID", "destination"}, _activemq),
    ({"basicProperties", "data"}, _rabbitmq),
    ({"event"}, _one("DocumentDB change stream event's _id", "event", "_id", "_data")),
)
