"""What operators do to a DynamoDB table when answers get lost and processes die: taken once, restored once, deleted whole."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from durably import DynamoDBStore, StoreError
from durably.entries import Head
from durably.stores.protocol import Store

from .clocks import FakeClock
from .contract import KEPT, UNTIL, SessionAt, append, claim, end, entry_of, load, noise, read, shared_table
from .servers import client
from .servers.faults import FaultProxy

FAULTS = {
    "refused": lambda rule: rule.throttle(),
    "request lost": lambda rule: rule.cut_before(),
    "answer lost": lambda rule: rule.cut_after(),
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def proxy(dynamodb_local: str, fault_proxy: Callable[[str], FaultProxy]) -> FaultProxy:
    return fault_proxy(dynamodb_local)


@pytest.fixture
def store(dynamodb_local: str, proxy: FaultProxy, clock: FakeClock) -> Store:
    made = DynamoDBStore(shared_table(dynamodb_local), session=SessionAt(proxy.endpoint), clock=clock)
    made.read("nothing", until=UNTIL)
    KEPT.append(made)
    proxy.reset()
    return made


@pytest.fixture
def id() -> str:
    return f"operators/{uuid.uuid4().hex}"


@pytest.fixture
def sort_keys(dynamodb_local: str) -> Callable[[str], list[str]]:
    """What lies in the table under an execution's id."""

    def keys(id: str) -> list[str]:
        found = client(dynamodb_local).query(
            TableName=shared_table(dynamodb_local),
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": id}},
        )
        return [item["sk"]["S"] for item in found["Items"]]

    return keys


def large(store: Store, id: str, **fields: Any) -> Head:
    """A failed execution with parts of every kind: event, segment, result."""
    head = claim(store, id, "a", event=noise(5000), **fields).head
    append(store, head, 1, entry_of("first", "1"))
    append(store, head, 2, entry_of("large", noise(900_000)))
    end(store, id, "a", "failed", "so", result=noise(5000, 2))
    return head


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_a_seizure_takes_the_lease_once(fault: str, store: Store, proxy: FaultProxy, id: str) -> None:
    claim(store, id, "a", event=noise(5000))
    FAULTS[fault](proxy.on("UpdateItem"))
    standing, head = claim(store, id, "op", seize=True)
    assert (standing, head.owner, head.attempt, head.event) == ("taken over", "op", 2, noise(5000))
    assert read(store, id).attempt == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_the_end_of_a_reopening_ends_it_once(fault: str, store: Store, proxy: FaultProxy, id: str) -> None:
    large(store, id)
    claim(store, id, "op", reopen=True)
    FAULTS[fault](proxy.on("UpdateItem"))
    # Another process's store knows nothing of the claim, and is told the same.
    assert end(store, id, "op", "waiting", "reopened")
    assert not end(store, id, "op", "waiting", "reopened")
    assert read(store, id).status == "waiting"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_fault_at_any_write_of_a_restore_restores_once(
    fault: str, nth: int, store: Store, proxy: FaultProxy, id: str, clock: FakeClock
) -> None:
    large(store, id)
    head = read(store, id)._replace(id=f"{id}-copy")
    count = iter(range(1, 100))
    FAULTS[fault](proxy.on("PutItem", when=lambda body: next(count) == nth))
    assert store.restore(head, until=UNTIL)
    seen = read(store, head.id)
    assert (seen.event, seen.result, seen.status) == (head.event, head.result, "failed")
    assert not store.restore(head, until=UNTIL)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_request_of_a_deletion_deletes_all(
    fault: str, store: Store, proxy: FaultProxy, id: str, sort_keys: Callable[[str], list[str]]
) -> None:
    head = large(store, id)
    assert len(sort_keys(id)) >= 6
    turn = iter(range(10_000))
    FAULTS[fault](proxy.on(times=None, when=lambda body: next(turn) % 2 == 0))
    assert store.delete(id, head.generation, until=UNTIL)
    proxy.reset()
    assert sort_keys(id) == []


def test_a_deletion_that_dies_at_any_request_leaves_nothing_that_is_met_and_is_finished_later(
    store: Store, proxy: FaultProxy, clock: FakeClock, sort_keys: Callable[[str], list[str]]
) -> None:
    """At each crash point: the id is either whole or free, a new execution never sees the old journal, a second call ends it."""
    point, reached_the_end = 0, False
    while not reached_the_end:
        point += 1
        id = f"operators/{uuid.uuid4().hex}"
        head = large(store, id, expires_s=None)
        count = iter(range(1, 10_000))
        proxy.on(times=None, when=lambda body, count=count, point=point: next(count) >= point).throttle()
        try:
            assert store.delete(id, head.generation, until=clock.monotonic() + 1)
            reached_the_end = True
        except StoreError:
            pass
        proxy.reset()
        there = store.read(id, until=UNTIL)
        if there is not None:
            assert point == 1, "only before the first write is it still there"
            assert (there.status, len(load(store, there))) == ("failed", 2)
        if not reached_the_end and point % 2:
            assert store.delete(id, head.generation, until=UNTIL)
            assert sort_keys(id) == []
        elif not reached_the_end:
            standing, new = claim(store, id, "new", generation="fresh")
            assert (standing, load(store, new)) == ("new", [])
            assert not store.delete(id, head.generation, until=UNTIL)
            assert read(store, id).generation == "fresh"
    assert point >= 8


def test_a_claim_between_gravestone_and_last_request_keeps_its_execution(
    store: Store, proxy: FaultProxy, id: str, dynamodb_local: str, clock: FakeClock
) -> None:
    rival = DynamoDBStore(shared_table(dynamodb_local), session=SessionAt(dynamodb_local), clock=clock)
    rival.read("nothing", until=UNTIL)
    KEPT.append(rival)
    head = large(store, id)

    def claim_meanwhile(body: dict[str, Any]) -> bool:
        if body["Key"]["sk"]["S"] == "head":
            new = claim(rival, id, "new", generation="fresh").head
            append(rival, new, 1)
        return False

    proxy.on("DeleteItem", times=None, when=claim_meanwhile).throttle()
    assert store.delete(id, head.generation, until=UNTIL)
    seen = read(rival, id)
    assert (seen.generation, seen.status, len(load(rival, seen))) == ("fresh", "running", 1)


def test_a_deletion_costs_one_write_an_item_and_three_queries(store: Store, proxy: FaultProxy, id: str) -> None:
    head = claim(store, id, "a").head
    append(store, head, 1)
    append(store, head, 2)
    end(store, id, "a", "completed", result="1")
    before = proxy.count()
    assert store.delete(id, head.generation, until=UNTIL)
    assert proxy.count("DeleteItem") == 3
    assert proxy.count() - before == 1 + 3 + 3
