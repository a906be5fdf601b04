"""Lambda's Invoke API and SQS's SendMessage over HTTP, on this machine alone: a boto3 client drives it.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from .environment import function_arn
from .function import LocalLambda
from .outcome import Outcome
from .payloads import SYNCHRONOUS_MAX, Refused
from .queue import Queue
from .queue_api import answer_sqs, query_error

LOG_TAIL = 4096
"""X-Amz-Log-Result holds the last 4 KB."""
BODY_MAX = 2 * SYNCHRONOUS_MAX
_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations/?(?:\?.*)?")
_LOCAL_HOSTS = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?", re.IGNORECASE)


class InvokeApi(ThreadingHTTPServer):
    """Serves these functions and queues, by their names. `port` 0 takes a free one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, functions: Mapping[str, LocalLambda], queues: Mapping[str, Queue], port: int = 0) -> None:
        self.functions, self.queues = functions, queues
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is no error of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection. Its answers are buffered, so that header and body leave together."""

    server: InvokeApi
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 900

    def do_POST(self) -> None:
        """An invocation, or a message."""
        request_id = str(uuid.uuid4())
        try:
            body = self._body()
            self._refuse_pages()
            if self.headers.get("X-Amz-Target", "").startswith("AmazonSQS."):
                action = self.headers["X-Amz-Target"].removeprefix("AmazonSQS.")
                self._answer(200, json.dumps(answer_sqs(action, body, self.server.queues)).encode(), {})
            else:
                self._invoke(body)
        except Refused as refused:
            said = {"Type": "User", "__type": refused.kind, "Message": refused.message, "message": refused.message}
            headers = {"x-amzn-ErrorType": refused.kind, "x-amzn-RequestId": request_id, **query_error(refused.kind)}
            self._answer(refused.status, json.dumps(said).encode(), headers)

    do_GET = do_PUT = do_DELETE = do_POST

    def _invoke(self, body: bytes) -> None:
        function = self._function()
        kind = self.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        headers = _runtime_headers(self.headers.get("X-Amz-Client-Context"))
        if kind == "DryRun":
            self._answer(204, b"", {})
        elif kind == "Event":
            sent = function.send(body, headers=headers)
            self._answer(202, b"", {"x-amzn-RequestId": sent.request_id})
        elif kind == "RequestResponse":
            outcome = function.invoke(body, headers=headers)
            with_tail = self.headers.get("X-Amz-Log-Type") == "Tail"
            self._answer(200, outcome.payload, _result_headers(outcome, with_tail))
        else:
            raise Refused(400, "InvalidParameterValueException", f"{kind!r} is no invocation type")

    def _function(self) -> LocalLambda:
        asked = _INVOKE.fullmatch(self.path)
        if asked is None or self.command != "POST":
            raise Refused(
                404, "UnknownOperationException", f"only Invoke is served here, not {self.command} {self.path}"
            )
        name = _name(unquote(asked[1]))
        if name not in self.server.functions:
            known = ", ".join(self.server.functions)
            raise Refused(
                404, "ResourceNotFoundException", f"Function not found: {function_arn(name)}. Here are: {known}"
            )
        return self.server.functions[name]

    def _body(self) -> bytes:
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= BODY_MAX or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            raise Refused(413, "RequestTooLargeException", f"a body of up to {BODY_MAX} bytes, with its Content-Length")
        body = self.rfile.read(length)
        if len(body) < length:  # The caller went away, and the half may be JSON too.
            raise ConnectionResetError("the caller went away")
        return body

    def _refuse_pages(self) -> None:
        """A web page in the user's browser may reach this port, and must not run anything."""
        if self.headers.get("Origin") or not _LOCAL_HOSTS.fullmatch(self.headers.get("Host", "")):
            raise Refused(403, "AccessDeniedException", "this API is for programs on this machine, not for web pages")

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _name(asked: str) -> str:
    """The function's name out of `name`, `name:qualifier`, `account:function:name` or an ARN."""
    parts = asked.split(":")
    return parts[parts.index("function") + 1] if "function" in parts[:-1] else parts[0]


def _runtime_headers(client_context: str | None) -> dict[str, str]:
    """The client's context, base64 on its way here and plain JSON on its way to the function."""
    if not client_context:
        return {}
    try:
        context = json.dumps(json.loads(base64.b64decode(client_context, validate=True)))
    except (binascii.Error, ValueError) as error:
        raise Refused(400, "InvalidRequestContentException", "the client context is no base64 of JSON") from error
    return {"Lambda-Runtime-Client-Context": context}


def _result_headers(outcome: Outcome, with_tail: bool) -> dict[str, str]:
    headers: dict[str, Any] = {"x-amzn-RequestId": outcome.request_id, "X-Amz-Executed-Version": "$LATEST"}
    if outcome.failed:
        headers["X-Amz-Function-Error"] = "Unhandled"
    if with_tail:
        headers["X-Amz-Log-Result"] = base64.b64encode(outcome.log.encode()[-LOG_TAIL:]).decode()
    return headers
