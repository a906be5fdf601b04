"""What an operator does to an execution, on every store: each action takes the lease first, and each refusal changes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durably import DurablyError, Fatal, LeaseLost, MemoryStore, StepInterrupted, durable, execution, once, step
from durably.entries import Claim, Ending, Entry, Segment
from durably.history import actions, actions_lease
from durably.history.actions_fork import kept_entries
from durably.history.actions_identity import renamed
from durably.history.actions_settle import settling
from durably.history.reading import read_execution
from durably.identity import identify

from .clocks import FakeClock
from .stores_for_tests import FOREVER, Killed, Watched

pytest_plugins = ["tests.stores_for_tests"]

EVENTS = Path(__file__).parent / "events"


class World:
    """A handler of three steps whose effects are counted, delivered by an event that carries its id."""

    def __init__(self, store: Watched, namespace: str) -> None:
        self.store = store
        self.done: list[str] = []
        self.broken: BaseException | None = ValueError("card refused")
        self.at_most_once = False
        self.seen: list[Any] = []
        self.sent: list[str] = []

        @durable(name="orders", store=store)
        def handler(event: Any, context: Any) -> Any:
            order = step("fetch", self.effect, "fetch", event["detail"]["order"])
            total = step("price", self.effect, "price", len(order))
            receipt = step("charge", self.charge, total, at_most_once=self.at_most_once)
            self.seen.append((order, total, receipt))
            return {"receipt": receipt}

        self.handler = handler
        self.event = {"id": "evt-1", "detail-type": "order", "source": "shop", "detail": {"order": "o-1"}}
        self.id = f"{namespace}/orders/evt-1"

    def effect(self, name: str, value: Any) -> Any:
        self.done.append(name)
        return value

    def charge(self, total: int) -> str:
        self.done.append("charge")
        if self.broken is not None:
            raise self.broken
        return f"paid {total}"

    def fail(self) -> None:
        with pytest.raises(type(self.broken)):
            self.handler(self.event, None)

    def invoke(self, function: str, payload: str) -> None:
        """Lambda's part: deliver the event to the function of that name."""
        assert function == "orders"
        self.sent.append(payload)
        self.handler(json.loads(payload), None)

    def all(self) -> tuple[Any, Any]:
        head = self.store.inner.read(self.id, until=FOREVER)
        return head, head and self.store.inner.load(self.id, head.generation, until=FOREVER)

    def refused(self, match: str, action: Callable[[], Any]) -> None:
        """The action is refused with a word on why, and nothing is changed."""
        before = self.all()
        with pytest.raises(DurablyError, match=match):
            action()
        assert self.all() == before


@pytest.fixture
def world(store: Watched, namespace: str) -> World:
    return World(store, namespace)


# ---- redrive


@pytest.mark.parametrize("error", [ValueError("card refused"), Fatal("never")])
def test_a_redrive_sends_the_stored_event_and_goes_on_where_it_stopped(world: World, error: Exception) -> None:
    world.broken = error
    world.fail()
    world.broken = None
    actions.redrive(world.store.inner, world.id, world.invoke)
    head = world.store.inner.read(world.id, until=FOREVER)
    assert head.status == "completed"
    assert json.loads(head.result) == {"receipt": "paid 3"}
    assert world.done == ["fetch", "price", "charge", "charge"]
    assert json.loads(world.sent[0]) == world.event
    assert [record.request_id for record in head.attempts] == ["", "operator", ""]
    assert "redriven by hand" in head.attempts[1].how
    assert ("reopened" in head.attempts[1].how) is isinstance(error, Fatal)


def test_a_redrive_opens_a_cancelled_execution(world: World) -> None:
    world.fail()
    actions.cancel(world.store.inner, world.id)
    world.broken = None
    actions.redrive(world.store.inner, world.id, world.invoke)
    assert world.store.head().status == "completed"


def test_a_killed_execution_is_redriven_and_its_zombie_fenced(world: World, clock: FakeClock) -> None:
    world.store.when("append", 2).before(world.store.die)
    with pytest.raises(Killed):
        world.handler(world.event, None)
    world.store.revive()
    zombie = world.store.head()
    clock.advance(60)
    world.broken = None
    actions.redrive(world.store.inner, world.id, world.invoke)
    assert world.done == ["fetch", "price", "price", "charge"]
    late = Segment(world.id, zombie.generation, 2, zombie.owner, (Entry("result", "late", "1", 1),))
    assert not world.store.inner.append(late, until=FOREVER)


def test_what_needs_no_redrive_is_refused(world: World) -> None:
    world.refused("no execution", lambda: actions.redrive(world.store.inner, world.id, world.invoke))
    world.broken = None
    world.handler(world.event, None)
    world.refused("completed.*fork", lambda: actions.redrive(world.store.inner, world.id, world.invoke))
    assert world.sent == []


def test_a_running_execution_is_not_redriven(world: World) -> None:
    world.store.inner.claim(
        Claim(world.id, "a", "g", 30.0, function="orders", event=json.dumps(world.event), expires_s=1e6), until=FOREVER
    )
    world.refused("is running: attempt 1", lambda: actions.redrive(world.store.inner, world.id, world.invoke))
    world.refused("is running: attempt 1", lambda: actions.fork(world.store.inner, world.id, "price"))
    world.refused(
        "is running: attempt 1", lambda: actions.resolve(world.store.inner, world.id, "price", run_again=True)
    )


def test_an_event_that_would_lead_elsewhere_is_not_sent(world: World, store: Watched) -> None:
    world.fail()
    for source, event, match in (
        ("context.aws_request_id", '{"n":1}', "request id, and every invocation gets a new one"),
        ("EventBridge id", json.dumps({**world.event, "id": "evt-2"}), "leads to 'evt-2'"),
        ("EventBridge id", '{"n":1}', "leads to no execution"),
        ("the caller", '{"n":1}', "no handler's"),
        ("EventBridge id", None, "was not kept"),
    ):
        id = f"{world.id}-{abs(hash((source, event)))}"
        store.inner.claim(
            Claim(id, "a", "g", 30.0, function="orders", source=source, event=event, expires_s=1e6), until=FOREVER
        )
        store.inner.end(id, "a", Ending("waiting", "so"), until=FOREVER)
        world.refused(match, lambda id=id: actions.redrive(store.inner, id, world.invoke))
    assert world.sent == []


def test_an_event_that_could_not_be_sent_leaves_the_execution_open(world: World) -> None:
    world.broken = Fatal("never")
    world.fail()

    def unreachable(function: str, payload: str) -> None:
        raise DurablyError("Lambda could not be reached.")

    with pytest.raises(DurablyError, match=r"is open and waits, but its event was not sent: Lambda could not"):
        actions.redrive(world.store.inner, world.id, unreachable)
    assert world.store.head().status == "waiting"


def test_a_function_by_another_name_has_to_be_said(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock)

    @durable(store=store)
    def handler(event: Any, context: Any) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        handler({"id": "e", "detail-type": "t", "source": "s", "detail": {}}, None)
    (head,) = store.newest(1, until=FOREVER)
    with pytest.raises(DurablyError, match="--function NAME"):
        actions.redrive(store, head.id, lambda function, payload: None)
    sent: list[str] = []
    actions.redrive(store, head.id, lambda function, payload: sent.append(function), function="prod-orders")
    assert sent == ["prod-orders"]


def test_what_has_failed_is_found_fatal_or_idle_too_long(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(clock=clock)

    def leave(id: str, error: BaseException | None) -> None:
        @durable(store=store, name="f", id=lambda event, context: id)
        def handler(event: Any, context: Any) -> None:
            if error is not None:
                raise error

        try:
            handler({}, None)
        except BaseException:
            pass

    leave("old", ValueError())
    clock.advance(7 * 3600)
    leave("fatal", Fatal())
    leave("waiting", ValueError())
    leave("done", None)
    names = [head.id for head in actions.failed_executions(store)]
    assert names == ["f/fatal", "f/old"]
    assert [head.id for head in actions.failed_executions(store, clock.now() - 60)] == ["f/fatal"]
    assert [head.id for head in actions.failed_executions(store, stuck=timedelta(days=1))] == ["f/fatal"]
    assert list(actions.failed_executions(store, function="g")) == []


# ---- cancel


def test_a_cancelled_execution_runs_no_more(world: World) -> None:
    world.fail()
    head = actions.cancel(world.store.inner, world.id)
    assert (head.status, head.attempts[-1].how) == ("cancelled", "cancelled by hand")
    with pytest.raises(DurablyError, match="was cancelled"):
        world.handler(world.event, None)
    assert world.done == ["fetch", "price", "charge"]
    world.refused("cancelled already", lambda: actions.cancel(world.store.inner, world.id))


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_what_is_over_is_not_cancelled(world: World, status: str) -> None:
    world.broken = Fatal("no") if status == "failed" else None
    if world.broken:
        world.fail()
    else:
        world.handler(world.event, None)
    world.refused(f"is {status} already", lambda: actions.cancel(world.store.inner, world.id))


def test_an_attempt_that_is_cancelled_under_way_stops_at_its_next_append(world: World) -> None:
    """The step whose effect was under way can't be recorded, and none begins after it."""
    world.broken = None
    inner = world.store.inner
    world.store.when("append", 2).before(lambda: actions.cancel(inner, world.id))
    with pytest.raises(LeaseLost):
        world.handler(world.event, None)
    assert world.done == ["fetch", "price"]
    head, segments = world.all()
    assert (head.status, head.attempts[-1].request_id) == ("cancelled", "operator")
    assert [entry.step for one in segments for entry in one.entries if entry.kind == "result"] == ["fetch"]
    with pytest.raises(DurablyError, match="was cancelled"):
        world.handler(world.event, None)


def test_an_attempt_without_appends_is_stopped_by_its_heartbeat() -> None:
    store, done = MemoryStore(), []

    @durable(store=store, name="f", id=lambda event, context: "e", lease=timedelta(seconds=0.15))
    def handler(event: Any, context: Any) -> None:
        step("first", done.append, 0)
        actions.cancel(store, "f/e")
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            step(f"look {len(done)}", done.append, len(done), repeatable=True)
            time.sleep(0.005)

    with pytest.raises(LeaseLost):
        handler({}, None)
    head = store.read("f/e", until=FOREVER)
    assert head is not None
    assert head.status == "cancelled"


def test_of_a_completion_and_a_cancellation_at_once_one_happens(world: World) -> None:
    world.broken = None
    inner = world.store.inner
    world.store.when("end").before(lambda: actions.cancel(inner, world.id))
    with pytest.raises(LeaseLost):
        world.handler(world.event, None)
    assert world.store.head().status == "cancelled"


# ---- resolve


def interrupted(world: World, clock: FakeClock) -> None:
    """An at_most_once step that was begun and killed: only the world knows."""
    world.at_most_once, world.broken = True, None
    world.store.when("append", 4).before(world.store.die)
    with pytest.raises(Killed):
        world.handler(world.event, None)
    world.store.revive()
    clock.advance(60)


def test_an_interrupted_step_is_given_the_result_that_was_found(world: World, clock: FakeClock) -> None:
    interrupted(world, clock)
    with pytest.raises(StepInterrupted):
        world.handler(world.event, None)
    head = actions.resolve(world.store.inner, world.id, "charge", result='"found in the bank"')
    assert (head.status, head.attempts[-1].how) == ("waiting", "'charge' resolved by hand")
    assert world.handler(world.event, None) == {"receipt": "found in the bank"}
    assert world.done.count("charge") == 1


def test_an_interrupted_step_is_run_again_by_hand(world: World, clock: FakeClock) -> None:
    interrupted(world, clock)
    actions.resolve(world.store.inner, world.id, "charge", run_again=True)
    assert world.handler(world.event, None) == {"receipt": "paid 3"}
    assert world.done.count("charge") == 2


def test_a_failure_that_stands_is_settled_and_the_fatal_execution_waits_again(store: Watched, namespace: str) -> None:
    done: list[str] = []

    @durable(name="orders", store=store, id=lambda event, context: "e")
    def handler(event: Any, context: Any) -> Any:
        try:
            return step("save", lambda: done.append("save") or object())
        except DurablyError as error:
            raise Fatal("can't be stored") from error

    with pytest.raises(Fatal):
        handler({"n": 1}, None)
    id = f"{namespace}/orders/e"
    head = actions.resolve(store.inner, id, "save", result='{"row":7}')
    assert (head.status, head.result) == ("waiting", None)
    assert handler({"n": 1}, None) == {"row": 7}
    assert done == ["save"]


@pytest.mark.parametrize("result", [None, '"x"'])
def test_what_can_not_be_settled_is_refused_and_nothing_is_written(world: World, result: str | None) -> None:
    world.fail()
    again = {"run_again": True} if result is None else {"result": result}
    inner, id = world.store.inner, world.id
    world.refused("no step 'chrage'.*'fetch', 'price', 'charge'", lambda: actions.resolve(inner, id, "chrage", **again))
    world.refused("never taken back.*fork", lambda: actions.resolve(inner, id, "price", **again))
    if result is None:
        world.refused("runs it anyway", lambda: actions.resolve(inner, id, "charge", **again))
    world.refused("is no JSON", lambda: actions.resolve(inner, id, "charge", result="{nope"))
    world.refused("either", lambda: actions.resolve(inner, id, "charge"))


def test_a_completed_execution_is_not_settled(world: World) -> None:
    world.broken = None
    world.handler(world.event, None)
    world.refused("completed", lambda: actions.resolve(world.store.inner, world.id, "charge", run_again=True))


def test_a_zombies_outcome_that_came_first_is_kept(world: World, clock: FakeClock) -> None:
    """Between the look at the journal and the action's own append the old attempt may still write: it is decided anew."""
    interrupted(world, clock)
    zombie, inner = world.store.head(), world.store.inner
    number = len(inner.load(world.id, zombie.generation, until=FOREVER)) + 1
    late = Segment(world.id, zombie.generation, number, zombie.owner, (Entry("result", "charge", '"late"', 1),))
    world.store.when("append").before(lambda: inner.append(late, until=FOREVER))
    with pytest.raises(DurablyError, match="has a result"):
        actions.resolve(world.store, world.id, "charge", result='"mine"')
    assert world.store.head().status == "waiting"
    assert world.handler(world.event, None) == {"receipt": "late"}


def test_two_operators_at_once_do_not_both_settle(world: World, clock: FakeClock) -> None:
    interrupted(world, clock)
    inner = world.store.inner
    world.store.when("append").before(lambda: actions.cancel(inner, world.id))
    with pytest.raises(DurablyError):
        actions.resolve(world.store, world.id, "charge", result='"mine"')
    assert world.store.head().status == "cancelled"


def test_settling_is_decided_by_what_stands_now() -> None:
    def journal(*entries: Entry) -> list[Segment]:
        return [Segment("e", "g", 1, "a", entries)]

    begun, error = Entry("started", "s"), Entry("error", "s", "{}")
    back, forgotten = Entry("taken_back", "s"), Entry("forgotten", "s")
    assert settling("e", journal(begun), "s", "1") == (Entry("result", "s", "1"),)
    assert settling("e", journal(begun, error, back), "s", None) == (forgotten,)
    assert settling("e", journal(begun, error), "s", "1") == (forgotten, Entry("result", "s", "1"))
    for entries in ((begun, forgotten), (error, back), (begun, Entry("result", "s", "1"))):
        with pytest.raises(DurablyError):
            settling("e", journal(*entries), "s", None)


# ---- fork


def test_a_fork_keeps_what_came_before_and_runs_the_rest(world: World) -> None:
    world.broken = None
    world.handler(world.event, None)
    before = world.all()
    made = actions.fork(world.store.inner, world.id, "price")
    assert made.kept == ("fetch",)
    assert made.head.id.startswith(f"{world.id}-fork-")
    assert (made.head.status, made.head.function, made.head.source) == ("waiting", "orders", before[0].source)
    actions.redrive(world.store.inner, made.head.id, world.invoke)
    assert world.done == ["fetch", "price", "charge", "price", "charge"]
    assert world.store.inner.read(made.head.id, until=FOREVER).status == "completed"
    assert world.all() == before


def test_a_fork_takes_an_edited_outcome_and_an_edited_event(world: World) -> None:
    world.broken = None
    world.handler(world.event, None)
    inner = world.store.inner
    made = actions.fork(inner, world.id, "charge", outcomes={"price": 700})
    assert (made.kept, made.edited) == (("fetch",), ("price",))
    actions.redrive(inner, made.head.id, world.invoke)
    assert world.seen[-1] == ("o-1", 700, "paid 700")
    edited = {**world.event, "detail": {"order": "another order"}}
    made = actions.fork(inner, world.id, "fetch", event=edited)
    actions.redrive(inner, made.head.id, world.invoke)
    assert world.seen[-1] == ("another order", 13, "paid 13")
    fork = actions.fork(inner, made.head.id, "charge")
    actions.redrive(inner, fork.head.id, world.invoke)
    assert world.seen[-1] == ("another order", 13, "paid 13")


def test_an_edited_outcome_may_be_that_of_the_step_itself(world: World) -> None:
    world.fail()
    made = actions.fork(world.store.inner, world.id, "charge", outcomes={"charge": "by invoice"})
    actions.redrive(world.store.inner, made.head.id, world.invoke)
    assert world.seen == [("o-1", 3, "by invoice")]
    assert world.done.count("charge") == 1


def test_a_fork_that_can_not_be_is_refused(world: World) -> None:
    world.fail()
    inner = world.store.inner
    world.refused("no step 'x'", lambda: actions.fork(inner, world.id, "x"))
    world.refused("no step 'y'", lambda: actions.fork(inner, world.id, "price", outcomes={"y": 1}))
    world.refused("is the id of the original", lambda: actions.fork(inner, world.id, "price", event_id="evt-1"))
    long = "x" * 2000
    world.refused("longer than 1536", lambda: actions.fork(inner, world.id, "price", event=world.event, event_id=long))
    made = actions.fork(inner, world.id, "price", event={**world.event, "id": "evt-9"}, event_id="evt-9")
    world.refused(
        "overwrites none", lambda: actions.fork(inner, world.id, "price", event=world.event, event_id="evt-9")
    )
    assert made.head.id.endswith("/evt-9")


def test_a_fork_of_a_large_execution_is_whole(store: Watched, namespace: str) -> None:
    texts = {f"s{n}": str(n) * 90_000 for n in range(8)}

    @durable(name="f", store=store)
    def handler(event: Any, context: Any) -> int:
        return sum(len(step(name, lambda text=text: text)) for name, text in texts.items())

    event = {"id": "e", "detail-type": "t", "source": "s", "detail": {"noise": "".join(map(str, range(3000)))}}
    handler(event, None)
    made = actions.fork(store.inner, f"{namespace}/f/e", "s7")
    assert len(made.kept) == 7
    with_fork = json.loads(made.head.event)
    texts["s7"] = "shorter"
    assert handler(with_fork, None) == 7 * 90_000 + 7


def test_code_that_no_event_begins_is_not_forked_or_redriven(store: Watched, namespace: str) -> None:
    with pytest.raises(ValueError), execution("job", store=store):
        step("a", lambda: 1)
        raise ValueError
    once("mail", lambda: 1, store=store)
    for id in (f"{namespace}/execution/job", f"{namespace}/once/mail"):
        with pytest.raises(DurablyError, match="no handler's"):
            actions.fork(store.inner, id, "a" if "job" in id else "mail")


@pytest.mark.parametrize("name", sorted(path.stem for path in EVENTS.glob("*.json")))
def test_the_forked_event_of_each_trigger_leads_to_the_fork_or_it_is_said_why_not(name: str, clock: FakeClock) -> None:
    event = json.loads((EVENTS / f"{name}.json").read_text())
    try:
        found = identify(event, None)
    except DurablyError:
        pytest.skip("no identity of its own")
    store = MemoryStore(clock=clock)

    @durable(name="f", store=store)
    def handler(event: Any, context: Any) -> Any:
        return step("first", lambda: 1) + step("second", lambda: 2)

    assert handler(event, None) == 3
    if name in ("kafka", "documentdb"):
        with pytest.raises(DurablyError, match=r"--event FILE --event-id ID"):
            actions.fork(store, f"f/{found.event_id}", "second")
        return
    made = actions.fork(store, f"f/{found.event_id}", "second")
    sent: list[Any] = []
    actions.redrive(store, made.head.id, lambda function, payload: sent.append(json.loads(payload)))
    assert handler(sent[0], None) == 3
    assert {head.id for head in store.newest(9, until=FOREVER)} == {f"f/{found.event_id}", made.head.id}
    assert store.read(made.head.id, until=FOREVER).status == "completed"


def test_the_original_event_is_not_touched_by_renaming(world: World) -> None:
    world.fail()
    head, event = world.store.head(), json.loads(json.dumps(world.event))
    assert renamed(head, event, "-x")[0] == "evt-1-x"
    assert event == world.event


def line(kind: Any, name: str, payload: str = "", within: str = "") -> Entry:
    return Entry(kind, name, payload, 1, within=within)


def test_what_a_fork_keeps_is_what_stood_before_the_steps_first_line() -> None:
    entries = (
        line("began", ""),
        line("started", "begun"),
        line("result", "a", "1"),
        line("error", "x", "{}"),
        line("error", "gone", "{}"),
        line("result", "inner", "2", within="b"),
        line("error", "b", "{}"),
        line("taken_back", "gone"),
        line("taken_back", "b"),
        line("result", "after", "3"),
        line("result", "b", "4"),
    )
    kept = kept_entries("e", entries, "b", {})
    assert [(entry.kind, entry.step) for entry in kept] == [("started", "begun"), ("result", "a"), ("error", "x")]
    edited = kept_entries("e", entries, "after", {"a": "9", "b": "8"})
    assert [(entry.step, entry.payload) for entry in edited if entry.kind == "result"] == [
        ("inner", "2"),
        ("a", "9"),
        ("b", "8"),
    ]


def test_an_action_that_was_interrupted_leaves_a_fatal_execution_closed() -> None:
    store, ran = MemoryStore(), []

    @durable(id=lambda event, context: "a", name="shop", store=store)
    def handler(event: Any, context: Any) -> None:
        ran.append(event)
        raise Fatal("out of stock")

    with pytest.raises(Fatal):
        handler({}, None)
    head = actions_lease.read_head(store, "shop/a")

    def interrupted(segments: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        actions_lease.act(actions_lease.take(store, head), Ending("waiting", "resolved"), interrupted)
    assert actions_lease.read_head(store, "shop/a").status == "failed"
    with pytest.raises(Fatal, match="out of stock"):
        handler({}, None)
    assert len(ran) == 1


# ---- the first line after an action


def first_line(world: World) -> str:
    return read_execution(world.store.inner, world.id).headline


def test_after_an_action_the_first_line_still_says_where_it_stopped_and_why(world: World) -> None:
    world.fail()
    told = "at step `charge`, attempt 1, 2 of 3 known steps done, ValueError: card refused"
    actions.redrive(world.store.inner, world.id, lambda function, payload: None)  # its event is lost on the way
    assert first_line(world).startswith(f"stopped {told}, redriven by hand; next: the trigger's retry, or ")
    actions.cancel(world.store.inner, world.id)
    assert first_line(world).startswith(f"cancelled {told}, cancelled by hand; next: nothing by itself, ")
    shown = read_execution(world.store.inner, world.id)
    assert (shown.stopped_at, str(shown.error)) == ("charge", "ValueError: card refused")


def test_an_operator_who_died_hides_no_failure(world: World, clock: FakeClock) -> None:
    world.broken = Fatal("never")
    world.fail()
    world.store.when("end").before(world.store.die)
    with pytest.raises(Killed):
        actions.redrive(world.store, world.id, world.invoke)
    assert first_line(world).startswith(
        "failed at step `charge`, attempt 1, 2 of 3 known steps done, Fatal: never, an operator's action left no end; "
    )


def test_an_execution_that_an_operator_holds_is_not_said_to_run_a_step(world: World, clock: FakeClock) -> None:
    world.fail()
    world.store.when("end").before(world.store.die)
    with pytest.raises(Killed):
        actions.cancel(world.store, world.id)
    held = "held by an operator's action, stopped at step `charge`, attempt 1, 2 of 3 known steps done"
    assert first_line(world) == held
    clock.advance(60)
    assert first_line(world).startswith("stopped at step `charge`, attempt 1, ")


def test_a_step_that_failed_before_is_not_where_a_killed_attempt_came_to(world: World, clock: FakeClock) -> None:
    world.fail()
    world.store.when("append").before(world.store.die)
    world.broken = None
    with pytest.raises(Killed):
        world.handler(world.event, None)
    world.store.revive()
    clock.advance(60)
    assert first_line(world).startswith("killed after step `price`, attempt 2, 2 of 3 known steps done, ")


def test_a_fork_waits_for_a_redrive_alone(world: World) -> None:
    world.fail()
    made = actions.fork(world.store.inner, world.id, "charge")
    told = read_execution(world.store.inner, made.head.id).headline
    assert told.startswith("stopped after step `price`, attempt 1, 2 of 2 known steps done, forked before 'charge'; ")
    assert told.endswith(f"next: `durably redrive {made.head.id}` runs it")
