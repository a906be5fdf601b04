"""GitHub's webhook, behind a function URL or API Gateway (payload 2.0): check the signature, put an event on the bus.

It is not `@durable`, and need not be. A signature must be verified before an execution is claimed, else anybody can
fill the table; so only what comes after it could be durable, and that is a single put: a journal of two writes would
guard one. If it is put twice, because GitHub delivered twice or somebody pressed "redeliver", both envelopes carry the
delivery's id, which is the reviewer's identity: one review. If the put fails, GitHub shows the delivery as failed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import uuid
from datetime import UTC, datetime
from typing import Any

from .calls import OnePerProcess, secret

ACTIONS = ("opened", "synchronize", "reopened")
DOMAIN, SERVICE, TYPE = "code-review", "github-webhook", "pull-request-changed"


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """202 when a review is on its way, 200 when there is nothing to do, 401 when it isn't GitHub who asks."""
    headers = {name.lower(): value for name, value in event["headers"].items()}
    body = raw_body(event)
    if not is_signed(body, headers.get("x-hub-signature-256", "")):
        return {"statusCode": 401, "body": "signature missing or wrong"}
    payload = json.loads(body)
    if headers.get("x-github-event") != "pull_request" or payload["action"] not in ACTIONS:
        return {"statusCode": 200, "body": "nothing to do"}
    # The signature covers the body only; a delivery id is a UUID, whoever sends the header.
    delivery = str(uuid.UUID(headers["x-github-delivery"]))
    if not put(envelope(delivery, payload)):
        return {"statusCode": 502, "body": "the event bus took nothing: deliver again"}
    return {"statusCode": 202, "body": delivery}


def raw_body(event: dict[str, Any]) -> bytes:
    """The bytes GitHub signed."""
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()


def is_signed(body: bytes, signature: str) -> bool:
    """Whether somebody who knows the secret sent this body. As bytes: compare_digest refuses a str that isn't ASCII."""
    expected = "sha256=" + hmac.digest(secret("GITHUB_WEBHOOK_SECRET").encode(), body, hashlib.sha256).hex()
    return hmac.compare_digest(expected.encode(), signature.encode())


def envelope(delivery: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The event's detail. The payload is cut down to what a reviewer reads: it will be stored with the execution."""
    pull = payload["pull_request"]
    return {
        "metadata": {
            "id": delivery,
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "domain": DOMAIN,
            "service": SERVICE,
            "type": TYPE,
        },
        "data": {
            "action": payload["action"],
            "repository": {"full_name": payload["repository"]["full_name"]},
            "pull_request": {"number": pull["number"], "title": pull["title"], "head": {"sha": pull["head"]["sha"]}},
        },
    }


def put(detail: dict[str, Any]) -> bool:
    """Put one event on the bus."""
    bus = os.environ.get("EVENT_BUS", "default")
    entry = {"EventBusName": bus, "Source": f"{DOMAIN}.{SERVICE}", "DetailType": TYPE, "Detail": json.dumps(detail)}
    return bool(_events().put_events(Entries=[entry])["FailedEntryCount"] == 0)


@OnePerProcess
def _events() -> Any:
    import boto3
    from botocore.config import Config

    # GitHub waits ten seconds for the answer; two short tries by boto3 would end after it had given up.
    return boto3.client("events", config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=6))
