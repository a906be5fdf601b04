"""Bad input: a clear error, at once, that says what to do next."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durably import (
    DurablyError,
    DynamoDBStore,
    MemoryStore,
    NoIdentity,
    NotSerializable,
    Retry,
    SQLiteStore,
    StoreError,
    aio,
    durable,
    execution,
    fan_out,
    once,
    step,
)

from .clocks import Context
from .servers import client

pytest_plugins = ["tests.stores_for_tests"]

BAD: Any = (TypeError, ValueError, DurablyError)


@pytest.fixture
def inside() -> Callable[[Callable[[], Any]], Any]:
    """Run a body as an execution on a store of its own."""

    def run(body: Callable[[], Any]) -> Any:
        with execution("x", store=MemoryStore()):
            return body()

    return run


Inside = Callable[[Callable[[], Any]], Any]


def on(store: Any, **options: Any) -> Callable[..., Any]:
    @durable(store=store, name="f", id=lambda event, context: "1", **options)
    def handler(event: Any, context: Any) -> str:
        return step("a", lambda: "done")

    return handler


# ---- stores


@pytest.mark.parametrize(
    "url",
    [
        "postgres://x",
        "dynamodb",
        "dynamodb://",
        "sqlite://",
        "sqlite:///",
        "memory",
        "nonsense",
        "DynamoDB table",
        "redis://h/0",
    ],
)
def test_an_unknown_store_url_is_shown_the_known_ones(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        on(url)({}, None)
    text = str(caught.value)
    assert url in text
    for known in ("dynamodb://", "sqlite:///", "memory://"):
        assert known in text


def test_an_unknown_url_in_the_environment_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLY_STORE", "mysql://x")
    with pytest.raises(StoreError, match="DURABLY_STORE"):
        on(None)({}, None)


@pytest.mark.parametrize("store", [42, object, ["dynamodb://x"]], ids=["int", "class", "list"])
def test_what_is_no_store_is_told_so(store: Any) -> None:
    with pytest.raises(BAD, match="store"):
        on(store)({}, None)


def test_in_lambda_a_missing_durably_store_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    monkeypatch.delenv("DURABLY_STORE", raising=False)
    handler = on(None)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    with pytest.raises(StoreError) as caught:
        handler({}, Context(30))
    assert "DURABLY_STORE=dynamodb://" in str(caught.value)


def test_on_a_laptop_the_default_is_a_file_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DURABLY_STORE", raising=False)
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert on(None)({}, None) == "done"
    assert (tmp_path / ".durably" / "durably.db").exists()


def test_a_missing_table_is_named_before_any_step(dynamodb_local: str) -> None:
    ran: list[int] = []

    @durable(store=DynamoDBStore("nobody-made-this", client=client(dynamodb_local)), id=lambda event, context: "1")
    def handler(event: Any, context: Any) -> None:
        ran.append(1)

    with pytest.raises(StoreError) as caught:
        handler({}, Context(30))
    assert "nobody-made-this" in str(caught.value)
    assert "create_table" in str(caught.value)
    assert ran == []


def test_what_is_missing_to_make_a_table_is_said(tmp_path: Path) -> None:
    """Without boto3, and without a region: in processes of their own, for neither can be taken away from this one."""
    made = "from durably import DynamoDBStore; DynamoDBStore('t').create_table()"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    alone = {**kept, "HOME": str(tmp_path), "AWS_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true"}
    for code, told in (
        (f"import sys; sys.modules['boto3'] = sys.modules['botocore'] = None; {made}", "durably[dynamodb]"),
        (made, "You must specify a region"),
    ):
        done = subprocess.run([sys.executable, "-c", code], env=alone, capture_output=True, text=True, timeout=60)
        assert "durably.errors.StoreError" in done.stderr.splitlines()[-1], done.stderr
        assert told in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "keys",
    [
        [("id", "S", "HASH")],
        [("pk", "S", "HASH")],
        [("pk", "S", "HASH"), ("sk", "N", "RANGE")],
        [("pk", "N", "HASH"), ("sk", "S", "RANGE")],
    ],
    ids=["id", "pk only", "sk is a number", "pk is a number"],
)
def test_a_table_with_other_keys_is_told_so_before_any_step(
    dynamodb_local: str, keys: list[tuple[str, str, str]]
) -> None:
    import uuid

    boto_client = client(dynamodb_local)
    name = f"other-keys-{uuid.uuid4().hex[:8]}"
    boto_client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key, kind, _ in keys],
        KeySchema=[{"AttributeName": key, "KeyType": role} for key, _, role in keys],
    )
    ran: list[int] = []

    @durable(store=DynamoDBStore(name, client=boto_client), id=lambda event, context: "1")
    def handler(event: Any, context: Any) -> None:
        ran.append(1)

    with pytest.raises(StoreError) as caught:
        handler({}, Context(30))
    text = str(caught.value)
    assert name in text
    assert "pk" in text
    assert "sk" in text
    assert ran == []


def test_a_file_that_is_no_database_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "durably.db"
    path.write_text("this is a text file, not a database, and it is long enough to be read as a header" * 20)
    with pytest.raises(StoreError, match=r"durably\.db"):
        on(SQLiteStore(path))({}, None)


def test_a_folder_that_cannot_be_written_is_told_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreError, match="file"):
        on(SQLiteStore(blocked / "durably.db"))({}, None)


def test_a_database_of_someone_elses_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE heads (something TEXT)")
        connection.execute("CREATE TABLE segments (something TEXT)")
        connection.commit()
    # Either the tables are ours alone by name, and the file is shared in peace, or it is refused by its own.
    with contextlib.suppress(StoreError):
        assert on(SQLiteStore(path))({}, None) == "done"


# ---- decorators


def test_durable_on_an_async_function_is_refused_at_decoration() -> None:
    with pytest.raises(TypeError, match=r"durably\.aio"):

        @durable
        async def handler(event: Any, context: Any) -> None: ...


def test_durable_on_a_generator_function_is_refused_at_decoration() -> None:
    with pytest.raises(TypeError, match="generator"):

        @durable
        def handler(event: Any, context: Any) -> Any:
            yield 1

    with pytest.raises(TypeError):

        @durable(store="memory://")
        async def other(event: Any, context: Any) -> Any:
            yield 1


@pytest.mark.parametrize("option", ["lease", "expires", "wait", "reserve"])
def test_a_duration_that_is_no_timedelta_is_refused(option: str) -> None:
    with pytest.raises(BAD, match="timedelta"):
        on(MemoryStore(), **{option: 30})({}, None)


@pytest.mark.parametrize("lease", [timedelta(0), timedelta(seconds=-1)], ids=str)
def test_a_lease_of_no_time_is_refused(lease: timedelta) -> None:
    with pytest.raises(BAD, match="lease"):
        on(MemoryStore(), lease=lease)({}, None)


def test_an_unknown_keyword_of_durable_is_refused() -> None:
    with pytest.raises(TypeError, match="retries"):
        durable(retries=3)  # type: ignore[call-overload]


def test_durable_on_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError):
        durable("reviewer")  # type: ignore[call-overload]


def test_durable_twice_is_told_or_harmless() -> None:
    """Stacked by mistake: the inner one would find the outer's lease on its own execution."""
    handler = on(MemoryStore())
    try:
        twice = durable(store=MemoryStore(), name="outer", id=lambda event, context: "2")(handler)
    except BAD:
        return
    assert twice({}, None) == "done"


def test_a_handler_that_takes_no_context_is_called_as_it_was_called() -> None:
    @durable(store=MemoryStore(), name="f", id=lambda event, context: "1")
    def handler(event: Any) -> str:
        return f"{event}"

    assert handler("e") == "e"
    with pytest.raises(TypeError):
        on(MemoryStore())()


def test_an_event_without_identity_lists_what_was_looked_for() -> None:
    @durable(store=MemoryStore())
    def handler(event: Any, context: Any) -> None: ...

    for event in ({}, {"id": ""}, {"detail": {"metadata": {}}}, [], "text", None, 5):
        with pytest.raises(NoIdentity) as caught:
            handler(event, None)
        assert "detail.metadata.id" in str(caught.value)
        assert "@durable(id=" in str(caught.value)


def test_an_id_function_that_raises_says_so_by_itself() -> None:
    with pytest.raises(KeyError, match="order"):

        @durable(store=MemoryStore(), id=lambda event, context: event["order"])
        def handler(event: Any, context: Any) -> None: ...

        handler({}, None)


# ---- steps


@pytest.mark.parametrize("name", [None, 7, b"a", ("a",), print], ids=["None", "int", "bytes", "tuple", "function"])
def test_a_step_name_that_is_no_string_is_refused(inside: Inside, name: Any) -> None:
    ran: list[int] = []
    with pytest.raises(TypeError, match="name"):
        inside(lambda: step(name, lambda: ran.append(1)))
    assert ran == []


def test_an_empty_step_name_is_refused(inside: Inside) -> None:
    with pytest.raises(BAD, match="name"):
        inside(lambda: step("", lambda: 1))


@pytest.mark.parametrize("unit", ["x", "é"])
def test_a_step_name_of_1_kb_is_refused_with_its_size(inside: Inside, unit: str) -> None:
    ran: list[int] = []
    with pytest.raises(BAD) as caught:
        inside(lambda: step(unit * 1024, lambda: ran.append(1)))
    assert "name" in str(caught.value)
    assert "bytes" in str(caught.value) or "characters" in str(caught.value)
    assert len(str(caught.value)) < 600, "the name itself must not flood the log"
    assert ran == []


def test_an_items_key_of_1_kb_is_refused_before_any_item_runs(inside: Inside) -> None:
    ran: list[Any] = []
    with pytest.raises(BAD, match=r"name|key"):
        inside(lambda: fan_out("n", ran.append, ["a", "x" * 1024]))
    assert ran == []


def test_odd_step_names_are_names_like_any_other() -> None:
    store = MemoryStore()
    ran: list[str] = []
    names = ["a b", "a\nb", "a\tb", "é", "'", '"', "a/b:c#d", "{x}", "%s", "\x00", "head", "journal#1"]
    for _ in range(2):
        with execution("x", store=store):
            for name in names:
                step(name, lambda name=name: ran.append(name))
    assert ran == names


async def coroutine_function(*args: Any) -> int:
    return 1


def test_a_step_with_an_async_function_in_sync_code_is_refused(inside: Inside) -> None:
    for fn in (coroutine_function, functools.partial(coroutine_function, 1), asyncio.sleep):
        with pytest.raises(TypeError, match=r"durably\.aio") as caught:
            inside(lambda fn=fn: step("fetch", fn))
        assert "'fetch'" in str(caught.value)


def test_a_step_whose_function_returns_a_coroutine_is_refused_without_a_warning(inside: Inside) -> None:
    with pytest.raises(BAD, match="fetch") as caught:
        inside(lambda: step("fetch", lambda: coroutine_function()))
    assert "await" in str(caught.value) or "durably.aio" in str(caught.value) or "coroutine" in str(caught.value)


def test_a_fan_out_with_an_async_function_is_refused(inside: Inside) -> None:
    with pytest.raises(TypeError, match=r"durably\.aio"):
        inside(lambda: fan_out("n", coroutine_function, [1, 2]))


def test_the_step_decorator_on_an_async_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r"durably\.aio"):

        @step
        async def fetch() -> None: ...

        fetch()  # type: ignore[unused-coroutine]


@pytest.mark.parametrize("fn", [None, 7, "fn"], ids=repr)
def test_a_step_without_a_function_shows_how_it_is_written(inside: Inside, fn: Any) -> None:
    with pytest.raises(TypeError, match="step"):
        inside(lambda: step("a", fn))


def test_a_step_whose_function_was_called_already_is_told(inside: Inside) -> None:
    """`step("a", effect())`: the commonest slip; what it returned is no function."""
    with pytest.raises(TypeError, match="'a'"):
        inside(lambda: step("a", {"result": 1}))  # type: ignore[call-overload]


def test_keywords_meant_for_the_function_are_pointed_to_partial(inside: Inside) -> None:
    ran: list[Any] = []
    with pytest.raises(TypeError) as caught:
        inside(lambda: step("a", ran.append, body="x"))  # type: ignore[call-overload]
    assert "body" in str(caught.value)
    assert "partial" in str(caught.value) or "lambda" in str(caught.value)
    assert ran == []


@pytest.mark.parametrize(
    "options",
    [
        {"retry": 3},
        {"reserve": 5},
        {"recover": "find"},
        {"recover": True},
        {"repeatable": True, "at_most_once": True},
        {"repeatable": True, "recover": dict},
    ],
    ids=repr,
)
def test_options_that_make_no_sense_are_refused_before_the_step_runs(inside: Inside, options: dict[str, Any]) -> None:
    ran: list[int] = []
    with pytest.raises(BAD) as caught:
        inside(lambda: step("a", lambda: ran.append(1), **options))
    assert any(name in str(caught.value) for name in options)
    assert ran == []


def test_a_recover_that_is_async_is_refused(inside: Inside) -> None:
    with pytest.raises(TypeError, match=r"recover|aio"):
        inside(lambda: step("a", lambda: 1, recover=coroutine_function))


def test_retry_without_on_is_refused() -> None:
    with pytest.raises(TypeError, match="on"):
        Retry(3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": "3"},
        {"on": "OSError"},
        {"on": [OSError]},
        {"on": OSError()},
        {"delay": 5},
        {"delay": timedelta(seconds=-1)},
        {"max_delay": 5},
        {"factor": "2"},
    ],
    ids=repr,
)
def test_a_retry_that_makes_no_sense_is_refused_when_it_is_made(wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"attempts": 3, "on": OSError} | wrong
    with pytest.raises(BAD) as caught:
        Retry(arguments.pop("attempts"), **arguments)
    assert next(iter(wrong)) in str(caught.value)


def test_items_without_a_key_are_shown_how_to_give_one(inside: Inside) -> None:
    ran: list[Any] = []
    for items in ([{"id": 1}], [(1, 2)], [1.5], [None], [True], [b"x"]):
        with pytest.raises(TypeError) as caught:
            inside(lambda items=items: fan_out("thread", ran.append, items))
        assert "key=" in str(caught.value)
        assert "'thread'" in str(caught.value)
    assert ran == []


def test_a_key_function_that_gives_no_text_is_told(inside: Inside) -> None:
    for odd in (None, 1.5, ("a",), object()):
        with pytest.raises(TypeError, match="key"):
            inside(lambda odd=odd: fan_out("thread", print, [1], key=lambda item: odd))


@pytest.mark.parametrize("workers", [0, -1, "4", None, 1.5], ids=repr)
def test_a_fan_out_without_workers_is_refused(inside: Inside, workers: Any) -> None:
    with pytest.raises(BAD, match="workers"):
        inside(lambda: fan_out("n", str, [1], workers=workers))


def test_a_fan_out_over_what_is_no_list_is_refused(inside: Inside) -> None:
    with pytest.raises(TypeError):
        inside(lambda: fan_out("n", str, 5))  # type: ignore[call-overload]


def test_a_fan_out_takes_any_iterable_once(inside: Inside) -> None:
    assert inside(lambda: fan_out("n", lambda n: n * 2, (n for n in [1, 2]))) == [2, 4]


def test_a_format_that_names_no_argument_is_refused() -> None:
    with pytest.raises(Exception, match="path"):

        @step.named("thread/{path}")
        def thread(line: int) -> None: ...

        with execution("x", store=MemoryStore()):
            thread(3)


def test_step_named_without_a_name_is_refused() -> None:
    """`@step.named` with nothing behind it: the function would stand where the name belongs."""
    with pytest.raises(TypeError):
        step.named()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="name"):
        step.named(print)  # type: ignore[arg-type]


def test_step_called_like_a_decorator_with_a_name_points_to_named(inside: Inside) -> None:
    with pytest.raises(TypeError, match=r"named|fn"):
        inside(lambda: step("fetch"))  # type: ignore[call-overload]


# ---- once and execution


@pytest.mark.parametrize("id", [None, 7, "", b"x"], ids=repr)
def test_an_id_that_is_no_text_is_refused(id: Any) -> None:
    ran: list[int] = []
    with pytest.raises(BAD, match="id"):
        once(id, lambda: ran.append(1), store=MemoryStore())
    with pytest.raises(BAD, match="id"), execution(id, store=MemoryStore()):
        ran.append(1)
    assert ran == []


def test_once_with_an_async_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r"durably\.aio"):
        once("k", coroutine_function, store=MemoryStore())


def test_a_block_cannot_be_entered_twice_at_once() -> None:
    block = execution("x", store=MemoryStore())
    with block, pytest.raises(DurablyError), block:
        pass


def test_a_step_with_unencodable_text_in_its_name_is_told_or_kept() -> None:
    store = MemoryStore()
    ran: list[int] = []
    with contextlib.suppress(*BAD):
        for _ in range(2):
            with execution("x", store=store):
                step("\ud800", lambda: ran.append(1))
    assert len(ran) <= 1


def test_errors_of_bad_input_leave_no_execution_behind() -> None:
    """Wrong before the claim: nothing was written, and the corrected code runs as new."""
    store = MemoryStore()
    with pytest.raises(BAD):
        on(store, lease=30)({}, None)
    assert on(store)({}, None) == "done"


def test_a_handler_run_with_warnings_as_errors_says_nothing() -> None:
    code = (
        "from durably import durable, step\n"
        "@durable(store='memory://', name='f', id=lambda e, c: '1')\n"
        "def handler(event, context):\n"
        "    return step('a', lambda: 1)\n"
        "assert handler({}, None) == 1\n"
    )
    import os

    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


class Spelled:
    """A codec of the user's own, by what it makes of JSON."""

    def __init__(self, spell: Callable[[str], Any]) -> None:
        self.spell = spell

    def encode(self, value: object) -> str:
        text: str = self.spell(json.dumps(value))
        return text

    def decode(self, text: str, returns: object = None) -> object:
        return json.loads(text)


@pytest.mark.parametrize(
    ("spell", "told"),
    [
        (lambda text: text + "\n", "a newline"),
        (lambda text: "\t" + text, "a tab"),
        (lambda text: text + "\ud800", "a lone surrogate"),
        (str.encode, "gave bytes and not str"),
    ],
)
def test_a_codec_whose_text_would_break_the_journal_is_told_so_and_the_journal_stays_readable(
    spell: Callable[[str], Any], told: str, tmp_path: Path
) -> None:
    store, ran = SQLiteStore(tmp_path / "d.db"), []
    for _ in range(2):
        with (
            pytest.raises(NotSerializable, match=f"step .a.*codec= Spelled.*{told}"),
            execution("x", store=store, codec=Spelled(spell)),
        ):
            step("a", ran.append, 1, record_args=True)
    assert ran == [1]


def generator_function(*args: Any) -> Any:
    yield from args


async def async_generator_function(*args: Any) -> Any:
    yield args


def test_a_generator_function_is_refused_before_it_becomes_a_steps_outcome(inside: Inside) -> None:
    """Its body has not run, so "the effect has happened" would be a lie that only an operator could mend."""
    with pytest.raises(TypeError, match="would not run inside"):
        inside(lambda: step("pages", generator_function, 1))
    with pytest.raises(TypeError, match="would not run inside"):
        inside(lambda: fan_out("pages", generator_function, [1]))
    with pytest.raises(TypeError, match="would not run inside"):
        step(generator_function)


@pytest.mark.parametrize("fn", [generator_function, async_generator_function])
async def test_a_generator_function_is_refused_in_async_code_too(fn: Any) -> None:
    with pytest.raises(TypeError, match="would not run inside"):
        await aio.step("pages", fn, 1)
    with pytest.raises(TypeError, match="would not run inside"):
        await aio.fan_out("pages", fn, [1])


@pytest.mark.parametrize("option", ["lease", "expires", "wait", "reserve"])
@pytest.mark.parametrize("block", [execution, aio.execution])
def test_a_duration_of_a_block_that_is_a_number_is_refused(option: str, block: Any) -> None:
    with pytest.raises(TypeError, match=r"durations are timedelta"):
        block("order-1", store=MemoryStore(), **{option: 30})


def test_a_block_whose_lease_lasts_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="a lease lasts some time"):
        execution("order-1", store=MemoryStore(), lease=timedelta(0))
