"""Counters of attempts and steps, and how long appends take. By function only: step and execution names are too many."""

from __future__ import annotations

from opentelemetry.metrics import Histogram, Meter, MeterProvider, get_meter

from ..entries import Head
from ..hooks import Appended, AttemptEnded, Event, StepBegan, StepEnded, StepReplayed
from .attributes import Attributes, type_of

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From a local disk's append to a throttled table's."""


class Metrics:
    """A hook that counts."""

    def __init__(self, provider: MeterProvider | None) -> None:
        meter = get_meter("durably", meter_provider=provider)
        self.attempts = meter.create_counter(
            "durably.attempts", "{attempt}", "Attempts that ended, by how they left the execution"
        )
        self.run = meter.create_counter("durably.steps.run", "{step}", "Steps that were not in the journal, and ran")
        self.replayed = meter.create_counter("durably.steps.replayed", "{step}", "Steps answered from the journal")
        self.failed = meter.create_counter("durably.steps.failed", "{step}", "Steps that ran and ended with an error")
        self.append_duration = _histogram(meter)

    def __call__(self, event: Event) -> None:
        """Count the event."""
        said = _said(event.head)
        if isinstance(event, StepReplayed):
            self.replayed.add(1, said)
        elif isinstance(event, StepBegan):
            self.run.add(1, said)
        elif isinstance(event, StepEnded):
            if event.outcome is not None and event.error is not None:
                self.failed.add(1, said | {"error.type": type_of(event.error)})
        elif isinstance(event, Appended):
            if event.error is not None:
                said["error.type"] = type_of(event.error)
            self.append_duration.record(event.took_s, said)
        elif isinstance(event, AttemptEnded) and event.head.status == "running":  # else it was a finished one's replay
            if event.error is not None:
                said["error.type"] = type_of(event.error)
            self.attempts.add(1, said | {"durably.status": event.status})


def _said(head: Head) -> Attributes:
    return {"durably.function": head.function}


def _histogram(meter: Meter) -> Histogram:
    return meter.create_histogram(
        "durably.append.duration",
        "s",
        "How long the store took to take an append",
        explicit_bucket_boundaries_advisory=BUCKETS_S,
    )
