"""Tests of a durable handler, to be copied: a step at a time, a retry, every crash, every race.

`pytest` runs them on a laptop, nothing else installed; `pytest --durably-store dynamodb://my-table` on a real table.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from durably import NOT_DONE, OutOfTime
from durably.testing import ManualClock, counted, crash_everywhere, race_everywhere

from . import order

EVENT = {
    "id": "evt-1",
    "source": "shop",
    "detail-type": "order",
    "detail": {"order": {"id": "o-1", "cents": 100, "mail": "a@b"}},
}


class Services:
    """What the handler changes in the world, in lists that can be looked at."""

    def __init__(self) -> None:
        self.charges: list[str] = []
        self.mails: list[str] = []

    def charge(self, order: dict[str, Any]) -> str:
        """Take the money."""
        self.charges.append(order["id"])
        return f"ch_{len(self.charges)}"

    def find_charge(self, order_id: str) -> object:
        """What `recover` asks."""
        return "ch_1" if order_id in self.charges else NOT_DONE

    def send_receipt(self, mail: str, charge_id: str) -> None:
        """Mail it."""
        self.mails.append(mail)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Services]:
    """`services()` puts fresh fakes in the place of the functions that go over the network."""

    def fresh() -> Services:
        fakes = Services()
        monkeypatch.setattr(order, "charge", counted("charge", fakes.charge))
        monkeypatch.setattr(order, "find_charge", fakes.find_charge)
        monkeypatch.setattr(order, "send_receipt", counted("receipt", fakes.send_receipt))
        return fakes

    return fresh


def test_an_order_is_charged_and_its_receipt_is_sent(durably_store: Any, lambda_context: Any, services: Any) -> None:
    """The plain test: call the handler."""
    fakes = services()
    assert order.handler(EVENT, lambda_context()) == {"order": "o-1", "charge": "ch_1"}
    assert (fakes.charges, fakes.mails) == (["o-1"], ["a@b"])


def test_a_retry_runs_only_what_is_left(
    durably_store: Any, lambda_context: Any, services: Any, times_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt fails at the mail; the second charges nobody."""
    fakes = services()
    with monkeypatch.context() as patch:
        patch.setattr(order, "send_receipt", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            order.handler(EVENT, lambda_context())
    assert order.handler(EVENT, lambda_context())["charge"] == "ch_1"
    assert (times_run("charge"), times_run("receipt")) == (1, 2)
    assert fakes.charges == ["o-1"]


def test_what_the_deadline_cuts_off_is_the_next_attempts(
    durably_store: Any, lambda_context: Any, services: Any, times_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The charge takes 2.9 of 3 seconds, so the receipt is not begun; the retry sends it."""
    fakes, clock = services(), ManualClock()
    with monkeypatch.context() as patch:
        patch.setattr(order, "charge", lambda asked: clock.sleep(2.9) or fakes.charge(asked))
        with pytest.raises(OutOfTime):
            order.handler(EVENT, lambda_context(timeout=timedelta(seconds=3), clock=clock))
    assert (fakes.charges, fakes.mails) == (["o-1"], [])
    order.handler(EVENT, lambda_context())
    assert (fakes.charges, fakes.mails) == (["o-1"], ["a@b"])
    assert times_run("charge") == 1


def test_no_crash_charges_twice(services: Any) -> None:
    """Killed at every point, delivered again as Lambda does. `print(report)` shows the table."""
    report = crash_everywhere(order.handler, EVENT, world=services, may_repeat=["receipt"])
    report.assert_exactly_once("charge")
    report.assert_same_result()
    report.assert_nothing_wrong()


def test_no_duplicate_and_no_zombie_charges_twice(services: Any) -> None:
    """Two attempts of the event, interleaved at every write to the store."""
    report = race_everywhere(order.handler, EVENT, world=services, may_repeat=["receipt"])
    report.assert_exactly_once("charge")
    report.assert_nothing_wrong()
