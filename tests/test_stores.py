"""The store contract over memory, SQLite, and DynamoDB on two servers; then what only one kind of store has to promise."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import pytest

from durably import DynamoDBStore, MemoryStore, SQLiteStore, StoreError, execution, step
from durably.entries import Head
from durably.stores import sqlite
from durably.stores.protocol import Store

from .clocks import FakeClock
from .contract import (
    DAY_S,
    KEPT,
    UNTIL,
    Open,
    SessionAt,
    StoreContract,
    append,
    claim,
    end,
    entry_of,
    in_a_fork,
    item_size,
    load,
    new_table,
    noise,
    read,
    segment,
    shared_table,
    with_known_clock,
)
from .servers import client

DAMAGED = [
    "no JSON",
    "",
    "5",
    "[]",
    "{}",
    '{"dreamt":"s"}',
    '{"result":"s"}\t1',
    '{"began":"","attempt":1,"at":1.0,"took":0.0} x',
]


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def open_store(self) -> Open:
        opened: list[MemoryStore] = []

        def again(clock: FakeClock) -> Store:
            opened.append(opened[0] if opened else MemoryStore(clock=clock))
            return opened[0]

        return again

    @pytest.fixture
    def open_listing(self, open_store: Open) -> Open:
        return open_store

    @pytest.fixture
    def shared_store(self) -> Store:
        pytest.skip("memory is not shared with a child")

    @pytest.fixture
    def newer_format(self) -> Callable[[MemoryStore, str], None]:
        def write(store: MemoryStore, id: str) -> None:
            store._heads[id] = store._heads[id]._replace(format=99)

        return write

    def test_a_child_does_not_wait_for_a_thread_that_is_not_there(self, store: MemoryStore, id: str) -> None:
        claim(store, id, "a")
        with store._lock:
            assert in_a_fork(lambda: store.read(id, until=UNTIL) is not None)


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Open:
        return lambda clock: SQLiteStore(tmp_path / "folder" / "durably.db", clock=clock)

    @pytest.fixture
    def open_listing(self, open_store: Open) -> Open:
        return open_store

    @pytest.fixture
    def shared_store(self, open_store: Open, clock: FakeClock) -> Store:
        return open_store(clock)

    @pytest.fixture
    def newer_format(self) -> Callable[[SQLiteStore, str], None]:
        def write(store: SQLiteStore, id: str) -> None:
            with sqlite3.connect(store.path) as database:
                database.execute("UPDATE executions SET head = json_set(head, '$.format', 99) WHERE id = ?", (id,))
            database.close()

        return write

    @pytest.mark.parametrize("text", DAMAGED)
    def test_a_segment_that_is_damaged_is_told_by_execution_and_number(self, store: Store, id: str, text: str) -> None:
        head = claim(store, id, "a").head
        append(store, head, 1)
        append(store, head, 2)
        with sqlite3.connect(store.path) as database:
            database.execute("UPDATE journal SET entries = ? WHERE execution = ? AND number = 2", (text, id))
        database.close()
        with pytest.raises(StoreError, match=f"the journal of execution '{id}' is damaged: segment 2 can't be read"):
            load(store, head)

    @pytest.mark.parametrize("text", ["no JSON", "5", "{}", '{"attempts":[]}', '{"attempts":[5]}'])
    def test_a_head_that_is_damaged_is_told_and_not_taken_for_a_new_one(self, store: Store, id: str, text: str) -> None:
        claim(store, id, "a")
        with sqlite3.connect(store.path) as database:
            database.execute("UPDATE executions SET head = ? WHERE id = ?", (text, id))
        database.close()
        for look in (lambda: claim(store, id, "b"), lambda: read(store, id), lambda: store.newest(1, until=UNTIL)):
            with pytest.raises(StoreError, match=f"the head of execution '{id}' is damaged"):
                look()

    def test_what_a_child_wrote_outlives_the_parents_exit(self, open_store: Open, id: str) -> None:
        """SQLite's lock on the file belongs to the parent: a child that believes to have it writes into a deleted WAL."""
        to_parent, to_child = os.pipe(), os.pipe()

        def parent() -> bool:
            store = open_store(FakeClock())
            head = claim(store, id, "a").head
            child = os.fork()
            if child == 0:
                append(store, head, 1)
                os.write(to_parent[1], b".")
                os.read(to_child[0], 1)
                os._exit(0 if append(store, head, 2) else 1)
            os.read(to_parent[0], 1)
            store.read(id, until=UNTIL)
            store._connection.close()  # as at the parent's exit
            os.write(to_child[1], b".")
            return os.waitpid(child, 0)[1] == 0

        assert in_a_fork(parent)
        store = open_store(FakeClock())
        assert [one.number for one in load(store, read(store, id))] == [1, 2]

    def test_a_database_that_stays_locked_is_a_store_error_in_time(self, open_store: Open, id: str) -> None:
        store = open_store(FakeClock())
        head = claim(store, id, "a").head
        rival = sqlite3.connect(store.path, isolation_level=None)
        rival.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for work in (
            lambda until: append_until(store, head, until),
            lambda until: store.renew(id, "a", 1, until=until),
        ):
            with pytest.raises(StoreError, match="locked"):
                work(store.clock.monotonic() + 0.3)
        assert time.monotonic() - began < 1.5
        rival.execute("COMMIT")
        rival.close()
        assert append(store, head, 1)

    def test_a_far_deadline_waits_for_a_rivals_write(self, open_store: Open, id: str) -> None:
        store = open_store(FakeClock())
        head = claim(store, id, "a").head
        rival = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
        rival.execute("BEGIN IMMEDIATE")
        Timer(0.2, lambda: rival.execute("COMMIT")).start()
        assert append_until(store, head, 1e12)
        rival.close()

    def test_an_interrupt_while_it_waits_for_a_rivals_write_leaves_nothing_open(
        self, open_store: Open, id: str
    ) -> None:
        """Ctrl-C comes out of `BEGIN` itself: what is left open would lock the file for all, and be lost at the end."""
        store = open_store(FakeClock())
        head = claim(store, id, "a").head
        rival = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
        rival.execute("BEGIN IMMEDIATE")
        timers = Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)), Timer(0.3, lambda: rival.execute("COMMIT"))
        for timer in timers:
            timer.start()
        with pytest.raises(KeyboardInterrupt):
            claim(store, "another", "b")
        for timer in timers:
            timer.join()
        rival.execute("BEGIN IMMEDIATE")
        rival.execute("COMMIT")
        rival.close()
        assert append(store, head, 1)
        other = open_store(FakeClock())
        assert [one.number for one in load(other, head)] == [1]

    def test_a_full_disk_is_said_as_such_and_is_over_when_there_is_room(self, open_store: Open, id: str) -> None:
        store = open_store(FakeClock())
        claim(store, id, "a")
        store._connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StoreError, match="disk is full"):
            claim(store, "another", "b", event=noise(50_000))
        store._connection.execute("PRAGMA max_page_count = 100000")
        assert claim(store, "another", "b", event=noise(50_000)).standing == "new"

    def test_a_database_in_memory_is_refused(self) -> None:
        with pytest.raises(StoreError, match="memory://"):
            claim(SQLiteStore(":memory:"), "x", "a")

    def test_a_file_that_is_deleted_under_it_is_not_written_any_more(self, open_store: Open, id: str) -> None:
        store, other = open_store(FakeClock()), open_store(FakeClock())
        mine = claim(store, id, "a").head
        shutil.rmtree(store.path.parent)
        assert claim(other, id, "b").standing == "new"
        with pytest.raises(StoreError, match="deleted or replaced while an attempt"):
            append(store, mine, 1)
        assert not store.renew(id, "a", 30, until=UNTIL)
        assert not end(store, id, "a")
        assert claim(store, id, "c").standing == "held"

    def test_threads_that_fork_at_once_give_every_lock_back(self, open_store: Open) -> None:
        """The second to fork waits for the first, and what it then locks is its own to give back."""
        store = open_store(FakeClock())

        def second() -> None:
            sqlite._close_before_fork()
            sqlite._go_on_after_fork()

        sqlite._close_before_fork()
        thread = Thread(target=second)
        thread.start()
        thread.join(0.1)
        sqlite._go_on_after_fork()
        thread.join()
        assert not store._lock.locked()

    @pytest.mark.parametrize("trouble", ["a folder", "no folder can be made", "no database"])
    def test_a_path_that_cannot_be_a_database_is_told_at_the_claim(self, tmp_path: Path, trouble: str) -> None:
        path = tmp_path / "here"
        if trouble == "a folder":
            path.mkdir()
        else:
            path.write_text("this is a text, and long enough not to be taken for an empty database " * 20)
        store = SQLiteStore(path / "below" if trouble == "no folder can be made" else path)
        with pytest.raises(StoreError, match="here"):
            claim(store, "x", "a")


class DynamoDBContract(StoreContract):
    server = ""

    @pytest.fixture
    def endpoint(self, request: pytest.FixtureRequest) -> str:
        name: str = request.getfixturevalue(self.server)
        return name

    @pytest.fixture
    def table(self, endpoint: str) -> str:
        return shared_table(endpoint)

    def opened(self, endpoint: str, table: str, clock: FakeClock) -> DynamoDBStore:
        return DynamoDBStore(table, session=SessionAt(endpoint), clock=clock)

    @pytest.fixture
    def open_store(self, endpoint: str, table: str) -> Open:
        return lambda clock: with_known_clock(self.opened(endpoint, table, clock))

    @pytest.fixture
    def open_listing(self, endpoint: str) -> Iterator[Open]:
        table = new_table(endpoint)
        yield lambda clock: with_known_clock(self.opened(endpoint, table, clock))
        client(endpoint).delete_table(TableName=table)

    @pytest.fixture
    def shared_store(self, open_store: Open, clock: FakeClock) -> Store:
        return open_store(clock)

    @pytest.fixture
    def items_of(self, endpoint: str, table: str) -> Callable[[str], dict[str, dict[str, Any]]]:
        """The items of an execution by sort key, as they lie in the table."""

        def items(id: str) -> dict[str, dict[str, Any]]:
            found = client(endpoint).query(
                TableName=table, KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": {"S": id}}
            )
            return {item["sk"]["S"]: item for item in found["Items"]}

        return items

    @pytest.fixture
    def newer_format(self, endpoint: str, table: str) -> Callable[[Store, str], None]:
        def write(store: Store, id: str) -> None:
            client(endpoint).update_item(
                TableName=table,
                Key={"pk": {"S": id}, "sk": {"S": "head"}},
                UpdateExpression="SET v = :v",
                ExpressionAttributeValues={":v": {"N": "99"}},
            )

        return write

    @pytest.mark.parametrize("message", ["x" * 400, "🙂" * 400, "\x00\n" * 200], ids=["plain", "emoji", "control"])
    @pytest.mark.parametrize("text", [20, 2_000])
    def test_the_head_stays_below_4_kilobytes_after_twenty_attempts(
        self, store: Store, items_of: Any, message: str, text: int
    ) -> None:
        id = f"code-reviewer-production/{uuid.uuid4()}"
        event = noise(text * 3 // 4)
        for number in range(20):
            owner = uuid.uuid4().hex[:16]
            claim(
                store, id, owner, event=event, request_id=str(uuid.uuid4()), source="the envelope's detail.metadata.id"
            )
            if number == 19:
                end(store, id, owner, "completed", message, result=noise(text * 3 // 4, 2))
            else:
                end(store, id, owner, "waiting", message)
        assert item_size(items_of(id)["head"]) < 4096
        assert (read(store, id).event, read(store, id).result) == (event, noise(text * 3 // 4, 2))

    def test_every_item_expires_and_segments_a_week_after_their_head(
        self, store: Store, items_of: Any, id: str
    ) -> None:
        with execution(id, store=store) as ex:
            step("small", lambda: 1)
            step("large", noise, 500_000)
            ex.result = noise(500_000)
        items = items_of(f"execution/{id}")
        head = int(items.pop("head")["expires_at"]["N"])
        assert len(items) >= 5
        assert {int(item["expires_at"]["N"]) - head for item in items.values()} <= set(
            range(int(7 * DAY_S) - 2, int(7 * DAY_S) + 2)
        )

    @pytest.mark.parametrize("text", DAMAGED)
    def test_a_segment_that_is_damaged_is_told_by_execution_and_number(
        self, store: Store, endpoint: str, table: str, items_of: Any, id: str, text: str
    ) -> None:
        head = claim(store, id, "a").head
        append(store, head, 1)
        item = items_of(id)[f"journal#{head.generation}#00000001"]
        client(endpoint).put_item(TableName=table, Item=item | {"entries": {"S": text}})
        with pytest.raises(StoreError, match=f"the journal of execution '{id}' is damaged: segment 1 can't be read"):
            load(store, head)

    @pytest.mark.parametrize("damage", [{"attempt": {"S": "one"}}, {"attempts": {"L": [{"S": "no JSON"}]}}])
    def test_a_head_that_is_damaged_is_told_and_not_taken_for_a_new_one(
        self, store: Store, endpoint: str, table: str, items_of: Any, id: str, damage: dict[str, Any]
    ) -> None:
        claim(store, id, "a")
        client(endpoint).put_item(TableName=table, Item=items_of(id)["head"] | damage)
        for look in (lambda: claim(store, id, "b"), lambda: read(store, id)):
            with pytest.raises(StoreError, match=f"the head of execution '{id}' is damaged"):
                look()

    def test_a_damaged_large_segment_is_refused(
        self, store: Store, endpoint: str, table: str, items_of: Any, id: str
    ) -> None:
        head = claim(store, id, "a").head
        append(store, head, 1, entry_of("s", noise(800_000)))
        part = min(sk for sk in items_of(id) if sk.endswith("#0001"))
        client(endpoint).delete_item(TableName=table, Key={"pk": {"S": id}, "sk": {"S": part}})
        with pytest.raises(StoreError, match="damaged"):
            load(store, head)

    def test_a_missing_table_is_told_at_the_claim(self, endpoint: str, clock: FakeClock) -> None:
        KEPT.append(self.opened(endpoint, "no-such-table", clock))
        with pytest.raises(StoreError, match="create_table"):
            claim(KEPT[-1], "x", "a")

    def test_an_attempt_that_lost_its_lease_leaves_nothing_in_memory(
        self, store: DynamoDBStore, id: str, clock: FakeClock
    ) -> None:
        for owner in "abc":
            claim(store, f"{id}-{owner}", owner, event=noise(50_000))
            assert all(head.event is None for head, _ in store._held.values())
            clock.advance(31)
            assert claim(store, f"{id}-{owner}", f"{owner}-rival").standing == "taken over"
            assert end(store, f"{id}-{owner}", f"{owner}-rival")
        assert not store.renew(f"{id}-a", "a", 30, until=UNTIL)
        assert not end(store, f"{id}-b", "b")
        assert set(store._held) == {"c"}


class TestDynamoDBLocal(DynamoDBContract):
    server = "dynamodb_local"


class TestMinistack(DynamoDBContract):
    server = "ministack"
    largest = 900_000


class TestDynamoDBLocalOverTheUsersClient:
    """The same over a boto3 client that the user made: what differs is how answers and bytes come back."""

    @pytest.fixture
    def store(self, dynamodb_local: str) -> DynamoDBStore:
        clock = FakeClock()
        return with_known_clock(DynamoDBStore(shared_table(dynamodb_local), client=client(dynamodb_local), clock=clock))

    def test_a_whole_story_with_large_texts(self, store: DynamoDBStore) -> None:
        id, event, result = uuid.uuid4().hex, noise(2000), noise(600_000)
        head = claim(store, id, "a", event=event).head
        assert claim(store, id, "b").standing == "held"
        assert append(store, head, 1, entry_of("s", result))
        assert append(store, head, 1, entry_of("s", result))
        assert not append(store, head, 1, owner="b")
        assert append(store, head, 2, entry_of("t", '"' + "ab" * 2000 + '"'))
        assert store.renew(id, "a", 30.0, until=UNTIL)
        assert [one.entries[0].payload for one in load(store, head)] == [result, '"' + "ab" * 2000 + '"']
        assert end(store, id, "a", "completed", result=result)
        assert claim(store, id, "c").head.result == result
        assert read(store, id).event == event

    def test_a_missing_table_is_told_at_the_claim(self, dynamodb_local: str) -> None:
        with pytest.raises(StoreError, match="create_table"):
            claim(DynamoDBStore("no-such-table", client=client(dynamodb_local)), "x", "a")


def append_until(store: Store, head: Head, until: float) -> bool:
    return store.append(segment(head, 1), until=until)
