"""Spans and metrics of executions and steps (extra durably[otel]), and log fields (`durably.telemetry.logs`, nothing needed).

All of it is hooks: what fails here is logged once, and changes no outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from ..errors import DurablyError
from ..hooks import add_hook

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["instrument"]


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    nest: bool = False,
    flush: timedelta | None = None,
) -> Callable[[], None]:
    """Make spans and metrics of every attempt in this process from now on. Returns the undo.

    The providers default to OpenTelemetry's global ones, also where those are set later. An execution is one trace,
    whose attempts link to the one before and to the span that was current; with `nest` an attempt is a child of the
    current span instead, and links to nothing. `flush`: how long the end of an attempt may wait for the exporters;
    Lambda freezes their threads when the handler returns.

    Call it once: each call makes spans of its own. After the undo, attempts under way are still seen to their end.
    Raises DurablyError where opentelemetry-api is not installed.
    """
    try:
        from .flushing import Flush
        from .metrics import Metrics
        from .spans import Spans
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise DurablyError(
            "durably.telemetry.instrument needs OpenTelemetry's API, which is not installed here: pip install 'durably[otel]'."
        ) from error
    spans = Spans(tracer_provider, nest=nest)
    spans.start()
    others = [add_hook(Metrics(meter_provider))]
    if flush is not None:
        others.append(add_hook(Flush(tracer_provider, meter_provider, flush)))

    def undo() -> None:
        spans.stop()
        for remove in others:
            remove()

    return undo
