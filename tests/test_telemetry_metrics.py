"""Metrics, with OpenTelemetry's own SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from durably import MemoryStore, durable, execution, fan_out, step
from durably.errors import StoreError
from durably.telemetry import instrument
from durably.telemetry.metrics import BUCKETS_S


class Boom(Exception):
    pass


class Metered:
    """A provider of its own, and what it has measured."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        metrics = [one for of in data.resource_metrics for scope in of.scope_metrics for one in scope.metrics]
        return [point for metric in metrics if metric.name == name for point in metric.data.data_points]

    def sums(self, name: str) -> dict[tuple[Any, ...], int]:
        return {tuple(point.attributes.values()): point.value for point in self.points(name)}


@pytest.fixture
def metered() -> Iterator[Metered]:
    made = Metered()
    undo = instrument(meter_provider=made.provider)
    yield made
    undo()


def run_thrice(store: Any) -> None:
    """An attempt that fails at its fifth step, one that finishes, and a duplicate."""
    failing = [True]

    def last() -> str:
        if failing:
            raise Boom
        return "done"

    @durable(store=store, name="f", id=lambda event, context: "evt-1")
    def handler(event: Any, context: Any) -> str:
        step("a", lambda: 1)
        fan_out("many", str, [1, 2, 3], workers=1)
        return step("last", last)

    with pytest.raises(Boom):
        handler({}, None)
    failing.clear()
    assert handler({}, None) == handler({}, None) == "done"


def test_steps_and_attempts_are_counted(metered: Metered) -> None:
    run_thrice(MemoryStore())
    assert metered.sums("durably.steps.run") == {("f",): 6}
    assert metered.sums("durably.steps.replayed") == {("f",): 4}
    boom = f"{__name__}.Boom"
    assert metered.sums("durably.steps.failed") == {("f", boom): 1}
    assert metered.sums("durably.attempts") == {("f", boom, "waiting"): 1, ("f", "completed"): 1}


def test_appends_are_timed_in_seconds_in_buckets_that_fit_them(metered: Metered) -> None:
    run_thrice(MemoryStore())
    (point,) = metered.points("durably.append.duration")
    assert point.count >= 4
    assert 0 < point.sum < 5
    assert tuple(point.explicit_bounds) == BUCKETS_S


def test_an_append_that_failed_bears_its_error(metered: Metered) -> None:
    class Broken(MemoryStore):
        def append(self, segment: Any, *, until: float) -> bool:
            raise StoreError("down")

    with pytest.raises(StoreError), execution("x", store=Broken()):
        step("a", lambda: 1)
    said = [dict(point.attributes) for point in metered.points("durably.append.duration")]
    assert said == [{"durably.function": "execution", "error.type": "durably.errors.StoreError"}] * len(said)
    assert said


def test_the_replay_of_a_finished_block_is_no_attempt(metered: Metered) -> None:
    store = MemoryStore()
    for _ in range(2):
        with execution("x", store=store):
            step("a", lambda: 1)
    assert metered.sums("durably.attempts") == {("execution", "completed"): 1}
    assert metered.sums("durably.steps.replayed") == {("execution",): 1}


def test_after_the_undo_nothing_is_counted() -> None:
    made = Metered()
    instrument(meter_provider=made.provider)()
    with execution("x", store=MemoryStore()):
        step("a", lambda: 1)
    assert made.reader.get_metrics_data() is None
