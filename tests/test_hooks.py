"""What hooks are told, in which order and context, for plain and for async code; and that nothing they do changes an outcome."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

import durably
from durably import (
    NOT_DONE,
    DuplicateStep,
    DurablyError,
    LeaseLost,
    MemoryStore,
    OutOfTime,
    Retry,
    StoreError,
    aio,
    current_execution,
    current_step,
    hooks,
)
from durably.hooks import add_hook

from .clocks import Context, FakeClock


class Boom(Exception):
    pass


class Told(list[str]):
    """Events as words, in order; `events` has them whole."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        self.append(words(event))

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def words(event: Any) -> str:
    match event:
        case hooks.AttemptBegan():
            return f"attempt {event.head.attempt}" + (" replays only" if event.replays_only else "")
        case hooks.AttemptEnded():
            return f"{event.status}{named(event.error)}"
        case hooks.StepReplayed():
            return f"replayed {event.outcome.step}"
        case hooks.StepBegan():
            return f"began {event.step}" + (f" within {event.within}" if event.within else "")
        case hooks.TryBegan():
            return f"{'recover' if event.recover else 'try'} {event.tries} of {event.step}"
        case hooks.TryEnded():
            return f"{'recover' if event.recover else 'try'} {event.tries} of {event.step} ended{named(event.error)}"
        case hooks.StepEnded():
            return f"ended {event.step}: {event.outcome.kind if event.outcome else 'nothing'}{named(event.error)}"
        case hooks.Appended():
            kinds = " ".join(entry.kind for entry in event.entries)
            return f"appended {event.number}: {kinds}{named(event.error)}"
    raise AssertionError(event)


def named(error: BaseException | None) -> str:
    return f" {type(error).__name__}" if error is not None else ""


@pytest.fixture
def told() -> Iterator[Told]:
    said = Told()
    remove = add_hook(said)
    yield said
    remove()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


class Shell:
    """The same body, a generator that yields what is to be awaited, run by plain and by async code."""

    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async
        self.names: Any = aio if is_async else durably

    def run(self, body: Callable[..., Any], store: MemoryStore, **options: Any) -> Any:
        context = options.pop("context", None)
        if not self.is_async:

            @durably.durable(store=store, name="f", id=lambda event, context: "evt-1", **options)
            def handler(event: Any, context: Any) -> Any:
                return self._drive(body(self.names))

            return handler({}, context)

        @aio.durable(store=store, name="f", id=lambda event, context: "evt-1", **options)
        async def ahandler(event: Any, context: Any) -> Any:
            return await self._adrive(body(self.names))

        return asyncio.run(ahandler({}, context))

    def _drive(self, code: Any) -> Any:
        advance = partial(code.send, None)
        while True:
            try:
                call = advance()
            except StopIteration as done:
                return done.value
            try:
                advance = partial(code.send, call())
            except BaseException as error:
                advance = partial(code.throw, error)

    async def _adrive(self, code: Any) -> Any:
        advance = partial(code.send, None)
        while True:
            try:
                call = advance()
            except StopIteration as done:
                return done.value
            try:
                answer = call()
                advance = partial(code.send, await answer if inspect.isawaitable(answer) else answer)
            except BaseException as error:
                advance = partial(code.throw, error)


@pytest.fixture(params=["plain", "async"])
def shell(request: pytest.FixtureRequest) -> Shell:
    return Shell(request.param == "async")


def boom() -> None:
    raise Boom


def test_a_first_run_is_told_in_order(shell: Shell, store: MemoryStore, told: Told) -> None:
    def body(d: Any) -> Any:
        yield lambda: d.step("a", lambda: 1)
        yield lambda: d.step("b", lambda: 2)

    shell.run(body, store)
    assert told == [
        "attempt 1",
        "began a",
        "try 1 of a",
        "try 1 of a ended",
        "appended 1: result",
        "ended a: result",
        "began b",
        "try 1 of b",
        "try 1 of b ended",
        "appended 2: result",
        "ended b: result",
        "completed",
    ]


def test_a_replay_is_told_as_one_and_the_failed_step_anew(shell: Shell, store: MemoryStore, told: Told) -> None:
    failing = [True]

    def body(d: Any) -> Any:
        yield lambda: d.step("a", lambda: 1)
        yield lambda: d.step("b", boom if failing else lambda: 2)

    with pytest.raises(Boom):
        shell.run(body, store)
    # The failure and its being taken back go out together, with the release.
    assert told[-5:] == [
        "try 1 of b",
        "try 1 of b ended Boom",
        "ended b: error Boom",
        "appended 2: error taken_back",
        "waiting Boom",
    ]
    told.clear()
    failing.clear()
    shell.run(body, store)
    assert told[:4] == ["attempt 2", "replayed a", "began b", "try 1 of b"]
    assert told[-1] == "completed"
    told.clear()
    shell.run(body, store)
    assert told == [], "a finished execution has no attempt"


def test_each_try_is_told(shell: Shell, store: MemoryStore, told: Told) -> None:
    left = [Boom, Boom]

    def flaky() -> str:
        if left:
            raise left.pop()
        return "done"

    def body(d: Any) -> Any:
        yield lambda: d.step("a", flaky, retry=Retry(3, on=Boom, delay=timedelta(0)))

    shell.run(body, store)
    assert [said for said in told if "try" in said] == [
        "try 1 of a",
        "try 1 of a ended Boom",
        "try 2 of a",
        "try 2 of a ended Boom",
        "try 3 of a",
        "try 3 of a ended",
    ]
    assert told.of(hooks.StepEnded)[0].outcome.tries == 3


def test_recover_is_a_try_of_its_own(shell: Shell, store: MemoryStore, clock: FakeClock, told: Told) -> None:
    def dying(event: Any) -> None:
        if isinstance(event, hooks.TryEnded):
            raise KeyboardInterrupt

    def body(d: Any) -> Any:
        yield lambda: d.step("a", lambda: 1, recover=lambda: NOT_DONE)

    remove = add_hook(dying)
    with pytest.raises(KeyboardInterrupt):
        shell.run(body, store)
    remove()
    told.clear()
    clock.advance(60)
    shell.run(body, store)
    assert [said for said in told if not said.startswith("appended")] == [
        "attempt 2",
        "began a",
        "recover 1 of a",
        "recover 1 of a ended",
        "try 1 of a",
        "try 1 of a ended",
        "ended a: result",
        "completed",
    ]


def test_a_failure_that_the_code_handled_is_an_outcome_and_the_attempt_completes(
    shell: Shell, store: MemoryStore, told: Told
) -> None:
    def body(d: Any) -> Any:
        try:
            yield lambda: d.step("a", boom)
        except Boom:
            yield lambda: d.step("fallback", lambda: "by mail")

    shell.run(body, store)
    assert "ended a: error Boom" in told
    assert "appended 1: error" in told, "before the fallback's effect"
    assert told[-1] == "completed"


def test_a_step_inside_a_step_says_so_and_ends_first(shell: Shell, store: MemoryStore, told: Told) -> None:
    async def ainner(d: Any) -> Any:
        return await d.step("inner", lambda: 1)

    def body(d: Any) -> Any:
        inner = ainner if shell.is_async else lambda d: d.step("inner", lambda: 1)
        yield lambda: d.step("outer", inner, d)

    shell.run(body, store)
    assert "began inner within outer" in told
    assert told.index("ended inner: result") < told.index("ended outer: result")


def test_every_item_of_a_fan_out_is_told_in_a_context_of_its_own(shell: Shell, store: MemoryStore, told: Told) -> None:
    seen: dict[str, str] = {}

    def look(event: Any) -> None:
        if isinstance(event, (hooks.TryBegan, hooks.TryEnded)):
            now = current_step()
            seen[type(event).__name__ + event.step] = now.name if now is not None else "none"

    def body(d: Any) -> Any:
        yield lambda: d.fan_out("thread", lambda item: item, list("abcdefgh"), workers=4)

    remove = add_hook(look)
    shell.run(body, store)
    remove()
    names = [f"thread[{key}]" for key in "abcdefgh"]
    assert seen == {f"TryBegan{name}": name for name in names} | {f"TryEnded{name}": "none" for name in names}
    assert sorted(event.step for event in told.of(hooks.StepEnded)) == names
    for name in names:
        own = [said for said in told if said.endswith(name) or f"{name} ended" in said or f"{name}:" in said]
        assert own == [f"began {name}", f"try 1 of {name}", f"try 1 of {name} ended", f"ended {name}: result"]


def test_all_of_an_attempt_is_told_in_its_own_context(shell: Shell, store: MemoryStore) -> None:
    seen = set()

    def look(event: Any) -> None:
        here = current_execution()
        seen.add((type(event).__name__, here.id if here is not None else None))

    def body(d: Any) -> Any:
        yield lambda: d.step("a", lambda: 1)

    remove = add_hook(look)
    shell.run(body, store)
    remove()
    assert seen >= {(name, "f/evt-1") for name in ("AttemptBegan", "StepBegan", "TryBegan", "StepEnded", "Appended")}
    assert ("AttemptEnded", None) in seen, "by then the attempt has left"


def test_without_time_a_step_does_not_begin_and_ends_with_nothing(
    shell: Shell, store: MemoryStore, clock: FakeClock, told: Told
) -> None:
    def body(d: Any) -> Any:
        yield lambda: d.step("a", clock.advance, 29.5)
        yield lambda: d.step("b", lambda: 2)

    with pytest.raises(OutOfTime):
        shell.run(body, store, context=Context(30, clock), lease=timedelta(minutes=5))
    assert "began b" not in told
    assert told[-2:] == ["ended b: nothing", "waiting OutOfTime"]


def test_an_attempt_that_lost_its_lease_is_told_as_lost(
    shell: Shell, store: MemoryStore, clock: FakeClock, told: Told
) -> None:
    def body(d: Any) -> Any:
        yield lambda: d.step("a", overtaken)

    def nothing(d: Any) -> Any:
        yield lambda: None

    def overtaken() -> None:
        clock.advance(60)
        other = threading.Thread(target=shell.run, args=(nothing, store))
        other.start()
        other.join()

    with pytest.raises(LeaseLost):
        shell.run(body, store)
    assert "appended 1: result LeaseLost" in told
    assert told[-2:] == ["ended a: nothing", "lost LeaseLost"]


def test_a_store_that_fails_is_told_by_its_append(shell: Shell, store: MemoryStore, told: Told) -> None:
    class Broken(MemoryStore):
        def append(self, segment: Any, *, until: float) -> bool:
            raise StoreError("down")

    def body(d: Any) -> Any:
        yield lambda: d.step("a", lambda: 1)

    with pytest.raises(StoreError):
        shell.run(body, Broken())
    assert "appended 1: result StoreError" in told


def test_ctrl_c_in_a_step_is_no_outcome(store: MemoryStore, told: Told) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def body(d: Any) -> Any:
        yield lambda: d.step("a", interrupted)

    with pytest.raises(KeyboardInterrupt):
        Shell(False).run(body, store)
    assert told[-3:] == ["try 1 of a ended KeyboardInterrupt", "ended a: nothing", "waiting KeyboardInterrupt"]


def test_a_cancelled_step_is_no_outcome(store: MemoryStore, told: Told) -> None:
    @aio.durable(store=store, name="f", id=lambda event, context: "evt-1")
    async def handler(event: Any, context: Any) -> None:
        await aio.step("a", asyncio.sleep, 3600)

    async def cancelled() -> None:
        task = asyncio.create_task(handler({}, None))
        while "try 1 of a" not in told:
            await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert told[-3:] == ["try 1 of a ended CancelledError", "ended a: nothing", "waiting CancelledError"]


def test_the_body_of_a_finished_execution_is_told_as_a_replay(store: MemoryStore, told: Told) -> None:
    for _ in range(2):
        with durably.execution("order-1", store=store) as ex:
            ex.result = durably.step("a", lambda: 1)
    assert told[-3:] == ["attempt 1 replays only", "replayed a", "completed"]


def test_a_name_used_twice_is_refused_untold(shell: Shell, store: MemoryStore, told: Told) -> None:
    def body(d: Any) -> Any:
        yield lambda: d.step("a", lambda: 1)
        yield lambda: d.step("a", lambda: 2)

    with pytest.raises(DuplicateStep):
        shell.run(body, store)
    assert told.count("began a") == told.count("ended a: result") == 1


@pytest.mark.parametrize("kind", [kind.__name__ for kind in hooks.Event.__args__])
def test_a_failing_hook_changes_no_outcome_and_is_complained_about_once(
    shell: Shell, store: MemoryStore, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    def failing(event: Any) -> None:
        if type(event).__name__ == kind:
            raise ValueError(kind)

    left = [Boom]

    def flaky() -> int:
        if left:
            raise left.pop()
        return 3

    def body(d: Any) -> Any:
        done = yield lambda: d.step("a", lambda: 1)
        more = yield lambda: d.fan_out("many", lambda item: item, [1, 2], workers=2)
        return [done, more, (yield lambda: d.step("b", flaky))]

    told = Told()
    removes = [add_hook(failing), add_hook(told)]
    try:
        with caplog.at_level(logging.ERROR, "durably"), pytest.raises(Boom):
            shell.run(body, store)
        assert shell.run(body, store) == [1, [1, 2], 3]
    finally:
        for remove in removes:
            remove()
    assert len([one for one in caplog.records if "hook failed" in one.message]) == 1
    assert told[0] == "attempt 1"
    assert told[-1] == "completed"
    assert [event.outcome.step for event in told.of(hooks.StepReplayed)] == ["a", "many[1]", "many[2]"]


def test_a_hook_removed_while_running_is_told_no_more(shell: Shell, store: MemoryStore, told: Told) -> None:
    other = Told()
    remove = add_hook(other)

    def body(d: Any) -> Any:
        yield lambda: d.step("a", lambda: 1)
        remove()
        yield lambda: d.step("b", lambda: 2)

    shell.run(body, store)
    assert other[-1] == "ended a: result"
    assert told[-1] == "completed", "the others are"
    remove()  # twice is once


def test_a_hook_may_remove_itself(store: MemoryStore) -> None:
    said: list[Any] = []

    def once(event: Any) -> None:
        said.append(event)
        remove()

    remove = add_hook(once)
    durably.once("id-1", lambda: 1, store=store)
    assert len(said) == 1


def test_a_hook_added_while_running_is_told_the_rest(shell: Shell, store: MemoryStore) -> None:
    late = Told()
    removes: list[Any] = []

    def body(d: Any) -> Any:
        yield lambda: d.step("a", lambda: 1)
        removes.append(add_hook(late))
        yield lambda: d.step("b", lambda: 2)

    shell.run(body, store)
    removes[0]()
    assert late[0] == "began b"
    assert late[-1] == "completed"


def test_the_end_of_an_append_says_how_long_it_took(store: MemoryStore, told: Told) -> None:
    durably.once("id-1", lambda: 1, store=store)
    (appended,) = told.of(hooks.Appended)
    assert 0 <= appended.took_s < 1


def test_an_unknown_name_is_no_event() -> None:
    with pytest.raises(AttributeError):
        _ = hooks.StepVanished  # type: ignore[attr-defined]


def test_the_events_of_a_step_are_of_its_execution(store: MemoryStore, told: Told) -> None:
    """An execution inside a step of another: each event bears the head of its own."""
    with durably.execution("outer", store=store):
        durably.step("a", lambda: durably.once("inner", lambda: 1, store=store))
    heads = [(type(event).__name__, event.head.id) for event in told.events]
    inner = [name for name, execution in heads if execution == "once/inner"]
    assert inner[0] == "AttemptBegan"
    assert inner[-1] == "AttemptEnded"
    assert heads[0][1] == heads[-1][1] == "execution/outer"


def test_durably_error_is_no_hook_business(store: MemoryStore, told: Told) -> None:
    """A step in a finished execution is refused before anything is told of it."""
    with durably.execution("order-1", store=store):
        durably.step("a", lambda: 1)
    told.clear()
    with pytest.raises(DurablyError), durably.execution("order-1", store=store):
        durably.step("b", lambda: 1)
    assert told == ["attempt 1 replays only", "completed"]


def test_a_hook_that_was_removed_and_added_again_is_complained_about_again(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a new hook that got a dead one's id would fail in silence."""

    def failing(event: Any) -> None:
        raise ValueError

    for number in range(2):
        remove = add_hook(failing)
        durably.once(f"id-{number}", lambda: 1, store=store)
        remove()
    assert len([one for one in caplog.records if "hook failed" in one.message]) == 2


def test_a_hook_added_twice_is_told_until_both_are_removed() -> None:
    told: list[object] = []
    hook = told.append
    first, second = add_hook(hook), add_hook(hook)
    hooks.tell("one")  # type: ignore[arg-type]  # any event
    first()
    first()
    hooks.tell("two")  # type: ignore[arg-type]
    second()
    hooks.tell("three")  # type: ignore[arg-type]
    assert told == ["one", "one", "two"]
