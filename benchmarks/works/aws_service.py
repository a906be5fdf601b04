"""A stub of the service behind AWS's durable functions: it takes checkpoints, keeps operations, and answers at once.

As a script it serves them over HTTP on a free port, which it prints, until its standard input ends; `GET /` tells how
many checkpoints came, how many operations and how many bytes.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
from typing import Any
from urllib.parse import unquote

DETAILS = {"STEP": "StepDetails", "CONTEXT": "ContextDetails"}
STATUS = {"START": "STARTED", "SUCCEED": "SUCCEEDED", "FAIL": "FAILED"}


class Service:
    """The operations of every execution, by its ARN."""

    def __init__(self) -> None:
        self.operations: dict[str, dict[str, dict[str, Any]]] = {}
        self.requests = 0
        self.updates = 0
        self.bytes = 0
        self._lock = threading.Lock()

    def begin(self, arn: str) -> dict[str, Any]:
        """The event that an invocation gets: every operation there is, the execution's own first."""
        first = {"Id": arn, "Type": "EXECUTION", "Status": "STARTED", "ExecutionDetails": {"InputPayload": "{}"}}
        with self._lock:
            kept = self.operations.setdefault(arn, {arn: first})
            operations = [dict(operation) for operation in kept.values()]
        return {
            "DurableExecutionArn": arn,
            "CheckpointToken": "token-0",
            "InitialExecutionState": {"Operations": operations, "NextMarker": ""},
        }

    def checkpoint(self, arn: str, updates: list[dict[str, Any]]) -> dict[str, Any]:
        """Take the updates in; the operations that changed are the answer."""
        with self._lock:
            self.requests += 1
            self.updates += len(updates)
            kept = self.operations.setdefault(arn, {})
            changed = [_apply(kept, update) for update in updates]
            token = f"token-{self.requests}"
        return {"CheckpointToken": token, "NewExecutionState": {"Operations": changed}}


def _apply(kept: dict[str, dict[str, Any]], update: dict[str, Any]) -> dict[str, Any]:
    operation = kept.setdefault(update["Id"], {"Id": update["Id"], "Type": update["Type"]})
    operation["Status"] = STATUS[update["Action"]]
    for name in ("ParentId", "Name", "SubType"):
        if update.get(name):
            operation[name] = update[name]
    details = DETAILS.get(update["Type"])
    if details is not None:
        extra: dict[str, Any] = {"Attempt": 1} if details == "StepDetails" else {}
        if update.get("Payload") is not None:
            extra["Result"] = update["Payload"]
        if update.get("ContextOptions", {}).get("ReplayChildren"):
            extra["ReplayChildren"] = True
        operation[details] = extra
    return dict(operation)


class Visitor(http.server.BaseHTTPRequestHandler):
    """One kept-alive connection."""

    service: Service
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        arn = unquote(self.path.split("/")[3])
        self.service.bytes += len(raw)
        self._answer(self.service.checkpoint(arn, json.loads(raw)["Updates"]))

    def do_GET(self) -> None:
        service = self.service
        self._answer({"requests": service.requests, "updates": service.updates, "bytes": service.bytes})

    def _answer(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        # One write: head and body in two segments cost 40 ms of delayed acknowledgement.
        self.wfile.write(head.encode() + body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a stub is silent."""


def serve() -> None:
    Visitor.service = Service()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Visitor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"port {server.server_address[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve()
