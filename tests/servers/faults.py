"""Our own fault layer between boto3 and a server: it counts requests, and does to the next ones what a test scripts.

No DynamoDB server here throttles, conflicts or loses an answer by itself; this is where that comes from.

    proxy = FaultProxy(server.endpoint)
    proxy.on("PutItem", when=lambda body: body["Item"]["sk"]["S"] == "head").cut_after()
    held = proxy.on("PutItem").hold()      # parked before it takes effect
    held.wait_arrived(); …; held.release()
    assert proxy.count("PutItem") == 2

A rule serves the next `times` requests that match it, then it is spent; of several rules the first that matches serves.
"""

from __future__ import annotations

import email.utils
import http.client
import http.server
import json
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

WAIT_S = 10.0
"""How long `wait_arrived` waits, and a held request for its release, before the test is taken for broken."""

DYNAMODB = "com.amazonaws.dynamodb.v20120810"
"""The family of an error's `__type`: boto3 reads the code behind the `#`."""

IDLE_S = 5.0
"""An upstream connection idle for longer is opened anew: a server may close it at any moment from then on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, and what the client gets to see of it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(slots=True)
class Request:
    """One request as it arrived; `status` and `bytes_out` stay None and 0 while, or if, nothing was answered."""

    operation: str
    body: dict[str, Any]
    bytes_in: int
    status: int | None = None
    bytes_out: int = 0


Forward = Callable[[], Answer]
Fault = Callable[[Forward], Answer | None]
"""What happens to a request: it may forward it, once, and gives the answer; None cuts the connection."""


@dataclass(eq=False)
class Rule:
    """Which requests, and how many of them; the verbs say what befalls them."""

    operation: str | None
    times: int | None
    when: Callable[[dict[str, Any]], bool] | None
    served: int = 0
    fault: Fault | None = None
    arrived: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def matches(self, request: Request) -> bool:
        return (
            self.fault is not None
            and (self.times is None or self.served < self.times)
            and self.operation in (None, request.operation)
            and (self.when is None or self.when(request.body))
        )

    def throttle(self, code: str = "ThrottlingException") -> Self:
        """Refuse with 400 and that code, for example ProvisionedThroughputExceededException; it takes no effect."""
        family = "com.amazon.coral.availability" if code == "ThrottlingException" else DYNAMODB
        return self.does(lambda forward: error(400, f"{family}#{code}", "Rate of requests exceeds the allowed rate."))

    def refuse(self, code: str, message: str = "refused by the test", *, status: int = 400) -> Self:
        """Refuse with that code, for example AccessDeniedException; it takes no effect."""
        return self.does(lambda forward: error(status, f"{DYNAMODB}#{code}", message))

    def server_error(self, status: int = 500, *, after: bool = False) -> Self:
        """Answer 500 or 503; with `after`, though the request took effect."""
        code = "ServiceUnavailable" if status == 503 else "InternalServerError"
        failure = error(status, f"{DYNAMODB}#{code}", "The request failed; it may be retried.")

        def fail(forward: Forward) -> Answer:
            if after:
                forward()
            return failure

        return self.does(fail)

    def cut_before(self) -> Self:
        """Close the connection before the request takes effect."""
        return self.does(lambda forward: None)

    def cut_after(self) -> Self:
        """Let the request take effect, then close the connection without an answer."""

        def cut(forward: Forward) -> None:
            forward()

        return self.does(cut)

    def slow(self, seconds: float) -> Self:
        """Let the request wait before it takes effect; it does so even when the client has hung up meanwhile."""

        def wait(forward: Forward) -> Answer:
            self.released.wait(seconds)
            return forward()

        return self.does(wait)

    def hold(self, *, after: bool = False) -> Self:
        """Park the request until `release`: before it takes effect, or with `after` before it is answered."""

        def park(forward: Forward) -> Answer:
            answer = forward() if after else None
            self.arrived.set()
            assert self.released.wait(WAIT_S), "a held request was never released"
            return forward() if answer is None else answer

        return self.does(park)

    def skew(self, seconds: float) -> Self:
        """Move the answer's Date header by that much, as a server whose clock runs ahead (or, negative, behind)."""
        return self.does(
            lambda forward: with_date(forward(), email.utils.formatdate(time.time() + seconds, usegmt=True))
        )

    def drop_date(self) -> Self:
        """Leave the Date header out of the answer."""
        return self.does(lambda forward: with_date(forward(), None))

    def wait_arrived(self) -> None:
        """Return when a request is held here."""
        assert self.arrived.wait(WAIT_S), f"no {self.operation or 'request'} arrived to be held"

    def release(self) -> None:
        """Let held requests go on, and those to come pass."""
        self.released.set()

    def does(self, fault: Fault) -> Self:
        self.fault = fault
        return self


class FaultProxy:
    """A reverse proxy before one server; `endpoint` stands in for the server's own."""

    def __init__(self, endpoint: str):
        self.upstream = urlsplit(endpoint).netloc
        self.lock = threading.Lock()
        self.requests: list[Request] = []
        self.rules: list[Rule] = []
        self.under_way = 0
        self.settled = threading.Condition(self.lock)
        self.server = Listener(("127.0.0.1", 0), Connection)
        self.server.proxy = self
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def on(
        self,
        operation: str | None = None,
        *,
        times: int | None = 1,
        when: Callable[[dict[str, Any]], bool] | None = None,
    ) -> Rule:
        """A rule for the next `times` requests (None: all) of that operation whose JSON body satisfies `when`."""
        rule = Rule(operation, times, when)
        with self.lock:
            self.rules.append(rule)
        return rule

    def count(self, *operations: str) -> int:
        """How many requests came, of these operations or of any."""
        with self.lock:
            return sum(not operations or request.operation in operations for request in self.requests)

    def reset(self) -> None:
        """Forget rules and requests; what is held goes on."""
        with self.lock:
            for rule in self.rules:
                rule.release()
            self.rules.clear()
            self.requests.clear()

    def settle(self) -> None:
        """Return when no request is under way: also those whose client has gone have taken effect, or never will."""
        with self.settled:
            assert self.settled.wait_for(lambda: self.under_way == 0, WAIT_S), "a request is still under way"

    def close(self) -> None:
        self.reset()
        self.server.shutdown()
        self.server.server_close()

    def leave(self) -> None:
        with self.settled:
            self.under_way -= 1
            self.settled.notify_all()

    def admit(self, request: Request) -> Fault | None:
        """Record the request and say what befalls it."""
        with self.lock:
            self.requests.append(request)
            self.under_way += 1
            for rule in self.rules:
                if rule.matches(request):
                    rule.served += 1
                    return rule.fault
        return None


class Listener(http.server.ThreadingHTTPServer):
    proxy: FaultProxy
    request_queue_size = 128


class Connection(http.server.BaseHTTPRequestHandler):
    """One client's connection, kept alive, and its own connection to the server behind."""

    server: Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.behind = http.client.HTTPConnection(self.server.proxy.upstream, timeout=60)
        self.used = time.monotonic()

    def finish(self) -> None:
        self.behind.close()
        super().finish()

    def do_POST(self) -> None:
        payload = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        request = Request(operation, json.loads(payload or b"{}"), len(payload))
        fault = self.server.proxy.admit(request)
        try:
            answer = fault(lambda: self.forward(payload)) if fault else self.forward(payload)
        finally:
            self.server.proxy.leave()
        if answer is None:
            self.close_connection = True
            return
        request.status, request.bytes_out = answer.status, len(answer.body)
        self.send(answer)

    def forward(self, payload: bytes) -> Answer:
        if time.monotonic() - self.used > IDLE_S:
            self.behind.close()
        self.behind.request("POST", self.path, payload, dict(self.headers.items()))
        response = self.behind.getresponse()
        body = response.read()
        self.used = time.monotonic()
        hop_by_hop = {"connection", "keep-alive", "transfer-encoding", "content-length"}
        return Answer(response.status, [h for h in response.getheaders() if h[0].lower() not in hop_by_hop], body)

    def send(self, answer: Answer) -> None:
        head = [f"HTTP/1.1 {answer.status} {self.responses[answer.status][0]}"]
        head += [f"{name}: {value}" for name, value in answer.headers]
        head += [f"Content-Length: {len(answer.body)}", "", ""]
        try:
            # One write: head and body in two segments cost 40 ms of delayed acknowledgement.
            self.wfile.write("\r\n".join(head).encode("latin-1") + answer.body)
        except ConnectionError:
            self.close_connection = True  # the client hung up while its request was held

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a proxy in a test is silent."""


def error(status: int, kind: str, message: str) -> Answer:
    """An error as DynamoDB words it, checksum included: boto3 verifies it."""
    body = json.dumps({"__type": kind, "message": message}).encode()
    headers = [
        ("Content-Type", "application/x-amz-json-1.0"),
        ("Date", email.utils.formatdate(usegmt=True)),
        ("x-amz-crc32", str(zlib.crc32(body))),
        ("x-amzn-RequestId", "00000000-0000-0000-0000-000000000000"),
    ]
    return Answer(status, headers, body)


def with_date(answer: Answer, date: str | None) -> Answer:
    headers = [(name, value) for name, value in answer.headers if name.lower() != "date"]
    if date is not None:
        headers.append(("Date", date))
    return Answer(answer.status, headers, answer.body)
