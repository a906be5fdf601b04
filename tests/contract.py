"""What every store promises: each line of `stores/protocol.py`, as a test. `test_stores.py` runs it over all of them.

A store is given by `open_store(clock)`: each call opens the same store anew, as another process would.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import random
import threading
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from durably import DynamoDBStore
from durably.claims import ATTEMPTS_KEPT
from durably.entries import AttemptRecord, Claim, Claimed, Ending, Entry, Head, Segment
from durably.errors import DurablyError, StoreError
from durably.stores.protocol import Store

from .clocks import FakeClock
from .servers import client, session

UNTIL = 1_000_000.0
"""Later than any clock of a test: a store may ask again as long as it likes."""

DAY_S = 86_400.0
Open = Callable[[FakeClock], Store]


def make_claim(id: str, owner: str, **fields: Any) -> Claim:
    given = {"generation": f"gen-{owner}", "lease_s": 30.0, "function": "reviewer", "qualname": "app:handler"}
    return Claim(id=id, owner=owner, **(given | {"expires_s": 30 * DAY_S} | fields))


def claim(store: Store, id: str, owner: str, **fields: Any) -> Claimed:
    return store.claim(make_claim(id, owner, **fields), until=UNTIL)


def end(store: Store, id: str, owner: str, status: Any = "waiting", how: str = "", **fields: Any) -> bool:
    return store.end(id, owner, Ending(status, how, **fields), until=UNTIL)


def segment(head: Head, number: int, *entries: Entry, owner: str = "", generation: str = "") -> Segment:
    written = entries or (Entry("result", f"step {number}", str(number), 1, 1e9, 1e9 + 0.25),)
    return Segment(head.id, generation or head.generation, number, owner or head.owner, written, 2e9)


def append(store: Store, head: Head, number: int, *entries: Entry, **fields: str) -> bool:
    return store.append(segment(head, number, *entries, **fields), until=UNTIL)


def load(store: Store, head: Head) -> list[Segment]:
    return store.load(head.id, head.generation, until=UNTIL)


def read(store: Store, id: str) -> Head:
    head = store.read(id, until=UNTIL)
    assert head is not None
    return head


def entry_of(step: str, payload: str) -> Entry:
    return Entry("result", step, payload, 1, 1e9, 1e9)


@functools.lru_cache(64)
def noise(size: int, seed: int = 1) -> str:
    """JSON text of about that many bytes that hardly compresses: what zlib leaves of base64 is three quarters."""
    return '"' + base64.b64encode(random.Random(seed).randbytes(size)).decode() + '"'


def all_at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work(0)`, `work(1)`, … returned, begun by as many threads at the same moment."""
    barrier = threading.Barrier(count)

    def begin(index: int) -> Any:
        barrier.wait(20)
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def in_a_fork(work: Callable[[], bool]) -> bool:
    """Whether `work()` is true in a forked child; a child that hangs is killed and has failed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of threads: they are the point here
        child = os.fork()
    if child == 0:
        code = 1
        try:
            threading.Timer(3, os._exit, (3,)).start()
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


KEPT: list[DynamoDBStore] = []
"""Stores live as long as the run: one that is collected leaves its sockets open, and warnings are errors here."""


@functools.cache
def shared_table(endpoint: str) -> str:
    """One table for all tests of this process."""
    return new_table(endpoint)


client_for = functools.cache(client)


def new_table(endpoint: str) -> str:
    name = f"stores-{uuid.uuid4().hex[:8]}"
    DynamoDBStore(name, client=client(endpoint)).create_table()
    return name


def with_known_clock(store: DynamoDBStore) -> DynamoDBStore:
    """Let the store compare clocks before the test moves its own."""
    store.read("nothing", until=UNTIL)
    KEPT.append(store)
    return store


class SessionAt:
    """boto3's session, all of whose clients talk to one endpoint. They are made once."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._session = session()._session

    def client(self, service: str, **options: Any) -> Any:
        """The store wants to know what it would have talked to, and sends by itself: one for all saves 30 ms each."""
        return client_for(self._endpoint)

    def get_credentials(self) -> Any:
        return session().get_credentials()


def item_size(item: dict[str, dict[str, Any]]) -> int:
    """An item's size as DynamoDB counts it: names and values in UTF-8, three bytes a list or map and one an element."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


def value_size(value: dict[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "B":
        return len(content) if isinstance(content, bytes) else len(base64.b64decode(content))
    if kind == "N":
        return 1 + (len(content.lstrip("-").replace(".", "")) + 1) // 2
    if kind == "L":
        return 3 + sum(1 + value_size(one) for one in content)
    return len(json.dumps(content))


class StoreContract:
    """Inherit it, and give the fixtures `open_store`, `open_listing`, `shared_store` and `newer_format`."""

    largest = 10_000_000
    """Bytes of the largest text it is tried with."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, open_store: Open, clock: FakeClock) -> Store:
        return open_store(clock)

    @pytest.fixture
    def id(self) -> str:
        return f"reviewer/{uuid.uuid4().hex}"

    # ---- claim

    def test_the_claim_of_an_unknown_execution_is_new(self, store: Store, id: str, clock: FakeClock) -> None:
        claimed = claim(store, id, "a", event='{"n":1}', source="header", fingerprint="f1", request_id="r1")
        head = claimed.head
        assert claimed.standing == "new"
        assert (head.id, head.generation, head.status, head.attempt, head.owner) == (id, "gen-a", "running", 1, "a")
        assert (head.function, head.qualname, head.source, head.fingerprint) == (
            "reviewer",
            "app:handler",
            "header",
            "f1",
        )
        assert head.lease_until == pytest.approx(clock.now() + 30, abs=0.01)
        assert head.began == head.updated == pytest.approx(clock.now(), abs=0.01)
        assert head.expires_at == pytest.approx(clock.now() + 30 * DAY_S, abs=1.01)
        assert [(r.number, r.owner, r.request_id, r.ended, r.how) for r in head.attempts] == [(1, "a", "r1", None, "")]
        assert load(store, head) == []

    def test_a_read_shows_what_the_claim_answered(self, store: Store, id: str, open_store: Open) -> None:
        head = claim(store, id, "a", event='{"n":1}', request_id="r1").head
        told, seen = head._asdict(), read(open_store(FakeClock()), id)._asdict()
        for name in ("lease_until", "began", "updated", "expires_at"):
            assert seen.pop(name) == pytest.approx(told.pop(name), abs=1.01), name
        assert [r._replace(began=0) for r in seen.pop("attempts")] == [
            r._replace(began=0) for r in told.pop("attempts")
        ]
        assert seen == told

    def test_nobody_claimed_reads_as_none(self, store: Store, id: str) -> None:
        assert store.read(id, until=UNTIL) is None

    def test_a_claim_while_the_lease_runs_is_held_and_changes_nothing(
        self, store: Store, id: str, clock: FakeClock
    ) -> None:
        claim(store, id, "a")
        before = read(store, id)
        clock.advance(29)
        claimed = claim(store, id, "b", event='"another"')
        assert claimed.standing == "held"
        assert claimed.head.owner == "a"
        assert read(store, id) == before

    def test_a_lease_that_ran_out_is_taken_over(self, store: Store, id: str, clock: FakeClock) -> None:
        claim(store, id, "a", request_id="r1")
        clock.advance(31)
        standing, head = claim(store, id, "b", request_id="r2")
        assert standing == "taken over"
        assert (head.generation, head.attempt, head.owner, head.status) == ("gen-a", 2, "b", "running")
        assert [(r.number, r.owner, r.request_id, r.ended) for r in head.attempts] == [
            (1, "a", "r1", None),
            (2, "b", "r2", None),
        ]
        assert read(store, id).owner == "b"

    def test_a_released_lease_is_followed_at_once(self, store: Store, id: str, clock: FakeClock) -> None:
        claim(store, id, "a")
        clock.advance(3)
        assert end(store, id, "a", "waiting", "ValueError: no")
        assert read(store, id).status == "waiting"
        standing, head = claim(store, id, "b")
        assert standing == "resumed"
        assert (head.generation, head.attempt, head.owner) == ("gen-a", 2, "b")
        assert head.lease_until == pytest.approx(clock.now() + 30, abs=0.01)
        assert head.attempts[0].how == "ValueError: no"
        assert head.attempts[0].ended == pytest.approx(clock.now(), abs=0.01)

    def test_what_an_unsettled_attempt_left_is_taken_over_once(self, store: Store, id: str) -> None:
        claim(store, id, "a")
        assert end(store, id, "a", unsettled=True)
        assert read(store, id).unsettled
        assert claim(store, id, "b").standing == "taken over"
        assert end(store, id, "b")
        assert claim(store, id, "c").standing == "resumed"

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
    def test_a_finished_execution_answers_with_its_result_and_stays(self, store: Store, id: str, status: Any) -> None:
        claim(store, id, "a")
        assert end(store, id, "a", status, "so", result='{"n":2}')
        before = read(store, id)
        standing, head = claim(store, id, "b")
        assert standing == "finished"
        assert (head.status, head.result, head.owner) == (status, '{"n":2}', "a")
        assert read(store, id) == before

    @pytest.mark.parametrize("case", ["new", "released", "ran out", "expired"])
    def test_of_many_claims_at_once_one_gets_the_lease(
        self, open_store: Open, id: str, clock: FakeClock, case: str
    ) -> None:
        store, standing = open_store(clock), "new"
        if case != "new":
            claim(store, id, "a", expires_s=60.0 if case == "expired" else DAY_S)
        if case == "released":
            end(store, id, "a")
            standing = "resumed"
        if case == "ran out":
            clock.advance(31)
            standing = "taken over"
        if case == "expired":
            clock.advance(100)
        answers = all_at_once(8, lambda index: claim(store, id, f"rival-{index}"))
        won = [answer for answer in answers if answer.standing != "held"]
        assert [answer.standing for answer in won] == [standing]
        assert {answer.head.owner for answer in answers} == {won[0].head.owner} == {read(store, id).owner}

    def test_an_expired_head_counts_as_absent(self, store: Store, id: str, clock: FakeClock) -> None:
        old = claim(store, id, "a", expires_s=60.0, event='"old"').head
        append(store, old, 1)
        end(store, id, "a", "completed", result='"old"')
        clock.advance(62)
        assert store.read(id, until=UNTIL) is None
        standing, head = claim(store, id, "b", event='"new"')
        assert (standing, head.generation, head.attempt) == ("new", "gen-b", 1)
        assert head.began == pytest.approx(clock.now(), abs=0.01)
        assert head.expires_at == pytest.approx(clock.now() + 30 * DAY_S, abs=1.01)
        assert [record.owner for record in head.attempts] == ["b"]
        seen = read(store, id)
        assert (seen.event, seen.result, seen.status, seen.generation) == ('"new"', None, "running", "gen-b")

    def test_leftovers_of_an_expired_execution_never_meet_the_new_one(
        self, store: Store, id: str, clock: FakeClock
    ) -> None:
        old = claim(store, id, "a", expires_s=60.0).head
        append(store, old, 1)
        clock.advance(100)
        new = claim(store, id, "b").head
        append(store, old, 2)
        assert load(store, new) == []
        assert append(store, new, 1)
        assert [one.owner for one in load(store, new)] == ["b"]
        assert not store.renew(id, "a", 30.0, until=UNTIL)
        assert not end(store, id, "a", "completed")
        assert read(store, id).status == "running"

    def test_a_large_result_of_an_expired_execution_is_not_the_new_ones(
        self, store: Store, id: str, clock: FakeClock
    ) -> None:
        claim(store, id, "a", expires_s=60.0, event=noise(5000))
        end(store, id, "a", "completed", result=noise(5000))
        clock.advance(100)
        claim(store, id, "b")
        assert (read(store, id).event, read(store, id).result) == (None, None)

    def test_a_head_beyond_its_expiry_is_held_while_its_lease_runs(
        self, store: Store, id: str, clock: FakeClock
    ) -> None:
        claim(store, id, "a", expires_s=10.0)
        clock.advance(20)
        assert claim(store, id, "b").standing == "held"
        assert read(store, id).owner == "a"

    def test_without_expiry_an_execution_is_kept(self, store: Store, id: str, clock: FakeClock) -> None:
        assert claim(store, id, "a", expires_s=None).head.expires_at is None
        end(store, id, "a", "completed", result="1")
        clock.advance(10_000 * DAY_S)
        assert claim(store, id, "b").standing == "finished"

    def test_a_later_claim_keeps_what_the_first_one_said(self, store: Store, id: str, clock: FakeClock) -> None:
        first = claim(store, id, "a", event='"first"', source="header").head
        end(store, id, "a")
        clock.advance(5)
        later = claim(store, id, "b", event='"second"', source="body", expires_s=DAY_S, function="other").head
        for head in (later, read(store, id)):
            assert (head.source, head.function, head.began) == ("header", "reviewer", first.began)
            assert head.expires_at == pytest.approx(first.expires_at, abs=1.01)
        assert read(store, id).event == '"first"'

    def test_the_last_attempts_are_kept_with_their_numbers(
        self, store: Store, id: str, open_store: Open, clock: FakeClock
    ) -> None:
        last = range(10 - ATTEMPTS_KEPT, 10)
        for number in range(1, 10):
            assert claim(store, id, f"o{number}").head.attempt == number
            end(store, id, f"o{number}", how=f"end {number}")
        head = read(open_store(clock), id)
        assert [(r.number, r.owner, r.how) for r in head.attempts] == [(n, f"o{n}", f"end {n}") for n in last]

    # ---- what a claim refuses, before anything is written

    def unchanged_after(self, store: Store, id: str, error: type[Exception], **fields: Any) -> str:
        before = read(store, id)
        with pytest.raises(error) as caught:
            claim(store, id, "stranger", **fields)
        assert read(store, id) == before
        return str(caught.value)

    @pytest.mark.parametrize("status", ["running", "waiting", "completed"])
    def test_another_functions_head_is_refused(self, store: Store, id: str, status: str, clock: FakeClock) -> None:
        claim(store, id, "a")
        if status != "running":
            end(store, id, "a", status)
        clock.advance(31)
        told = self.unchanged_after(store, id, DurablyError, qualname="app:other")
        assert "app:handler" in told
        assert "app:other" in told

    def test_the_same_id_with_another_body_is_refused(self, store: Store, id: str) -> None:
        claim(store, id, "a", fingerprint="f1")
        end(store, id, "a")
        self.unchanged_after(store, id, DurablyError, fingerprint="f2")
        assert claim(store, id, "b", fingerprint="f1").standing == "resumed"

    @pytest.mark.parametrize("status", ["waiting", "completed"])
    def test_a_newer_format_is_refused(
        self, store: Store, id: str, newer_format: Callable[[Store, str], None], status: str
    ) -> None:
        claim(store, id, "a")
        end(store, id, "a", status)
        newer_format(store, id)
        assert "newer" in self.unchanged_after(store, id, StoreError)

    # ---- renew and end

    def test_a_renewal_lets_the_lease_run_from_now(self, store: Store, id: str, clock: FakeClock) -> None:
        claim(store, id, "a")
        before = read(store, id)
        clock.advance(20)
        assert store.renew(id, "a", 40.0, until=UNTIL)
        after = read(store, id)
        assert after.lease_until == pytest.approx(clock.now() + 40, abs=0.01)
        assert after._replace(lease_until=before.lease_until) == before
        clock.advance(35)
        assert claim(store, id, "b").standing == "held"

    def test_a_lease_that_ran_out_is_renewed_while_nobody_took_it(
        self, store: Store, id: str, clock: FakeClock
    ) -> None:
        claim(store, id, "a")
        clock.advance(100)
        assert store.renew(id, "a", 30.0, until=UNTIL)
        assert claim(store, id, "b").standing == "held"

    @pytest.mark.parametrize("case", ["overtaken", "released", "completed", "unknown owner", "unknown execution"])
    def test_who_does_not_hold_the_lease_changes_nothing(
        self, open_store: Open, id: str, clock: FakeClock, case: str
    ) -> None:
        store, other = open_store(clock), open_store(clock)
        owner = "nobody" if case.startswith("unknown") else "a"
        if case != "unknown execution":
            claim(store, id, "a")
        if case in ("released", "completed"):
            end(store, id, "a", "waiting" if case == "released" else "completed", result=None)
        if case == "overtaken":
            clock.advance(31)
            claim(other, id, "b")
        before = store.read(id, until=UNTIL)
        clock.advance(5)
        for one in (store, other):
            assert not one.renew(id, owner, 60.0, until=UNTIL)
            assert not end(one, id, owner, "failed", "late", result='"zombie"')
            assert not end(one, id, owner, "failed", "late", result=noise(5000))
        assert store.read(id, until=UNTIL) == before

    def test_an_end_says_how_and_gives_the_lease_back(self, store: Store, id: str, clock: FakeClock) -> None:
        claim(store, id, "a")
        clock.advance(2)
        assert end(store, id, "a", "completed", "done", result='{"n":[1]}')
        head = read(store, id)
        assert (head.status, head.result, head.attempts[-1].how, head.lease_until) == (
            "completed",
            '{"n":[1]}',
            "done",
            0,
        )
        assert head.updated == pytest.approx(clock.now(), abs=0.01)
        assert head.attempts[-1].ended == pytest.approx(clock.now(), abs=0.01)

    def test_another_process_may_end_what_this_one_claimed(
        self, store: Store, id: str, open_store: Open, clock: FakeClock
    ) -> None:
        claim(store, id, "a", event=noise(3000))
        assert end(open_store(clock), id, "a", "completed", result='"r"')
        assert (read(store, id).status, read(store, id).result) == ("completed", '"r"')

    def test_only_a_completed_execution_outlives_its_first_date(self, store: Store, id: str, clock: FakeClock) -> None:
        first = claim(store, id, "a", expires_s=100.0).head.expires_at or 0
        clock.advance(10)
        end(store, id, "a", "waiting", expires_s=100.0)
        assert read(store, id).expires_at == pytest.approx(first, abs=1.01)
        claim(store, id, "b")
        end(store, id, "b", "completed", expires_s=100.0)
        assert read(store, id).expires_at == pytest.approx(clock.now() + 100, abs=1.01)

    def test_a_second_end_is_refused_also_when_it_says_the_same(
        self, store: Store, id: str, open_store: Open, clock: FakeClock
    ) -> None:
        claim(store, id, "a")
        assert end(store, id, "a", "completed", result="1")
        before = read(store, id)
        for one in (store, open_store(clock)):
            assert not end(one, id, "a", "completed", result="2")
        assert read(store, id) == before

    # ---- an operator's claims

    @pytest.mark.parametrize("kind", ["reopen", "seize"])
    def test_an_operators_claim_makes_no_execution(self, store: Store, id: str, clock: FakeClock, kind: str) -> None:
        with pytest.raises(DurablyError, match="no execution"):
            claim(store, id, "op", **{kind: True})
        assert store.read(id, until=UNTIL) is None
        claim(store, id, "a", expires_s=10.0)
        clock.advance(40)
        with pytest.raises(DurablyError, match="expired"):
            claim(store, id, "op", **{kind: True})
        assert claim(store, id, "b").standing == "new"

    def test_only_seizing_takes_a_lease_that_runs_and_then_the_old_holder_changes_nothing(
        self, store: Store, id: str, open_store: Open, clock: FakeClock
    ) -> None:
        holder, operator = store, open_store(clock)
        claim(holder, id, "a", event=noise(5000), request_id="r1")
        held = claim(operator, id, "op", reopen=True)
        assert (held.standing, held.head.owner) == ("held", "a")
        standing, head = claim(operator, id, "op", seize=True, qualname="", function="")
        assert (standing, head.owner, head.attempt, head.status) == ("taken over", "op", 2, "running")
        assert (head.event, head.qualname, head.function) == (noise(5000), "app:handler", "reviewer")
        assert [(r.owner, r.ended) for r in head.attempts] == [("a", None), ("op", None)]
        before = read(holder, id)
        assert before == read(operator, id)
        assert (before.owner, before.attempt, before.event) == ("op", 2, noise(5000))
        assert not holder.renew(id, "a", 60.0, until=UNTIL)
        assert not end(holder, id, "a", "completed", result='"zombie"')
        assert read(holder, id) == before
        assert end(operator, id, "op", "cancelled", "by hand")
        assert claim(holder, id, "b").standing == "finished"

    @pytest.mark.parametrize("kind", ["reopen", "seize"])
    @pytest.mark.parametrize("status", ["failed", "cancelled"])
    @pytest.mark.parametrize("size", [3, 5000])
    def test_what_failed_or_was_cancelled_is_reopened_and_fenced(
        self, store: Store, id: str, kind: str, status: str, size: int
    ) -> None:
        first = claim(store, id, "a", event='"e"').head
        append(store, first, 1)
        end(store, id, "a", status, "so", result=noise(size))
        standing, head = claim(store, id, "op", **{kind: True})
        assert (standing, head.status, head.generation) == ("taken over", status, first.generation)
        assert head.attempts[0].how == "so"
        assert [one.number for one in load(store, head)] == [1]
        assert end(store, id, "op", "waiting", "reopened")
        after = read(store, id)
        assert (after.status, after.result, after.event) == ("waiting", None, '"e"')
        assert claim(store, id, "b").standing == "resumed"

    @pytest.mark.parametrize("status", ["failed", "cancelled"])
    @pytest.mark.parametrize("size", [3, 5000])
    def test_what_is_closed_stays_so_until_the_operator_who_holds_it_ends_it(
        self, store: Store, id: str, open_store: Open, clock: FakeClock, status: str, size: int
    ) -> None:
        claim(store, id, "a")
        end(store, id, "a", status, "so", result=noise(size))
        operator = open_store(clock)
        head = claim(operator, id, "op", reopen=True).head
        assert (head.status, head.result, head.owner) == (status, noise(size), "op")
        for _ in ("while the action holds the lease", "and after it died"):
            standing, seen = claim(store, id, "b")
            assert (standing, seen.status, seen.result) == ("finished", status, noise(size))
            assert read(store, id) == seen
            clock.advance(31)
        # The next operator takes it over, and leaves it as it was or as it is to be.
        assert claim(operator, id, "op2", reopen=True).standing == "taken over"
        assert claim(operator, id, "op3", reopen=True).standing == "held"
        assert not end(operator, id, "op", "waiting")
        assert end(operator, id, "op2", status, "refused", result=noise(size))
        assert (read(store, id).status, read(store, id).result) == (status, noise(size))
        assert claim(operator, id, "op4", reopen=True).standing == "taken over"
        assert end(operator, id, "op4", "waiting", "reopened")
        assert (read(store, id).status, read(store, id).result) == ("waiting", None)
        claim(store, id, "c")
        assert end(store, id, "c", "completed", result="1")
        assert read(store, id).result == "1"

    def test_what_an_operator_holds_is_neither_deleted_nor_expired(
        self, store: Store, id: str, clock: FakeClock
    ) -> None:
        first = claim(store, id, "a", expires_s=40.0).head
        end(store, id, "a", "failed", result='"no"')
        clock.advance(30)
        claim(store, id, "op", reopen=True)
        assert not store.delete(id, first.generation, until=UNTIL)
        clock.advance(15)
        assert read(store, id).owner == "op"
        assert end(store, id, "op", "failed", result='"no"')
        assert store.read(id, until=UNTIL) is None

    @pytest.mark.parametrize("kind", ["reopen", "seize"])
    def test_a_completed_execution_is_never_reopened(self, store: Store, id: str, kind: str) -> None:
        claim(store, id, "a")
        end(store, id, "a", "completed", result=noise(5000))
        before = read(store, id)
        standing, head = claim(store, id, "op", **{kind: True})
        assert (standing, head.result) == ("finished", noise(5000))
        assert read(store, id) == before

    def test_a_released_lease_is_an_operators_as_anyones(self, store: Store, id: str, clock: FakeClock) -> None:
        claim(store, id, "a")
        end(store, id, "a")
        assert claim(store, id, "op", reopen=True).standing == "resumed"
        assert claim(store, id, "op2", reopen=True).standing == "held"
        clock.advance(31)
        assert claim(store, id, "op3", reopen=True).standing == "taken over"

    @pytest.mark.parametrize("status", ["running", "failed"])
    def test_of_many_who_seize_at_once_each_is_told_who_holds_it_in_the_end(
        self, open_store: Open, id: str, clock: FakeClock, status: str
    ) -> None:
        store = open_store(clock)
        claim(store, id, "a")
        if status == "failed":
            end(store, id, "a", "failed", result='"no"')
        taken = all_at_once(6, lambda index: claim(store, id, f"op-{index}", seize=True))
        assert [answer.standing for answer in taken] == ["taken over"] * 6
        assert sorted(answer.head.attempt for answer in taken) == [2, 3, 4, 5, 6, 7]
        last = max(taken, key=lambda answer: answer.head.attempt).head
        ended = [answer.head.owner for answer in taken if end(store, id, answer.head.owner)]
        assert ended == [last.owner]

    # ---- restore and delete

    def whole_head(self, id: str, clock: FakeClock, **fields: Any) -> Head:
        records = (AttemptRecord(1, clock.now(), "a", "r1", clock.now() + 1, "ValueError: no"),)
        given = {
            "status": "waiting",
            "attempt": 1,
            "owner": "a",
            "lease_until": 0.0,
            "function": "reviewer",
            "qualname": "app:handler",
            "attempts": records,
        }
        return Head(id, "gen", began=clock.now(), updated=clock.now(), **(given | fields))

    @pytest.mark.parametrize("size", [10, 2_600, 300_000])
    def test_a_restored_head_reads_as_it_was_written_with_its_segments(
        self, store: Store, id: str, open_store: Open, clock: FakeClock, size: int
    ) -> None:
        head = self.whole_head(
            id,
            clock,
            status="completed",
            event=noise(size),
            result=noise(size, 2),
            expires_at=float(int(clock.now()) + 1000),
            unsettled=True,
            source="header",
        )
        assert append(store, head, 1)
        assert store.read(id, until=UNTIL) is None
        assert store.restore(head, until=UNTIL)
        seen = read(open_store(clock), id)
        for name in ("began", "updated"):
            assert getattr(seen, name) == pytest.approx(getattr(head, name), abs=0.01)
        rest = {"began": 0.0, "updated": 0.0, "attempts": ()}
        assert seen._replace(**rest) == head._replace(**rest)
        assert [(r.number, r.owner, r.request_id, r.how) for r in seen.attempts] == [(1, "a", "r1", "ValueError: no")]
        assert [one.number for one in load(store, seen)] == [1]

    def test_a_restored_head_is_claimed_like_any_other(self, store: Store, id: str, clock: FakeClock) -> None:
        assert store.restore(self.whole_head(id, clock, event='"e"'), until=UNTIL)
        standing, head = claim(store, id, "b", event='"other"')
        assert (standing, head.attempt, head.generation, read(store, id).event) == ("resumed", 2, "gen", '"e"')

    def test_restoring_overwrites_nothing_but_what_has_expired(self, store: Store, id: str, clock: FakeClock) -> None:
        claim(store, id, "a", expires_s=60.0)
        before = read(store, id)
        assert not store.restore(self.whole_head(id, clock), until=UNTIL)
        assert read(store, id) == before
        clock.advance(100)
        assert store.restore(self.whole_head(id, clock), until=UNTIL)
        assert read(store, id).generation == "gen"

    def test_of_many_who_restore_at_once_one_does(self, open_store: Open, id: str, clock: FakeClock) -> None:
        store = open_store(clock)
        heads = [self.whole_head(id, clock, owner=f"o{n}")._replace(generation=f"g{n}") for n in range(6)]
        answers = all_at_once(6, lambda index: store.restore(heads[index], until=UNTIL))
        assert answers.count(True) == 1
        assert read(store, id).generation == f"g{answers.index(True)}"

    def test_what_is_deleted_is_gone_and_the_next_event_finds_nothing(self, store: Store, id: str) -> None:
        head = claim(store, id, "a", event=noise(5000)).head
        append(store, head, 1)
        append(store, head, 2, entry_of("large", noise(500_000)))
        end(store, id, "a", "completed", result=noise(5000))
        assert store.delete(id, head.generation, until=UNTIL)
        assert store.read(id, until=UNTIL) is None
        assert load(store, head) == []
        assert not store.delete(id, head.generation, until=UNTIL)
        new = claim(store, id, "b")
        assert (new.standing, new.head.generation, new.head.attempt) == ("new", "gen-b", 1)
        assert read(store, id).event is None

    @pytest.mark.parametrize("case", ["another generation", "held", "unknown"])
    def test_what_was_not_meant_is_not_deleted(self, store: Store, id: str, case: str) -> None:
        if case != "unknown":
            head = claim(store, id, "a").head
            append(store, head, 1)
            if case == "another generation":
                end(store, id, "a", "completed")
        before = store.read(id, until=UNTIL)
        assert not store.delete(id, "gen-a" if case != "another generation" else "gen-b", until=UNTIL)
        assert store.read(id, until=UNTIL) == before
        if case != "unknown":
            assert len(load(store, head)) == 1

    @pytest.mark.parametrize("since", ["nothing", "a failed attempt", "a finished attempt", "a renewal"])
    def test_what_was_listed_is_deleted_unless_it_has_changed_since(
        self, open_listing: Open, clock: FakeClock, since: str
    ) -> None:
        store, id = open_listing(clock), "e/1"
        claim(store, id, "a")
        if since != "a renewal":
            end(store, id, "a", "waiting")
        (listed,) = store.newest(5, until=UNTIL)
        clock.advance(0.5)
        if since == "a renewal":
            assert store.renew(id, "a", 30.0, until=UNTIL)
            clock.advance(31)
        elif since != "nothing":
            claim(store, id, "b")
            end(store, id, "b", "waiting" if since == "a failed attempt" else "completed")
        clock.advance(100)
        # A renewal is no change: it does not touch the index, and the lease is asked for by itself.
        is_deleted = since in ("nothing", "a renewal")
        assert store.delete(id, listed.generation, updated=listed.updated, until=UNTIL) == is_deleted
        assert (store.read(id, until=UNTIL) is None) == is_deleted

    def test_a_dead_attempts_execution_is_deleted_and_the_zombie_changes_nothing(
        self, store: Store, id: str, open_store: Open, clock: FakeClock
    ) -> None:
        zombie, operator = store, open_store(clock)
        head = claim(zombie, id, "a").head
        clock.advance(31)
        assert operator.delete(id, head.generation, until=UNTIL)
        assert not zombie.renew(id, "a", 30.0, until=UNTIL)
        assert not end(zombie, id, "a", "completed", result="1")
        append(zombie, head, 1)
        assert store.read(id, until=UNTIL) is None
        new = claim(store, id, "b").head
        assert load(store, new) == []

    def test_an_expired_execution_is_listed_when_asked_for_and_deleted(
        self, open_listing: Open, clock: FakeClock
    ) -> None:
        store = open_listing(clock)
        head = claim(store, "e/1", "a", expires_s=60.0).head
        end(store, "e/1", "a", "completed")
        clock.advance(100)
        assert store.newest(5, until=UNTIL) == []
        assert [one.generation for one in store.newest(5, expired=True, until=UNTIL)] == [head.generation]
        assert store.delete("e/1", head.generation, until=UNTIL)
        assert store.newest(5, expired=True, until=UNTIL) == []

    # ---- append and load

    def test_a_segment_comes_back_as_it_was_written(
        self, store: Store, id: str, open_store: Open, clock: FakeClock
    ) -> None:
        head = claim(store, id, "a").head
        entries = (
            Entry("began", "", "", 1, 1.5, 1.5),
            Entry("started", "zahlen – 支払い 🙂", "", 1, 2.25, 2.25, arguments='["ä",1]'),
            Entry("result", "zahlen – 支払い 🙂", '{"€":"\\u2028"}', 1, 2.25, 3.5, tries=3, within='outer "x"'),
            Entry("error", "no\ttab\nno", '{"k":1}', 12, 3.125, 4.0, permanent=True),
            Entry("taken_back", "x", "", 2, 0.0, 0.0),
            Entry("forgotten", "x", "", 2, 0.0, 0.0),
        )
        assert append(store, head, 1, *entries)
        assert load(open_store(clock), head) == [segment(head, 1, *entries)]

    def test_a_taken_number_is_refused_to_others_and_confirmed_to_its_owner(self, store: Store, id: str) -> None:
        head = claim(store, id, "a").head
        assert append(store, head, 1, entry_of("s", "1"))
        assert not append(store, head, 1, entry_of("s", "2"), owner="b")
        assert append(store, head, 1, entry_of("s", "1"))
        assert load(store, head) == [segment(head, 1, entry_of("s", "1"))]

    def test_of_many_appends_at_one_number_one_is_written(self, store: Store, id: str) -> None:
        head = claim(store, id, "a").head
        answers = all_at_once(8, lambda n: append(store, head, 1, entry_of("s", str(n)), owner=f"o{n}"))
        assert answers.count(True) == 1
        (written,) = load(store, head)
        assert written == segment(head, 1, entry_of("s", str(answers.index(True))), owner=f"o{answers.index(True)}")

    def test_segments_come_by_number_and_a_gap_is_shown(self, store: Store, id: str) -> None:
        head = claim(store, id, "a").head
        for number in (3, 1, 101, 12, 11, 100, 2, 99):
            assert append(store, head, number)
        assert [one.number for one in load(store, head)] == [1, 2, 3, 11, 12, 99, 100, 101]

    def test_executions_and_generations_of_like_names_are_kept_apart(self, store: Store, id: str) -> None:
        head = claim(store, id, "a", generation="g").head
        near = claim(store, id + "1", "a", generation="g").head
        append(store, near, 1)
        append(store, head, 1, generation="g1")
        append(store, head, 1, generation="")
        assert [one.execution for one in load(store, near)] == [near.id]
        assert [one.generation for one in load(store, head)] == ["g"]
        assert load(store, near._replace(id=id + "#")) == []

    def test_what_was_acknowledged_is_loaded_by_everyone_at_once(
        self, store: Store, id: str, open_store: Open, clock: FakeClock
    ) -> None:
        head, other = claim(store, id, "a").head, open_store(clock)
        for number in range(1, 21):
            append(store, head, number)
            assert len(load(other, head)) == number

    @pytest.mark.parametrize("size", [380_000, 1_000_000, 9_000_000])
    def test_a_large_segment_comes_back_whole(
        self, store: Store, id: str, open_store: Open, clock: FakeClock, size: int
    ) -> None:
        size = min(size, self.largest)
        head, large = claim(store, id, "a").head, (entry_of("large", noise(size)), entry_of("after", '"x"'))
        assert append(store, head, 1, *large)
        assert append(store, head, 2)
        first, second = load(open_store(clock), head)
        assert first.entries == large
        assert second.number == 2

    def test_a_text_of_ten_million_like_characters_comes_back_whole(self, store: Store, id: str) -> None:
        head = claim(store, id, "a").head
        text = '"' + "ab" * 5_000_000 + '"'
        assert append(store, head, 1, entry_of("s", text))
        assert load(store, head)[0].entries[0].payload == text

    def test_a_journal_of_several_megabytes_comes_back_in_order(self, store: Store, id: str) -> None:
        head = claim(store, id, "a").head
        texts = [noise(120_000, seed) for seed in range(20)]
        for number, text in enumerate(texts, start=1):
            assert append(store, head, number, entry_of("s", text))
        assert [one.entries[0].payload for one in load(store, head)] == texts
        assert [one.number for one in load(store, head)] == list(range(1, 21))

    @pytest.mark.parametrize("first", ["zombie", "successor"])
    def test_a_zombies_chunks_are_never_mixed_with_the_successors(
        self, store: Store, id: str, first: str, open_store: Open, clock: FakeClock
    ) -> None:
        head = claim(store, id, "zombie").head
        texts = {owner: entry_of("s", noise(900_000, seed)) for seed, owner in enumerate(("zombie", "successor"))}
        second = "successor" if first == "zombie" else "zombie"
        assert append(store, head, 1, texts[first], owner=first)
        assert not append(open_store(clock), head, 1, texts[second], owner=second)
        assert load(store, head) == [segment(head, 1, texts[first], owner=first)]
        assert append(store, head, 2, texts[second], owner=second)
        assert [(one.owner, *one.entries) for one in load(store, head)] == [
            (first, texts[first]),
            (second, texts[second]),
        ]

    # ---- event and result of every size

    @pytest.mark.parametrize("size", [10, 1_500, 2_600, 300_000, 5_000_000])
    def test_event_and_result_of_every_size_come_back(
        self, store: Store, id: str, open_store: Open, clock: FakeClock, size: int
    ) -> None:
        size = min(size, self.largest)
        event, result, other = noise(size, 1), noise(size, 2), open_store(clock)
        claim(store, id, "a", event=event)
        assert read(other, id).event == event
        end(store, id, "a")
        assert claim(other, id, "b", event='"redelivered otherwise"').standing == "resumed"
        assert read(store, id).event == event
        assert end(other, id, "b", "completed", result=result)
        head = read(store, id)
        assert (head.event, head.result) == (event, result)
        standing, head = claim(store, id, "c", event=event)
        assert (standing, head.result) == ("finished", result)

    # ---- newest

    def test_the_newest_come_first_page_by_page(self, open_listing: Open, clock: FakeClock) -> None:
        store, expected = open_listing(clock), []
        for number in range(64):
            if number % 16 < 4:
                clock.advance(0.25)  # the other twelve of each sixteen begin in one millisecond
            head = claim(store, f"e/{uuid.uuid4().hex}", "a", event='"x"').head
            end(store, head.id, "a", "completed" if number % 2 else "waiting", result='"y"')
            expected.append((head.began, head.id, "completed" if number % 2 else "waiting"))
        expected.sort(reverse=True)
        for size in (7, 100):
            seen: list[Head] = []
            while page := store.newest(size, before=(seen[-1].began, seen[-1].id) if seen else None, until=UNTIL):
                assert len(page) <= size
                seen += page
            assert [(head.began, head.id, head.status) for head in seen] == expected
        assert {(head.event, head.result, head.attempts) for head in seen} == {(None, None, ())}
        assert {(head.function, head.attempt) for head in seen} == {("reviewer", 1)}

    def test_executions_begun_in_one_millisecond_are_all_listed(self, open_listing: Open, clock: FakeClock) -> None:
        store = open_listing(clock)
        expected = sorted((claim(store, f"e/{uuid.uuid4().hex}", "a").head.id for _ in range(32)), reverse=True)
        seen: list[Head] = []
        while page := store.newest(2, before=(seen[-1].began, seen[-1].id) if seen else None, until=UNTIL):
            seen += page
        assert [head.id for head in seen] == expected

    def test_expired_executions_are_not_listed_and_take_no_place(self, open_listing: Open, clock: FakeClock) -> None:
        store, kept = open_listing(clock), []
        for number in range(30):
            clock.advance(0.1)
            id = f"e/{number:02d}"
            claim(store, id, "a", expires_s=60.0 if number % 3 else DAY_S)
            end(store, id, "a", "completed")
            kept += [] if number % 3 else [id]
        clock.advance(100)
        first = store.newest(6, until=UNTIL)
        assert [head.id for head in first] == kept[:3:-1]
        rest = store.newest(6, before=(first[-1].began, first[-1].id), until=UNTIL)
        assert [head.id for head in rest] == kept[3::-1]

    def test_of_an_empty_store_nothing_is_listed(self, open_listing: Open, clock: FakeClock) -> None:
        assert open_listing(clock).newest(5, until=UNTIL) == []

    # ---- names, threads, processes

    @pytest.mark.parametrize(
        "name", ["ünï/日本語/🙂", "a#b#journal#1", "spaces and 'quotes' \"\\", "x" * 1490, "日" * 480]
    )
    def test_ids_of_any_characters_work(self, store: Store, name: str) -> None:
        id = f"{uuid.uuid4().hex[:8]}/{name}"
        head = claim(store, id, "a", event='"e"').head
        assert append(store, head, 1)
        assert append(store, head, 2, entry_of("large", noise(400_000)))
        assert store.renew(id, "a", 30.0, until=UNTIL)
        assert end(store, id, "a", "completed", result=noise(3000))
        assert [one.number for one in load(store, head)] == [1, 2]
        assert read(store, id).id == id

    def test_threads_share_a_store(self, store: Store) -> None:
        def whole(index: int) -> int:
            id = f"{uuid.uuid4().hex}/{index}"
            head = claim(store, id, f"o{index}").head
            for number in range(1, 9):
                assert append(store, head, number, entry_of("s", str(index)))
            assert end(store, id, f"o{index}", "completed", result=str(index))
            assert read(store, id).result == str(index)
            return len(load(store, head))

        assert all_at_once(8, whole) == [8] * 8

    def test_a_forked_child_goes_on_with_the_parents_store(self, shared_store: Store, id: str) -> None:
        head = claim(shared_store, id, "a").head
        assert append(shared_store, head, 1)
        assert in_a_fork(lambda: append(shared_store, head, 2) and shared_store.renew(id, "a", 30.0, until=UNTIL))
        assert append(shared_store, head, 3)
        assert in_a_fork(lambda: end(shared_store, id, "a", "completed", result='"child"'))
        assert [one.number for one in load(shared_store, head)] == [1, 2, 3]
        assert read(shared_store, id).result == '"child"'

    def test_a_fork_while_another_thread_writes_does_not_hang_the_child(self, shared_store: Store, id: str) -> None:
        head, over = claim(shared_store, id, "a").head, threading.Event()

        def hammer() -> None:
            number = 0
            while not over.is_set():
                number += 1
                append(shared_store, head, number)

        threads = [threading.Thread(target=hammer) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            children = [in_a_fork(lambda: shared_store.read(id, until=UNTIL) is not None) for _ in range(3)]
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert children == [True] * 3
