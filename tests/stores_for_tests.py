"""The stores every promise is tested on, each behind a watch that counts calls and kills at the n-th one.

PYTEST_DONT_REWRITE: test files name this module as their plugin and import from it besides.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durably import DynamoDBStore, MemoryStore, SQLiteStore, durable
from durably.clock import Clock
from durably.entries import Claim, Claimed, Ending, Entry, Head, Segment
from durably.stores.protocol import Store

from .clocks import FakeClock
from .servers import client

NAMES = ("memory", "sqlite", "dynamodb")
FOREVER = 1e12
JOIN_S = 20.0


class Killed(BaseException):
    """The process died here, as far as the store can tell: no later call of this attempt arrives."""


class Rule:
    """What befalls the n-th call of one method from now on."""

    def __init__(self, method: str, nth: int) -> None:
        self.method = method
        self.left = nth
        self.first: Callable[[], object] | None = None
        self.then: Callable[[], object] | None = None

    def before(self, action: Callable[[], object]) -> None:
        self.first = action

    def after(self, action: Callable[[], object]) -> None:
        self.then = action


class Watched:
    """A store that notes every call, and does what it is told before or after one of them."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.calls: list[tuple[str, Any]] = []
        self.rules: list[Rule] = []
        self.dead: set[int] = set()
        self.execution = ""
        self._lock = threading.Lock()

    @property
    def clock(self) -> Clock:
        return self.inner.clock

    # ---- what a test says to it

    def when(self, method: str, nth: int = 1) -> Rule:
        """The n-th call of that method from now on."""
        rule = Rule(method, nth)
        self.rules.append(rule)
        return rule

    def die(self) -> None:
        """Kill the process of the calling thread: here, and at every call it tries until `revive`."""
        self.dead.add(threading.get_ident())
        raise Killed

    def revive(self) -> None:
        """A new process: calls arrive again."""
        self.dead.clear()

    def names(self) -> list[str]:
        """The methods called so far, in order."""
        return [method for method, _ in self.calls]

    def count(self, method: str) -> int:
        return self.names().count(method)

    def forget(self) -> None:
        self.calls.clear()

    def head(self) -> Head:
        """The head of the execution last claimed."""
        head = self.inner.read(self.execution, until=FOREVER)
        assert head is not None
        return head

    def journal(self) -> list[Entry]:
        """The entries of the execution last claimed, as the store has them now."""
        segments = self.inner.load(self.execution, self.head().generation, until=FOREVER)
        return [entry for segment in segments for entry in segment.entries]

    def lines(self) -> list[tuple[str, str]]:
        """The journal as (kind, step), without fences."""
        return [(entry.kind, entry.step) for entry in self.journal() if entry.kind != "began"]

    # ---- what the library says to it

    def claim(self, claim: Claim, *, until: float) -> Claimed:
        self.execution = claim.id
        return self._call("claim", claim, lambda: self.inner.claim(claim, until=until))

    def load(self, execution: str, generation: str, *, until: float) -> list[Segment]:
        return self._call("load", execution, lambda: self.inner.load(execution, generation, until=until))

    def append(self, segment: Segment, *, until: float) -> bool:
        return self._call("append", segment, lambda: self.inner.append(segment, until=until))

    def renew(self, execution: str, owner: str, lease_s: float, *, until: float) -> bool:
        return self._call("renew", lease_s, lambda: self.inner.renew(execution, owner, lease_s, until=until))

    def end(self, execution: str, owner: str, ending: Ending, *, until: float) -> bool:
        return self._call("end", ending, lambda: self.inner.end(execution, owner, ending, until=until))

    def read(self, execution: str, *, until: float) -> Head | None:
        return self._call("read", execution, lambda: self.inner.read(execution, until=until))

    def newest(self, limit: int, *, before: tuple[float, str] | None = None, until: float) -> list[Head]:
        return self._call("newest", limit, lambda: self.inner.newest(limit, before=before, until=until))

    def _call(self, method: str, argument: Any, go: Callable[[], Any]) -> Any:
        if threading.get_ident() in self.dead:
            raise Killed
        with self._lock:
            self.calls.append((method, argument))
            rule = self._due(method)
        if rule is not None and rule.first is not None:
            rule.first()
        answer = go()
        if rule is not None and rule.then is not None:
            rule.then()
        return answer

    def _due(self, method: str) -> Rule | None:
        due = None
        for rule in self.rules:
            if rule.method == method:
                rule.left -= 1
                due = rule if rule.left == 0 else due
        return due


def raising(error: BaseException) -> Callable[[], object]:
    """An action for `Rule.before` and `Rule.after`."""

    def act() -> None:
        raise error

    return act


Attempt = Callable[..., Any]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix before every id of this test: the DynamoDB table is shared."""
    name = uuid.uuid4().hex[:12]
    monkeypatch.setenv("DURABLY_NAMESPACE", name)
    return name


@pytest.fixture(scope="session")
def table(dynamodb_local: str) -> tuple[str, Any]:
    """One table for all tests of this process, and a client for it."""
    name = f"promises-{uuid.uuid4().hex[:8]}"
    boto_client = client(dynamodb_local)
    DynamoDBStore(name, client=boto_client).create_table()
    return name, boto_client


@pytest.fixture(params=NAMES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Clock], Watched]:
    """Each store in turn, on a clock of the test's choice."""

    def opened(clock: Clock) -> Watched:
        if request.param == "memory":
            return Watched(MemoryStore(clock=clock))
        if request.param == "sqlite":
            return Watched(SQLiteStore(tmp_path / "durably.db", clock=clock))
        name, boto_client = request.getfixturevalue("table")
        request.getfixturevalue("namespace")
        dynamodb = DynamoDBStore(name, client=boto_client, clock=clock)
        # Its clock is corrected by the first answer: let that come before the test moves its own.
        dynamodb.read("nothing", until=FOREVER)
        return Watched(dynamodb)

    return opened


@pytest.fixture
def store(open_store: Callable[[Clock], Watched], clock: FakeClock) -> Watched:
    """Each store in turn, on the fake clock."""
    return open_store(clock)


@pytest.fixture
def attempt(store: Watched) -> Attempt:
    """`attempt(body, event_id="evt-1", context=None, **options)`: deliver the event to `@durable(**options)` of `body`."""

    def deliver(body: Callable[[], Any], *, event_id: str = "evt-1", context: Any = None, **options: Any) -> Any:
        # Decorated as if outside Lambda: which other functions this test process decorated is no matter of the test's.
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)

            @durable(id=lambda event, context: event["id"], **{"store": store, "name": "reviewer"} | options)
            def handler(event: dict[str, Any], context: Any) -> Any:
                return body()

        return handler({"id": event_id}, context)

    return deliver


@pytest.fixture
def killed(attempt: Attempt, store: Watched, clock: FakeClock) -> Callable[..., None]:
    """`killed(body)`: an attempt that dies on the way; its lease has run out when this returns."""

    def deliver(body: Callable[[], Any], **options: Any) -> None:
        with pytest.raises(Killed):
            attempt(body, **options)
        store.revive()
        clock.advance(60)

    return deliver


class Other:
    """A function in a thread of its own, as another process would run it: `with Other(fn) as other`, then `result()`."""

    def __init__(self, fn: Callable[..., Any], *args: Any) -> None:
        self.outcome: Any = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(fn, *args), daemon=True)
        self.thread.start()

    def _run(self, fn: Callable[..., Any], *args: Any) -> None:
        try:
            self.outcome = fn(*args)
        except BaseException as error:
            self.error = error

    def result(self) -> Any:
        """What it returned or raised, once it has."""
        self.thread.join(JOIN_S)
        assert not self.thread.is_alive(), "the other thread hangs"
        if self.error is not None:
            raise self.error
        return self.outcome
