"""What an execution costs in DynamoDB, counted between the library and the server: requests, and write units by item size."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from durably import NOT_DONE, DynamoDBStore, durable, execution, fan_out, step
from durably.stores.dynamodb.listing import PROJECTED

from .clocks import FakeClock
from .contract import KEPT, UNTIL, SessionAt, claim, end, item_size, new_table, noise, shared_table, with_known_clock
from .servers import client
from .servers.faults import FaultProxy
from .stores_for_tests import Killed, Watched

CLAIM = END = "UpdateItem"
PUT = "PutItem"
QUERY = "Query"


class Boom(Exception):
    pass


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def proxy(dynamodb_endpoint: str, fault_proxy: Callable[[str], FaultProxy]) -> FaultProxy:
    return fault_proxy(dynamodb_endpoint)


@pytest.fixture
def store(dynamodb_endpoint: str, proxy: FaultProxy, clock: FakeClock) -> Watched:
    dynamodb = DynamoDBStore(shared_table(dynamodb_endpoint), session=SessionAt(proxy.endpoint), clock=clock)
    KEPT.append(dynamodb)
    dynamodb.read("nothing", until=UNTIL)
    proxy.reset()
    return Watched(dynamodb)


@pytest.fixture
def run(store: Watched, proxy: FaultProxy) -> Callable[..., list[str]]:
    """`run(body, dies=, fails=)`: deliver one event; the operations that it took."""
    name = f"code-reviewer-{uuid.uuid4().hex[:6]}"

    def deliver(
        body: Callable[[], Any],
        *,
        event: Any = None,
        raises: Any = None,
        id: str = "2f6f1c9e-8a55-4b1e-9d57-1f0c5a6f2f10",
    ) -> list[str]:
        @durable(store=store, name=name, id=lambda event, context: id)
        def handler(event: Any, context: Any) -> Any:
            return body()

        proxy.reset()
        if raises is None:
            handler(event, None)
        else:
            with pytest.raises(raises):
                handler(event, None)
        store.revive()
        return [request.operation for request in proxy.requests]

    return deliver


def steps(count: int) -> None:
    for number in range(count):
        step(f"step-{number}", str, number)


def fail() -> None:
    raise Boom


@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_first_run_of_n_steps_is_n_and_two_writes_and_no_read(run: Any, count: int) -> None:
    assert run(lambda: steps(count)) == [CLAIM, *[PUT] * count, END]


def test_a_finished_duplicate_is_one_request(run: Any) -> None:
    run(lambda: steps(3))
    assert run(fail) == [CLAIM]


def test_a_duplicate_while_the_holder_runs_is_one_request(run: Any, proxy: FaultProxy) -> None:
    from durably import ExecutionInProgress

    taken: list[list[str]] = []
    run(lambda: taken.append(run(fail, raises=ExecutionInProgress)))
    assert taken == [[CLAIM]]


def test_a_replay_after_a_released_failure_is_a_claim_and_one_query(run: Any) -> None:
    def body(failing: bool) -> None:
        steps(5)
        if failing:
            fail()
        step("last", str, 1)

    assert run(lambda: body(True), raises=Boom) == [CLAIM, *[PUT] * 5, END]
    assert run(lambda: body(False)) == [CLAIM, QUERY, PUT, END]


def test_a_failure_and_its_withdrawal_share_one_append(run: Any) -> None:
    assert run(lambda: step("bad", fail), raises=Boom) == [CLAIM, PUT, END]


def test_a_takeover_after_a_crash_costs_one_write_more(run: Any, store: Watched, clock: FakeClock) -> None:
    def body(dying: bool) -> None:
        steps(5)
        if dying:
            store.die()
        step("last", str, 1)

    assert run(lambda: body(True), raises=Killed) == [CLAIM, *[PUT] * 5]
    clock.advance(60)
    assert run(lambda: body(False)) == [CLAIM, QUERY, PUT, PUT, END]


def test_repeatable_steps_share_one_append(run: Any) -> None:
    def body() -> None:
        for number in range(6):
            step(f"read-{number}", str, number, repeatable=True)
        step("effect", str, 1)
        for number in range(6, 12):
            step(f"read-{number}", str, number, repeatable=True)

    # what was read before the effect, the effect, and at the end the rest
    assert run(body) == [CLAIM, PUT, PUT, PUT, END]


def test_a_step_with_recover_is_two_writes_and_takes_pending_entries_along(run: Any) -> None:
    def body() -> None:
        step("read", str, 1, repeatable=True)
        step("pay", str, 1, recover=lambda: NOT_DONE)

    assert run(body) == [CLAIM, PUT, PUT, END]


def test_a_fan_out_of_300_quick_items_is_at_most_12_requests(run: Any) -> None:
    # An item that the machine puts aside for some milliseconds is no quick one: the best of three.
    runs = [run(lambda: fan_out("item", str, range(300)), id=f"run-{number}") for number in range(3)]
    assert {(taken[0], *set(taken[1:-1]), taken[-1]) for taken in runs} == {(CLAIM, PUT, END)}
    assert min(len(taken) for taken in runs) - 2 <= 12


def test_a_replay_of_300_items_is_one_query(run: Any) -> None:
    def body(failing: bool) -> None:
        fan_out("item", str, range(300))
        if failing:
            fail()

    run(lambda: body(True), raises=Boom)
    assert run(lambda: body(False)) == [CLAIM, QUERY, END]


def test_a_journal_of_three_megabytes_is_one_query_a_megabyte(run: Any) -> None:
    def body(failing: bool) -> None:
        for seed in range(10):
            step(f"large-{seed}", noise, 300_000, seed)
        if failing:
            fail()

    run(lambda: body(True), raises=Boom)
    taken = run(lambda: body(False))
    assert (taken[0], taken[-1]) == (CLAIM, END)
    assert set(taken[1:-1]) == {QUERY}
    assert len(taken) - 2 <= 4


def test_a_result_of_900_bytes_costs_one_write_unit(run: Any, proxy: FaultProxy) -> None:
    assert 890 <= len(noise(670)) <= 910
    for number in range(10):
        step_name = f"analyse-{number}"
        run(lambda step_name=step_name, seed=number: step(step_name, noise, 670, seed) and fail(), raises=Boom)
        puts = [request.body["Item"] for request in proxy.requests if request.operation == PUT]
        assert max(item_size(put) for put in puts) <= 1024


def test_a_text_of_4_kilobytes_that_compresses_costs_one_write_unit(run: Any, proxy: FaultProxy) -> None:
    run(lambda: step("fetch", lambda: [{"path": f"src/module_{n}.py", "status": "modified"} for n in range(80)]))
    (put,) = [request.body["Item"] for request in proxy.requests if request.operation == PUT]
    assert item_size({name: value for name, value in put.items() if name != "entries"}) < 300
    assert len(put["entries"]["B"]) * 3 // 4 < 700


def test_a_large_event_is_written_once(run: Any) -> None:
    event = {"data": noise(20_000)}
    first = run(fail, event=event, raises=Boom)
    assert first == [CLAIM, PUT, "UpdateItem", END]
    assert run(lambda: steps(1), event=event) == [CLAIM, QUERY, PUT, END]


def test_a_renewal_is_one_write_that_touches_nothing_listed(
    store: Watched, proxy: FaultProxy, dynamodb_endpoint: str
) -> None:
    id = uuid.uuid4().hex
    claim(store, id, "a", event='"e"')

    def item() -> dict[str, Any]:
        key = {"pk": {"S": id}, "sk": {"S": "head"}}
        table = shared_table(dynamodb_endpoint)
        return dict(client(dynamodb_endpoint).get_item(TableName=table, Key=key, ConsistentRead=True)["Item"])

    before = item()
    proxy.reset()
    assert store.renew(id, "a", 77.0, until=UNTIL)
    assert proxy.count() == proxy.count("UpdateItem") == 1
    after = item()
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {"lease"}
    assert not changed & {*PROJECTED, "shard", "began"}
    request = proxy.requests[0].body
    written = request["UpdateExpression"].removeprefix("SET ").split(" = ")[0]
    assert request["ExpressionAttributeNames"][written] == "lease"


def test_listing_is_one_query_a_shard(proxy: FaultProxy, dynamodb_endpoint: str) -> None:
    # A table of its own: in a shard that other tests have filled, a tie of times is read to its end.
    store = DynamoDBStore(new_table(dynamodb_endpoint), session=SessionAt(proxy.endpoint), clock=FakeClock())
    with_known_clock(store)
    proxy.reset()
    store.newest(10, until=UNTIL)
    assert proxy.count() == proxy.count("Query") == 8
    assert {request.body["IndexName"] for request in proxy.requests} == {"executions"}


def test_nothing_is_deleted_and_reads_are_strong_in_a_whole_life(
    run: Any, store: Watched, proxy: FaultProxy, clock: FakeClock
) -> None:
    def body(then: Callable[[], Any]) -> None:
        step("read", str, 1, repeatable=True)
        step("pay", str, 1, recover=lambda: NOT_DONE)
        step("large", noise, 500_000)
        then()

    seen: list[Any] = []
    for then, raises in ((fail, Boom), (store.die, Killed), (lambda: None, None), (fail, None)):
        run(lambda then=then: body(then), event={"large": noise(5000)}, raises=raises)
        seen += proxy.requests
        clock.advance(60)
    clock.advance(100 * 86_400)
    run(lambda: body(lambda: None))
    seen += proxy.requests
    assert {request.operation for request in seen} <= {"UpdateItem", "PutItem", "Query", "GetItem"}
    reads = [request.body for request in seen if request.operation in ("Query", "GetItem")]
    assert reads
    assert all(body["ConsistentRead"] is True and "IndexName" not in body for body in reads)
    puts = [request.body for request in seen if request.operation == "PutItem"]
    # only parts, whose keys have their writer's owner id, are put without a condition
    assert all("ConditionExpression" in body or "part" in body["Item"] for body in puts)
    assert all("ConditionExpression" in request.body for request in seen if request.operation == "UpdateItem")


def test_a_block_costs_what_a_handler_costs(store: Watched, proxy: FaultProxy) -> None:
    id = uuid.uuid4().hex
    with execution(id, store=store, lease=timedelta(seconds=30)) as ex:
        steps(2)
        ex.result = 1
    assert [request.operation for request in proxy.requests] == [CLAIM, PUT, PUT, END]
    assert not end(store, f"execution/{id}", "nobody")
