"""What to do with a batch, as code: a batch is no execution, because its retry may bring other records together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from durably.errors import NoIdentity
from durably.identity.value import look, text

_PARTIAL = """
    def handler(event, context):          # a plain handler
        failed = []
        for record in {records}:
            try:
                process(record, context)
            except Exception:
                failed.append({{"itemIdentifier": {item}}}){stop}
        return {{"batchItemFailures": failed}}

    @durable
    def process(record, context): ...     # one execution a record
"""

_MAPPING = "\nand set FunctionResponseTypes to ReportBatchItemFailures on the event source mapping.\n"

_WHOLE = """
    def handler(event, context):          # a plain handler
        for record in {records}:
            process(record, context)      # one that fails brings all back; finished ones are not run again

    @durable
    def process(record, context): ...     # one execution a record
"""

_IN_ORDER = "\n                break                     # a shard is in order: Lambda goes on from here"
_FIFO = "\n                # a FIFO queue: break here, and list this record and all that follow"

_NAMES = {
    "aws:sqs": "SQS",
    "aws:sns": "SNS",
    "aws:s3": "S3",
    "aws:kinesis": "Kinesis",
    "aws:dynamodb": "DynamoDB stream",
}
_ITEMS = {
    "aws:sqs": 'record["messageId"]',
    "aws:kinesis": 'record["kinesis"]["sequenceNumber"]',
    "aws:dynamodb": 'record["dynamodb"]["SequenceNumber"]',
}


def refuse_batch(event: object, records: Sequence[object]) -> NoReturn:
    """Raise NoIdentity that shows how to run each record of this batch as an execution of its own."""
    source = text(records[0], "eventSource") or text(records[0], "EventSource") or text(event, "eventSource")
    kind = _NAMES.get(source, source.rpartition(":")[2])
    item = _pipe_item(event, source) or _ITEMS.get(source)
    code = _WHOLE if item is None else _PARTIAL
    shown = code.format(records=_loop_over(event), item=item, stop=_stop(records[0], source))
    if code is _PARTIAL and not isinstance(event, list):
        shown += _MAPPING
    raise NoIdentity(
        f"A batch of {len(records)} {kind} records is not one execution: its retry may bring other records together. "
        f"Run each record as its own:\n{shown}",
        ("an event with one record",),
    )


def _pipe_item(event: object, source: str) -> str | None:
    # EventBridge Pipes hands over a bare list, and its stream records are flat.
    flat = isinstance(event, list) and source in ("aws:kinesis", "aws:dynamodb")
    return 'record["eventID"]' if flat else None


def _loop_over(event: object) -> str:
    if isinstance(event, list):
        return "event"
    if isinstance(look(event, "Records"), list):
        return 'event["Records"]'
    for name in ("records", "rmqMessagesByQueue"):
        if look(event, name) is not None:
            return f'(record for group in event["{name}"].values() for record in group)'
    return 'event["messages"]' if look(event, "messages") is not None else 'event["events"]'


def _stop(record: object, source: str) -> str:
    if source == "aws:sqs":
        return _FIFO if text(record, "attributes", "MessageGroupId") else ""
    return _IN_ORDER
