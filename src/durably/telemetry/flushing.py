"""Handing spans and metrics over before the handler returns: Lambda freezes the process, and the exporters' threads with it."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from opentelemetry import metrics, trace

from ..hooks import AttemptEnded, Event


class Flush:
    """A hook that flushes the providers at the end of an attempt; a provider that can't be flushed is left alone."""

    def __init__(self, tracer_provider: Any, meter_provider: Any, limit: timedelta) -> None:
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._limit_s = limit.total_seconds()

    def __call__(self, event: Event) -> None:
        """Flush both within the limit."""
        if not isinstance(event, AttemptEnded):
            return
        until = time.monotonic() + self._limit_s
        for provider in (
            self._tracer_provider or trace.get_tracer_provider(),
            self._meter_provider or metrics.get_meter_provider(),
        ):
            flush = getattr(provider, "force_flush", None)
            if flush is not None:
                flush(max(1, int((until - time.monotonic()) * 1000)))
