"""Requests, bytes and capacity units, counted between a contender and DynamoDB: in runs of their own, never in timed ones."""

from __future__ import annotations

import collections
import json
import time
import zlib
from dataclasses import dataclass, field
from typing import Any

from tests.servers.faults import IDLE_S, Answer, Connection, FaultProxy, Listener

CHECKSUM = "x-amz-crc32"


@dataclass
class Counted:
    """What went through since the last reset."""

    operations: collections.Counter[str] = field(default_factory=collections.Counter)
    bytes_sent: int = 0
    bytes_received: int = 0
    write_units: float = 0.0
    read_units: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "requests": sum(self.operations.values()),
            "operations": dict(sorted(self.operations.items())),
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "write_units": self.write_units,
            "read_units": self.read_units,
        }


class CountingProxy(FaultProxy):
    """The fault layer, asking the server for each request's capacity units, its indexes' included."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.counted = Counted()
        self.server.RequestHandlerClass = CountingConnection

    def restart(self) -> None:
        """Count from nothing."""
        self.reset()
        self.counted = Counted()


class CountingListener(Listener):
    proxy: CountingProxy


class CountingConnection(Connection):
    """Asks for the units and takes them out of the answer again, so that the client's own bytes are counted."""

    server: CountingListener

    def forward(self, payload: bytes) -> Answer:
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        asked = json.dumps(json.loads(payload or b"{}") | {"ReturnConsumedCapacity": "INDEXES"}).encode()
        if not operation.endswith(("Item", "Query", "Scan", "Items")):
            asked = payload
        headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
        headers["Content-Length"] = str(len(asked))
        if time.monotonic() - self.used > IDLE_S:
            self.behind.close()
        self.behind.request("POST", self.path, asked, headers)
        response = self.behind.getresponse()
        status, raw = response.status, response.read()
        self.used = time.monotonic()
        body, units = _without_units(raw)
        self._count(operation, payload, body, units)
        kept = [
            (name, value)
            for name, value in response.getheaders()
            if name.lower() not in {"connection", "transfer-encoding", "content-length", CHECKSUM}
        ]
        return Answer(status, [*kept, (CHECKSUM, str(zlib.crc32(body)))], body)

    def _count(self, operation: str, sent: bytes, received: bytes, units: float) -> None:
        with self.server.proxy.lock:
            counted = self.server.proxy.counted
            counted.operations[operation] += 1
            counted.bytes_sent += len(sent)
            counted.bytes_received += len(received)
            if operation in ("GetItem", "Query", "BatchGetItem", "Scan"):
                counted.read_units += units
            else:
                counted.write_units += units


def _without_units(raw: bytes) -> tuple[bytes, float]:
    answer = json.loads(raw or b"{}")
    if "ConditionalCheckFailed" in answer.get("__type", ""):
        # A refused conditional write costs what it would have; the server says nothing of it. Ours are small: one unit.
        return raw, 1.0
    if "ConsumedCapacity" not in answer:
        return raw, 0.0
    units = float(answer.pop("ConsumedCapacity")["CapacityUnits"])
    return json.dumps(answer, separators=(",", ":")).encode(), units
