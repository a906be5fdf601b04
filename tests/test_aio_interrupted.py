"""The async shell where it is cut off or crowded: cancellation under way, busy threads, several loops, tasks left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from durably import DuplicateStep, MemoryStore, Retry, aio, durable, fan_out
from durably.entries import Claim, Claimed, Ending, Segment

HELD_S = 10.0


class Gated(MemoryStore):
    """A store that holds each claim or append back until it is let go, and notes what comes in which order."""

    def __init__(self, holds: str = "") -> None:
        super().__init__()
        self.holds = holds
        self.arrived = threading.Event()
        self.let_go = threading.Event()
        self.done: list[str] = []

    def _pass(self, what: str) -> None:
        if self.holds == what:
            self.arrived.set()
            assert self.let_go.wait(HELD_S)

    def claim(self, claim: Claim, *, until: float) -> Claimed:
        self._pass("claim")
        return super().claim(claim, until=until)

    def append(self, segment: Segment, *, until: float) -> bool:
        self._pass("append")
        written = super().append(segment, until=until)
        self.done.append(f"append {' '.join(f'{entry.kind} {entry.step}' for entry in segment.entries)}")
        return written

    def end(self, execution: str, owner: str, ending: Ending, *, until: float) -> bool:
        self.done.append(ending.status)
        return super().end(execution, owner, ending, until=until)

    async def has_arrived(self) -> None:
        while not self.arrived.is_set():
            await asyncio.sleep(0.001)


def decorated(store: MemoryStore, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return aio.durable(id=lambda event, context: str(event), store=store, name="f", **options)


async def one() -> int:
    return 1


# ---- cancellation


async def test_a_lease_is_not_released_before_the_append_under_way_is_over() -> None:
    """Released earlier, the next attempt would load a journal without it, and pay a second time."""
    store, paid = Gated("append"), []

    async def pay() -> int:
        paid.append(1)
        return len(paid)

    @decorated(store)
    async def handler(event: object, context: object) -> int:
        return await aio.step("pay", pay)

    first = asyncio.create_task(handler(1, None))
    await store.has_arrived()
    first.cancel()
    await asyncio.sleep(0.02)  # room for a release that does not wait
    store.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert store.done == ["append result pay", "waiting"]
    assert await handler(1, None) == 1
    assert paid == [1]


@pytest.mark.parametrize("times", [1, 2])
async def test_a_block_cancelled_at_its_claim_leaves_no_lease_behind(times: int) -> None:
    """Its heartbeat would keep the execution from everybody else for as long as the process lives."""
    store = Gated("claim")

    async def block() -> None:
        async with aio.execution("order-1", store=store):
            raise AssertionError("the block is not begun")

    task = asyncio.create_task(block())
    await store.has_arrived()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.001)
    store.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.done == ["waiting"]
    async with aio.execution("order-1", store=store) as ex:
        assert ex.attempt == 2


async def test_no_item_outlives_a_fan_out_that_is_cancelled_twice() -> None:
    store, begun, ended = Gated(), asyncio.Event(), []

    async def item(name: str) -> None:
        begun.set()
        try:
            await asyncio.sleep(HELD_S)
        finally:
            try:
                await asyncio.sleep(HELD_S)
            finally:
                await asyncio.sleep(0.01)
                ended.append(name)

    @decorated(store)
    async def handler(event: object, context: object) -> None:
        await aio.fan_out("item", item, ["a", "b"])

    task = asyncio.create_task(handler(1, None))
    await begun.wait()
    for _ in range(2):
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["a", "b"]
    assert store.done == ["waiting"]


# ---- threads and loops


async def test_an_append_does_not_queue_behind_the_users_own_thread_calls() -> None:
    store, release = Gated(), threading.Event()

    async def hog() -> None:
        await asyncio.to_thread(release.wait, HELD_S)

    @decorated(store)
    async def handler(event: object, context: object) -> int:
        hogs = [asyncio.create_task(hog()) for _ in range(40)]
        await asyncio.sleep(0)
        began = time.monotonic()
        result: int = await aio.step("one", one)
        took = time.monotonic() - began
        release.set()
        await asyncio.gather(*hogs)
        assert took < HELD_S / 2
        return result

    assert await handler(1, None) == 1


async def test_duplicates_that_wait_do_not_keep_the_holder_from_finishing() -> None:
    go = asyncio.Event()

    async def slow() -> int:
        await go.wait()
        return 1

    @decorated(MemoryStore(), wait=timedelta(seconds=HELD_S))
    async def handler(event: object, context: object) -> int:
        return await aio.step("slow", slow)

    everybody = [asyncio.create_task(handler(1, None)) for _ in range(50)]
    await asyncio.sleep(0.1)
    began = time.monotonic()
    go.set()
    assert await asyncio.gather(*everybody) == [1] * 50
    assert time.monotonic() - began < HELD_S / 2


def test_the_threads_of_a_fan_out_may_each_run_a_loop() -> None:
    async def quick(number: int) -> int:
        return number

    def item(number: int) -> int:
        return asyncio.run(aio.step(f"inner/{number}", quick, number))  # type: ignore[arg-type]  # a coroutine it is

    class Slow(MemoryStore):
        def append(self, segment: Segment, *, until: float) -> bool:
            time.sleep(0.01)
            return super().append(segment, until=until)

    @durable(id=lambda event, context: str(event), store=Slow())
    def handler(event: object, context: object) -> list[int]:
        return fan_out("item", item, range(20))

    assert handler(1, None) == list(range(20))


# ---- what other tasks were handed, and what they left behind


async def test_a_repeatable_result_that_another_task_acts_on_is_appended_before() -> None:
    """A producer that is not done yet: run again after a crash it could give another page than the one paid for."""
    store, seen = Gated(), []

    async def fetch() -> str:
        return "page"

    async def pay(page: str) -> None:
        seen.append((page, list(store.done)))

    @decorated(store)
    async def handler(event: object, context: object) -> None:
        pages: asyncio.Queue[str] = asyncio.Queue()
        consumed = asyncio.Event()

        async def produce() -> None:
            await pages.put(await aio.step("fetch", fetch, repeatable=True))
            await consumed.wait()

        producer = asyncio.create_task(produce())
        await aio.step("pay", pay, await pages.get())
        consumed.set()
        await producer

    await handler(1, None)
    assert seen == [("page", ["append result fetch"])]


async def test_a_failure_that_a_cancelled_fan_out_never_handed_over_is_run_again() -> None:
    store, failed = Gated(), asyncio.Event()
    healthy = False

    async def item(name: str) -> str:
        if name == "fails" and not healthy:
            failed.set()
            raise ConnectionError("seen by nobody")
        await asyncio.sleep(0 if healthy else HELD_S)
        return name

    @decorated(store)
    async def handler(event: object, context: object) -> list[str]:
        work = asyncio.create_task(aio.fan_out("item", item, ["slow", "fails"]))
        if not healthy:
            await failed.wait()
            work.cancel()
            await asyncio.wait([work])
            await aio.step("fallback", one)
            raise RuntimeError("the attempt fails")
        return await work

    with pytest.raises(RuntimeError):
        await handler(1, None)
    healthy = True
    assert await handler(1, None) == ["slow", "fails"]


async def test_a_step_that_outlives_its_try_is_not_run_beside_itself() -> None:
    store, paid, began, first = Gated(), [], asyncio.Event(), True

    async def charge() -> None:
        began.set()
        await asyncio.sleep(0.05)
        paid.append(1)

    async def flaky() -> None:
        nonlocal first
        await began.wait()
        if first:
            first = False
            raise ConnectionError("down")

    async def both() -> None:
        await asyncio.gather(aio.step("charge", charge), aio.step("flaky", flaky))

    @decorated(store)
    async def handler(event: object, context: object) -> None:
        retry = Retry(2, on=ConnectionError, delay=timedelta(0))
        try:
            await aio.step("both", both, retry=retry)
        finally:
            await asyncio.sleep(0.1)

    with pytest.raises(DuplicateStep, match=r"still running from the last try"):
        await handler(1, None)
    await handler(1, None)
    assert paid == [1]


async def test_what_gather_told_nobody_is_run_again_by_the_next_attempt() -> None:
    """It raises the first error: were the others history, each attempt would heal one task only."""
    store, well = Gated(), False
    everybody = 0

    async def call(number: int) -> int:
        nonlocal everybody
        everybody += 1
        while everybody < 4:
            await asyncio.sleep(0)
        if not well:
            raise ConnectionError(number)
        return number

    @decorated(store)
    async def handler(event: object, context: object) -> list[int]:
        tasks = [asyncio.create_task(aio.step(f"call/{number}", call, number)) for number in range(4)]
        await asyncio.wait(tasks)
        return await asyncio.gather(*tasks)

    with pytest.raises(ConnectionError):
        await handler(1, None)
    well = True
    assert await handler(1, None) == [0, 1, 2, 3]


async def test_what_was_told_and_gone_on_from_stays_history_though_another_error_leaves() -> None:
    store, called = Gated(), []

    async def call() -> None:
        called.append(1)
        raise ConnectionError("down")

    @decorated(store)
    async def handler(event: object, context: object) -> None:
        await asyncio.gather(aio.step("call", call), return_exceptions=True)
        await aio.step("fallback", one)
        raise RuntimeError("of something else")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            await handler(1, None)
    assert called == [1]


@pytest.mark.parametrize("repeatable", [False, True])
async def test_what_a_second_try_achieved_in_tasks_is_not_taken_back_with_the_first_ones_failure(
    repeatable: bool,
) -> None:
    store, called, dies = Gated(), [], True

    async def flaky() -> int:
        called.append(1)
        if len(called) == 1:
            raise ConnectionError("down")
        return len(called)

    async def parent() -> int:
        async def call() -> int:
            return await aio.step("flaky", flaky, repeatable=repeatable)

        result: int = await asyncio.create_task(call())
        await asyncio.create_task(aio.step("after", one))
        if dies:
            raise RuntimeError("the attempt fails")
        return result

    @decorated(store)
    async def handler(event: object, context: object) -> int:
        return await aio.step("parent", parent, retry=Retry(2, on=ConnectionError, delay=timedelta(0)))

    with pytest.raises(RuntimeError):
        await handler(1, None)
    dies = False
    assert await handler(1, None) == 2
    assert len(called) == 2
