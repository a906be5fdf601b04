"""How one invocation went, and the errors that Lambda itself makes of what befell the process."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

How = Literal["returned", "raised", "timed out", "killed", "exited", "init failed", "init timed out", "too large"]
RESPONSE_MAX = 6 * 1024 * 1024 + 100
"""Bytes of a result (Lambda quotas: 6 MB; its error names this number)."""


class Outcome(NamedTuple):
    """One invocation's end. `payload` is the result, or the error as Lambda words it, in JSON unless `fn` returned bytes."""

    request_id: str
    how: How
    payload: bytes
    log: str = ""
    """What the function wrote, between Lambda's START, END and REPORT lines."""
    took_s: float = 0.0
    init_s: float | None = None
    """None for a sandbox that was warm."""

    @property
    def failed(self) -> bool:
        """Lambda calls it a function error."""
        return self.how != "returned"

    @property
    def error(self) -> str:
        """The error in one line, empty where there is none."""
        if not self.failed:
            return ""
        fields = self.result
        return f"{fields.get('errorType', '')}: {fields.get('errorMessage', '')}"

    @property
    def result(self) -> Any:
        """The payload read as JSON: the handler's result, or the error's fields."""
        return json.loads(self.payload)


def timed_out(request_id: str, timeout_s: float) -> bytes:
    """The payload of an attempt that Lambda ended at its timeout."""
    return _platform_error("Sandbox.Timedout", request_id, f"Task timed out after {timeout_s:.2f} seconds")


def exited(request_id: str, code: int) -> bytes:
    """The payload of an attempt whose process ended: by itself (`code` >= 0) or by a signal."""
    if code == 0:
        said = "Runtime exited without providing a reason"
    else:
        said = "Runtime exited with error: " + (f"exit status {code}" if code > 0 else f"signal: {_signal(-code)}")
    return _platform_error("Runtime.ExitError", request_id, said)


def init_error(posted: bytes) -> bytes:
    """The payload of an invocation whose function did not initialise; the runtime posts it as JSON text in JSON."""
    fields = json.loads(posted)
    if isinstance(fields, str):
        fields = json.loads(fields)
    return json.dumps(
        {name: fields[name] for name in ("errorMessage", "errorType", "requestId", "stackTrace")}
    ).encode()


def response_too_large() -> bytes:
    """The payload where the result was larger than Lambda sends."""
    said = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_MAX} bytes)."
    return json.dumps({"errorType": "Function.ResponseSizeTooLarge", "errorMessage": said}).encode()


def _platform_error(kind: str, request_id: str, said: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {said}"}).encode()


def _signal(number: int) -> str:
    """The signal in the words of Go, in which Lambda's supervisor speaks."""
    words = {2: "interrupt", 6: "aborted", 9: "killed", 11: "segmentation fault", 15: "terminated"}
    return words.get(number, f"signal {number}")
