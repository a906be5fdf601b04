"""The lines that Lambda writes around a function's own: START, END and REPORT."""

from __future__ import annotations

import json
import math

from .outcome import How


def start(request_id: str) -> str:
    """Before the function's own lines."""
    return f"START RequestId: {request_id} Version: $LATEST\n"


def end(
    request_id: str, took_s: float, init_s: float | None, memory_mb: int, used_mb: int | None, how: How, payload: bytes
) -> list[str]:
    """After them: what the platform says of an attempt that it ended, END, and REPORT."""
    took_ms = took_s * 1000
    report = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {took_ms:.2f} ms",
        f"Billed Duration: {math.ceil(took_ms)} ms",
    ]
    report.append(f"Memory Size: {memory_mb} MB")
    if used_mb is not None:
        report.append(f"Max Memory Used: {used_mb} MB")
    if init_s is not None:
        report.append(f"Init Duration: {init_s * 1000:.2f} ms")
    said = [] if how in ("returned", "raised") else [f"{json.loads(payload)['errorMessage']}\n"]
    return [*said, f"END RequestId: {request_id}\n", "\t".join(report) + "\n"]


def trace_id(request_id: str) -> str:
    """An X-Ray trace id that is the same for all attempts of one event; nothing is sampled."""
    digits = request_id.replace("-", "").ljust(32, "0")
    return f"Root=1-{digits[:8]}-{digits[8:32]};Parent={digits[:16]};Sampled=0"
