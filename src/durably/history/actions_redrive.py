"""`redrive`: open a failed execution again, and send its stored event to its function."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from ..entries import Ending, Head
from ..errors import DurablyError
from ..stores.protocol import Store
from .actions_identity import event_of, payload_text, refuse_unless_it_leads_to
from .actions_lease import act, read_head, refuse_if_held, take
from .reading import list_executions
from .states import STUCK

Invoke = Callable[[str, str], object]
"""Sends the payload (JSON) to the function of that name, to be run soon. Raises DurablyError when it could not."""

BATCHED = ("aws:sqs", "aws:kinesis", "aws:dynamodb", "aws:sns", "aws:s3")
"""Sources whose events are batches of records; what a record of theirs says in `eventSource` (SNS: `EventSource`)."""

ASYNC_BYTES_MAX = 1_000_000
"""Of the payload of an asynchronous invocation (Lambda quotas: 1 MB)."""


class NotSent(DurablyError):
    """The execution was opened, and its event did not reach the function `target`, for the reason `why`."""

    def __init__(self, told: str, target: str, why: str) -> None:
        super().__init__(told, target, why)
        self.told = told
        self.target = target
        self.why = why

    def __str__(self) -> str:
        return self.told


class Delivery(NamedTuple):
    """An execution that can be redriven, the function its event goes to, and the event as JSON."""

    head: Head
    target: str
    payload: str


def redrive(store: Store, execution: str, invoke: Invoke, *, function: str | None = None) -> Head:
    """Run an execution again from its stored event: what is done is replayed, and it goes on where it stopped.

    One that failed for good or was cancelled is opened first. `function`: the Lambda function, where it has another name
    than the execution's. Raises DurablyError for one that is completed or runs, and where its event can't lead to it.
    """
    head, target, payload = delivery_of(store, execution, function=function)
    was = "reopened and redriven" if head.status in ("failed", "cancelled") else "redriven"
    # The lease is given back before the event is sent: the attempt it begins must not find it taken.
    opened = act(take(store, head), Ending("waiting", f"{was} by hand"))
    try:
        invoke(target, payload)
    except DurablyError as error:
        raise NotSent(
            f"execution {head.id!r} is open and waits, but its event was not sent: {error} Then redrive it again.",
            target,
            str(error),
        ) from error
    return opened


def delivery_of(store: Store, execution: str, *, function: str | None = None) -> Delivery:
    """What a redrive would send, and to whom. Raises DurablyError where it would be refused; changes nothing."""
    head = read_head(store, execution)
    if head.status == "completed":
        raise DurablyError(
            f"execution {head.id!r} is completed, so a delivery would only return its result. To run it another way, fork it: "
            f"durably fork {shlex.quote(head.id)} --from STEP"
        )
    refuse_if_held(store, head, "It needs no redrive.")
    event = event_of(head)
    refuse_unless_it_leads_to(head, event)
    target, payload = function or function_of(head), payload_text(as_delivered(event))
    size = len(payload.encode())
    if size > ASYNC_BYTES_MAX:
        raise DurablyError(
            f"the event of execution {head.id!r} has {size:,} bytes, and Lambda takes {ASYNC_BYTES_MAX:,} of an asynchronous "
            "invocation. Nothing was changed. Send it again from where it came from."
        )
    return Delivery(head, target, payload)


def as_delivered(event: Any) -> Any:
    """The event as its trigger sends it: a function of one record is called with records of a batch, so it goes in one."""
    return {"Records": [event]} if is_one_record(event) else event


def is_one_record(event: Any) -> bool:
    """Whether it is a record without its batch: the handler is a function that the Lambda's own calls for each."""
    if not isinstance(event, dict) or "Records" in event:
        return False
    return (event.get("eventSource") or event.get("EventSource")) in BATCHED


def function_of(head: Head) -> str:
    """The Lambda function that the execution's handler ran in. Raises DurablyError where it was none."""
    if not head.function or ":" in head.function:
        raise DurablyError(
            f"the handler of execution {head.id!r} did not run in a Lambda function by that name ({head.function!r}). Say which "
            "one takes its event: --function NAME."
        )
    return head.function


def failed_executions(
    store: Store, since: float | None = None, *, function: str | None = None, stuck: timedelta = STUCK
) -> Iterator[Head]:
    """The heads, newest first, of what has failed: Fatal, or nothing happened for longer than `stuck`. `since`: when it began."""
    before: tuple[float, str] | None = None
    while True:
        page = list_executions(
            store, status="failed", function=function, since=since, limit=200, before=before, stuck=stuck
        )
        yield from (row.head for row in page.rows)
        if page.next is None:
            return
        before = page.next


def lambda_invoker(*, endpoint_url: str | None = None, client: Any = None) -> Invoke:
    """Sends events to AWS Lambda asynchronously, or to the local Lambda at that URL, with boto3's credentials and region."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise DurablyError("a redrive through Lambda needs boto3: pip install 'durably[dynamodb]'.") from error
    try:
        sender = client or boto3.client("lambda", **_settings(boto3.session.Session(), endpoint_url))
    except BotoCoreError as error:
        raise DurablyError(
            f"boto3 can't make a Lambda client: {str(error).rstrip('.')}. Set AWS_DEFAULT_REGION or a profile, or name the "
            "local Lambda (`durably dev`) with --endpoint-url http://127.0.0.1:9001."
        ) from error

    def invoke(function: str, payload: str) -> None:
        try:
            sender.invoke(FunctionName=function, InvocationType="Event", Payload=payload.encode())
        except ClientError as error:
            raise DurablyError(
                _advice(error.response.get("Error", {}).get("Code", ""), function, str(error))
            ) from error
        except BotoCoreError as error:
            raise DurablyError(f"Lambda could not be reached: {error}.") from error

    return invoke


def _settings(session: Any, endpoint_url: str | None) -> dict[str, Any]:
    """A local Lambda asks for no region and no credentials, but boto3 does: where none are set, any will do."""
    if endpoint_url is None:
        return {}
    settings = {"endpoint_url": endpoint_url, "region_name": session.region_name or "us-east-1"}
    if session.get_credentials() is None:
        settings |= {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return settings


def _advice(code: str, function: str, told: str) -> str:
    if code == "ResourceNotFoundException":
        return f"there is no function {function!r} in this account and region; --function NAME names another. ({told})"
    if code in ("AccessDeniedException", "UnrecognizedClientException"):
        return f"these credentials may not do lambda:InvokeFunction on {function!r}. ({told})"
    return f"lambda:InvokeFunction on {function!r} failed. ({told})"
