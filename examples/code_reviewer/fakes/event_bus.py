"""A fake EventBridge: takes PutEvents and keeps the events as a rule's target would be given them."""

from __future__ import annotations

import json
import uuid
from typing import Any

from .server import App, Request, Response


class EventBus:
    """One account's default bus."""

    def __init__(self, app: App) -> None:
        self.events: list[dict[str, Any]] = []
        app.add("POST", "/", self._put_events)

    def _put_events(self, request: Request) -> Response:
        if request.headers.get("x-amz-target") != "AWSEvents.PutEvents":
            return Response(400, {"__type": "UnknownOperationException"})
        if "/events/aws4_request" not in request.headers.get("authorization", ""):
            return Response(400, {"__type": "UnrecognizedClientException", "message": "The security token is invalid."})
        entries = [self._take(entry) for entry in json.loads(request.body)["Entries"]]
        failed = sum("ErrorCode" in entry for entry in entries)
        answer = {"FailedEntryCount": failed, "Entries": entries}
        return Response(200, answer, {"content-type": "application/x-amz-json-1.1"})

    def _take(self, entry: dict[str, Any]) -> dict[str, Any]:
        missing = [name for name in ("Source", "DetailType", "Detail") if not entry.get(name)]
        if missing:
            return {"ErrorCode": "InvalidArgument", "ErrorMessage": f"Parameter {missing[0]} is not valid."}
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),  # EventBridge's own: another one each time the same envelope is sent.
            "detail-type": entry["DetailType"],
            "source": entry["Source"],
            "account": "123456789012",
            "time": json.loads(entry["Detail"])["metadata"]["timestamp"],
            "region": "eu-central-1",
            "resources": [],
            "detail": json.loads(entry["Detail"]),
        }
        self.events.append(event)
        return {"EventId": event["id"]}
