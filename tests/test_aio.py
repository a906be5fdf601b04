"""The async shell: the same engine and journal, awaited. What both shells share is tested in the tests of the promises."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from durably import MemoryStore, SQLiteStore, aio
from durably.entries import Segment
from durably.errors import DuplicateStep, ExecutionInProgress, NotSerializable, OutOfTime, StoreError
from durably.stores.protocol import Store


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "durably.db")


class SlowStore(MemoryStore):
    """A store whose appends take their time, as one behind a network does."""

    def __init__(self, seconds: float = 0.02) -> None:
        super().__init__()
        self.seconds = seconds
        self.appended: list[Segment] = []

    def append(self, segment: Segment, *, until: float) -> bool:
        time.sleep(self.seconds)
        self.appended.append(segment)
        return super().append(segment, until=until)


def durable(store: Store, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return aio.durable(id=lambda event, context: str(event["id"]), store=store, **options)


async def test_a_retry_goes_on_where_the_last_attempt_stopped(store: Store) -> None:
    ran: list[str] = []
    healthy = False

    async def effect(name: str) -> str:
        await asyncio.sleep(0)
        ran.append(name)
        return name.upper()

    @durable(store)
    async def handler(event: dict[str, Any], context: object) -> list[str]:
        first = await aio.step("first", effect, "first")
        if not healthy:
            raise ConnectionError("down")
        return [first, await aio.step("second", effect, "second")]

    with pytest.raises(ConnectionError):
        await handler({"id": 1}, None)
    healthy = True
    assert await handler({"id": 1}, None) == ["FIRST", "SECOND"]
    assert await handler({"id": 1}, None) == ["FIRST", "SECOND"]
    assert ran == ["first", "second"]


async def test_gathered_steps_share_appends_and_none_blocks_the_loop() -> None:
    store = SlowStore()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    async def quick(number: int) -> int:
        return number

    @durable(store)
    async def handler(event: dict[str, Any], context: object) -> list[int]:
        return list(await asyncio.gather(*(aio.step(f"item-{number}", quick, number) for number in range(100))))

    ticking = asyncio.create_task(tick())
    assert await handler({"id": 1}, None) == list(range(100))
    ticking.cancel()
    assert len(store.appended) <= 4
    assert ticks >= 5


async def test_a_fan_out_of_300_quick_items_takes_at_most_12_appends_and_keeps_their_order() -> None:
    store = SlowStore(0.005)

    async def quick(number: int) -> int:
        return number * 2

    @durable(store)
    async def handler(event: dict[str, Any], context: object) -> list[int]:
        return await aio.fan_out("item", quick, range(300))

    assert await handler({"id": 1}, None) == [number * 2 for number in range(300)]
    assert len(store.appended) <= 12


async def test_cancelling_a_step_is_no_outcome_and_releases_the_lease(store: Store) -> None:
    begun = asyncio.Event()
    slow = True

    async def effect() -> str:
        begun.set()
        await asyncio.sleep(60 if slow else 0)
        return "done"

    @durable(store)
    async def handler(event: dict[str, Any], context: object) -> str:
        return await aio.step("effect", effect)

    first = asyncio.create_task(handler({"id": 1}, None))
    await begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    slow = False
    assert await handler({"id": 1}, None) == "done"


async def test_what_a_task_group_raises_is_healthy_on_the_next_attempt(store: Store) -> None:
    healthy = False
    ran: list[int] = []

    async def effect(number: int) -> int:
        ran.append(number)
        if number == 1 and not healthy:
            raise ConnectionError(number)
        return number

    async def part(number: int) -> int:
        return await aio.step(f"part-{number}", effect, number)

    @durable(store)
    async def handler(event: dict[str, Any], context: object) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part(number)) for number in range(3)]
        return sum(task.result() for task in tasks)

    with pytest.raises(ExceptionGroup):
        await handler({"id": 1}, None)
    healthy = True
    assert await handler({"id": 1}, None) == 3
    assert ran.count(1) == 2


async def test_a_crash_while_sibling_tasks_go_on_leaves_an_unhandled_failure_out_of_the_journal() -> None:
    store = MemoryStore()
    first_failed = asyncio.Event()
    crash = True

    class Crash(BaseException):
        pass

    async def fails() -> None:
        if crash:
            raise ConnectionError("down")

    async def failing_task() -> None:
        try:
            await aio.step("fails", fails)
        finally:
            first_failed.set()

    async def plain() -> int:
        return 1

    async def going_on() -> None:
        await first_failed.wait()
        await aio.step("sibling", plain)
        if crash:
            raise Crash

    @durable(store)
    async def handler(event: dict[str, Any], context: object) -> str:
        results = await asyncio.gather(failing_task(), going_on(), return_exceptions=True)
        return str([type(result).__name__ for result in results])

    with suppress(Crash):
        await handler({"id": 1}, None)
    head = store.read(f"{__name__}:{handler.__qualname__}/1", until=0)
    assert head is not None
    journal = store.load(head.id, head.generation, until=0)
    outcomes = [entry.kind for segment in journal for entry in segment.entries if entry.step == "fails"]
    sibling = next(number for number, segment in enumerate(journal) if segment.entries[0].step == "sibling")
    assert all(entry.step != "fails" for segment in journal[: sibling + 1] for entry in segment.entries), outcomes


async def test_a_failure_caught_from_a_task_is_appended_before_the_fallback_runs(store: Store) -> None:
    seen: list[list[str]] = []

    async def fails() -> None:
        raise ConnectionError("down")

    async def fallback(execution: str) -> str:
        head = store.read(execution, until=time.monotonic() + 5)
        assert head is not None
        journal = store.load(head.id, head.generation, until=time.monotonic() + 5)
        seen.append([f"{entry.kind} {entry.step}" for segment in journal for entry in segment.entries])
        return "fallback"

    @durable(store)
    async def handler(event: dict[str, Any], context: object) -> str:
        execution = aio.current_execution()
        assert execution is not None
        try:
            await asyncio.gather(aio.step("fails", fails))
        except ConnectionError:
            return await aio.step("fallback", fallback, execution.id)
        return "primary"

    assert await handler({"id": 1}, None) == "fallback"
    assert seen == [["error fails"]]


async def test_a_duplicate_is_refused_while_the_holder_runs(store: Store) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def effect() -> int:
        begun.set()
        await go_on.wait()
        return 7

    @durable(store)
    async def handler(event: dict[str, Any], context: object) -> int:
        return await aio.step("effect", effect)

    holder = asyncio.create_task(handler({"id": 1}, None))
    await begun.wait()
    with pytest.raises(ExecutionInProgress):
        await handler({"id": 1}, None)
    go_on.set()
    assert await holder == 7


async def test_stop_signals_stick_and_a_swallowed_one_is_raised_at_the_end() -> None:
    class Failing(MemoryStore):
        def append(self, segment: Segment, *, until: float) -> bool:
            raise StoreError("gone")

    @durable(Failing())
    async def handler(event: dict[str, Any], context: object) -> str:
        for name in ("first", "second"):
            with suppress(StoreError):
                await aio.step(name, asyncio.sleep, 0)
        return "swallowed"

    with pytest.raises(StoreError, match="gone"):
        await handler({"id": 1}, None)


async def test_no_step_begins_without_its_reserve(store: Store) -> None:
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 1500, aws_request_id="r")

    @durable(store, reserve=timedelta(seconds=2))
    async def handler(event: dict[str, Any], context: object) -> None:
        await aio.step("never", asyncio.sleep, 0)

    with pytest.raises(OutOfTime, match="first step"):
        await handler({"id": 1}, context)


async def test_options_and_names_are_those_of_plain_steps(store: Store) -> None:
    tries = 0

    @aio.step.named("post/{number}", retry=aio.Retry(3, on=ConnectionError, delay=timedelta(0)))
    async def post(number: int) -> int:
        nonlocal tries
        tries += 1
        step = aio.current_step()
        assert step is not None
        assert step.name == f"post/{number}"
        if tries < 3:
            raise ConnectionError
        return tries

    @durable(store)
    async def handler(event: dict[str, Any], context: object) -> int:
        with pytest.raises(DuplicateStep):
            await asyncio.gather(aio.step("twin", asyncio.sleep, 0), aio.step("twin", asyncio.sleep, 0))
        with pytest.raises(NotSerializable):
            await aio.step("lock", make_lock)
        return await post(7)

    async def make_lock() -> object:
        return threading.Lock()

    assert await handler({"id": 1}, None) == 3
    assert await post(8) == 4


async def test_blocks_and_once_are_awaited(store: Store) -> None:
    ran: list[int] = []

    async def effect(number: int) -> int:
        ran.append(number)
        return number

    for _ in range(2):
        async with aio.execution("order-1", store=store) as ex:
            ex.result = await aio.step("effect", effect, 1)
        assert await aio.once("key", effect, 2, store=store) == 2
    assert ex.finished
    assert ex.result == 1
    assert ran == [1, 2]


def test_a_plain_handler_is_refused_where_an_async_one_is_meant() -> None:
    with pytest.raises(TypeError, match="from durably import durable"):
        aio.durable(lambda event, context: None)  # type: ignore[arg-type, return-value]


def test_one_line_makes_a_lambda_entry_point_of_an_async_handler(store: Store) -> None:
    async def effect() -> str:
        return "done"

    @durable(store)
    async def review(event: dict[str, Any], context: object) -> str:
        return await aio.step("effect", effect)

    def handler(event: dict[str, Any], context: object) -> str:
        return str(asyncio.run(review(event, context)))

    assert handler({"id": 1}, None) == "done"
    assert handler({"id": 1}, None) == "done"
    assert [thread for thread in threading.enumerate() if thread.name.startswith("durably")] == []
