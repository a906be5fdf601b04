"""The commands that show: run as a person runs them, in a terminal of a given size, and as a program does, with --json."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durably import NOT_DONE, DynamoDBStore, Fatal, Retry, SQLiteStore, execution, fan_out, step
from durably.entries import Claim, Ending
from durably.stores.protocol import Store

from .servers import AWS_ENVIRONMENT, client

FOREVER = 1e12
HOSTILE = "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>\u202egnp.exe\r\n[bold red]x[/] :bomb:"


class Boom(Exception):
    pass


class Refused(Fatal):
    pass


class Place:
    """A store as a test opens it, and as a command is told it."""

    def __init__(self, store: Store, url: str, environment: dict[str, str]) -> None:
        self.store = store
        self.url = url
        self.environment = {**os.environ, **AWS_ENVIRONMENT, **environment, "DURABLY_STORE": url, "TZ": "UTC"}
        self.environment.pop("DURABLY_NAMESPACE", None)


@pytest.fixture(params=["sqlite", "dynamodb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        path = tmp_path / "durably.db"
        return Place(SQLiteStore(path), f"sqlite:///{path}", {})
    endpoint = request.getfixturevalue("dynamodb_local")
    name = f"cli-{uuid.uuid4().hex[:8]}"
    store = DynamoDBStore(name, client=client(endpoint))
    store.create_table()
    return Place(store, f"dynamodb://{name}", {"AWS_ENDPOINT_URL_DYNAMODB": endpoint})


def start(place: Place, *words: str, columns: int = 100, lines: int = 40) -> tuple[subprocess.Popen[bytes], int]:
    """The command in a terminal of that size; what it writes is read from the descriptor."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {name: value for name, value in place.environment.items() if name not in ("COLUMNS", "LINES")}
    running = subprocess.Popen(
        [sys.executable, "-m", "durably.cli", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    return running, ours


def read_until(descriptor: int, wanted: str | None, seconds: float = 30) -> str:
    """What came out so far, up to and with the wanted text, or to the end."""
    raw, give_up = b"", time.monotonic() + seconds
    while time.monotonic() < give_up:
        if not select.select([descriptor], [], [], 0.2)[0]:
            continue
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # Linux says so when the other side is closed
            part = b""
        raw += part
        if not part or (wanted is not None and wanted in raw.decode(errors="replace")):
            return raw.decode()
    raise AssertionError(f"{wanted!r} never came: {raw.decode(errors='replace')}")


def seen(place: Place, *words: str, columns: int = 100) -> str:
    """What a person sees of a command that ends well, without its colours."""
    running, descriptor = start(place, *words, columns=columns)
    try:
        text = read_until(descriptor, None)
        assert running.wait(10) == 0, text
    finally:
        os.close(descriptor)
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r\n", "\n")


def run(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    """The command as a program runs it."""
    command = [sys.executable, "-m", "durably.cli", *words]
    return subprocess.run(command, env=place.environment, capture_output=True, text=True, timeout=60)


def data(place: Place, *words: str) -> Any:
    done = run(place, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def boom() -> None:
    raise Boom("no route to host")


def make_waiting(store: Store, id: str = "waits") -> None:
    with pytest.raises(Boom), execution(id, store=store):
        step("fetch", lambda: {"lines": 3})
        fan_out("thread", lambda n: n, list(range(30)))
        step("charge", boom, retry=Retry(3, on=Boom, delay=_none()), recover=lambda: NOT_DONE)


def _none() -> Any:
    from datetime import timedelta

    return timedelta(0)


def make_all_kinds(store: Store) -> None:
    with execution("done", store=store) as ex:
        ex.result = step("only", lambda: 1)
    make_waiting(store)
    with pytest.raises(Refused), execution("refused", store=store):
        raise Refused("no")


def test_ls_lists_newest_first_and_filters(place: Place) -> None:
    make_all_kinds(place.store)
    lines = seen(place, "ls").splitlines()
    assert lines[0].split() == ["state", "attempt", "began", "took", "id"]
    assert [(line.split()[0], line.split()[-1]) for line in lines[1:4]] == [
        ("failed", "execution/refused"),
        ("waiting", "execution/waits"),
        ("completed", "execution/done"),
    ]
    assert lines[4] == "3 executions"
    for words, wanted in (
        (["--status", "failed"], ["execution/refused"]),
        (["--text", "WAI"], ["execution/waits"]),
        (["--since", "1h", "--limit", "1"], ["execution/refused"]),
        (["--since", "2999-01-01"], []),
        (["--function", "nobody"], []),
        (["--before", "execution/waits"], ["execution/done"]),
        (["--before", "waits", "--stuck", "1h30m"], ["execution/done"]),
    ):
        assert [row["id"] for row in data(place, "ls", *words)["executions"]] == wanted, words


@pytest.mark.parametrize("columns", [70, 80, 100])
def test_ls_shows_a_long_id_whole_and_every_state(place: Place, columns: int) -> None:
    id = f"pay/POST,abc123.lambda-url.eu-west-1.on.aws,/orders/{'0123456789' * 5},idempotency-key=k-1"
    place.store.claim(Claim(id, "o", "g", 30.0, "f", "f"), until=FOREVER)
    lines = seen(place, "ls", columns=columns).splitlines()
    assert max(map(len, lines)) <= columns
    assert re.match(r"running +1  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  .* pay/POST", lines[1])
    assert id in "".join(line.split()[-1] for line in lines[1:-1])
    assert lines[-1] == "1 execution"
    assert run(place, "ls").stdout.splitlines()[1].split()[-1] == id


def test_many_executions_in_pages(place: Place) -> None:
    for number in range(230):
        owner = f"o-{number}"
        place.store.claim(Claim(f"f/{number:03}", owner, "g", 30.0, "f", "f"), until=FOREVER)
        place.store.end(f"f/{number:03}", owner, Ending("completed", "completed", "1"), until=FOREVER)
    found: list[str] = []
    before: list[str] = []
    for _ in range(3):
        page = data(place, "ls", "--limit", "100", *before)
        found += [row["id"] for row in page["executions"]]
        before = ["--before", page["next"] or ""]
    assert found == [f"f/{n:03}" for n in reversed(range(230))]
    assert page["next"] is None
    assert "more below: --before f/220" in seen(place, "ls", "--limit", "10")


LONG = "reviewer/github-delivery/0f7c1c9e-9d3b-4c53-8d5e-6f0a8e4b7d21-attempt-of-the-second-worker"


@pytest.mark.parametrize(
    ("columns", "columns_shown"),
    [
        (40, ["state", "id"]),
        (60, ["state", "began", "id"]),
        (80, ["state", "attempt", "began", "took", "id"]),
        (160, ["state", "attempt", "began", "took", "function", "id"]),
    ],
)
def test_a_long_id_takes_no_room_from_states_and_times(place: Place, columns: int, columns_shown: list[str]) -> None:
    place.store.claim(Claim(LONG, "o", "g", 30.0, "reviewer", "f"), until=FOREVER)
    place.store.end(LONG, "o", Ending("completed", "completed", "1"), until=FOREVER)
    lines = seen(place, "ls", columns=columns).splitlines()
    assert lines[0].split() == columns_shown
    assert max(len(line) for line in lines) <= columns
    assert lines[1].startswith("completed ")
    assert "reviewer/gith" in lines[1]
    if "began" in columns_shown:
        assert re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", lines[1])


def test_ls_in_a_pipe_has_whole_ids(place: Place) -> None:
    for id in (LONG, LONG + "/2"):
        place.store.claim(Claim(id, "o", "g", 30.0, "reviewer", "f"), until=FOREVER)
    lines = run(place, "ls", "--limit", "1").stdout.splitlines()
    assert lines[1].split()[-1] == f"{LONG}/2"
    assert lines[2] == f"1 execution, more below: --before {LONG}/2"


def test_an_output_of_another_encoding_shows_what_it_can(place: Place) -> None:
    place.environment["PYTHONIOENCODING"] = "ascii"
    make_waiting(place.store)
    for words in (["ls"], ["show", "waits"], ["cost", "waits"], ["tail", "--once", "--since", "1d"]):
        done = run(place, *words)
        assert (done.returncode, done.stderr) == (0, ""), words


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_show_fits_the_terminal(place: Place, columns: int) -> None:
    make_waiting(place.store)
    text = seen(place, "show", "waits", columns=columns)
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= columns
    assert lines[0] == "execution/waits  waiting"
    joined = " ".join(text.split())
    assert (
        "stopped at step `charge`, attempt 1, 31 of 32 known steps done, Boom: no route to host; next: the trigger's retry, or "
        "`durably redrive execution/waits`" in joined
    )
    assert any(line.split()[:1] == ["thread"] and "×30" in line for line in lines)
    assert any(line.split()[:1] == ["charge"] and "3 tries" in line and "Boom" in line for line in lines)
    assert "█" in text
    assert "in boom" in joined


def test_show_of_a_really_killed_attempt_and_of_the_one_that_went_on(place: Place, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(
        "import os, signal, sys\n"
        "from datetime import timedelta\n"
        "from durably import NOT_DONE, execution, step\n"
        "def die():\n"
        "    if sys.argv[1] == 'die': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return 'sent'\n"
        "with execution('order', lease=timedelta(seconds=1.2)) as ex:\n"
        "    step('fetch', lambda: 1)\n"
        "    ex.result = step('send', die, recover=lambda: NOT_DONE)\n"
    )
    first = subprocess.run([sys.executable, str(app), "die"], env=place.environment, timeout=60)
    assert first.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while data(place, "show", "order")["state"] == "running":
        assert time.monotonic() < deadline
    text = seen(place, "show", "order")
    assert "killed at step `send`, attempt 1, 1 of 2 known steps done" in text
    assert "killed: it left no end" in text
    assert re.search(r"send +▒", text)
    assert subprocess.run([sys.executable, str(app), "live"], env=place.environment, timeout=60).returncode == 0
    text = seen(place, "show", "order")
    assert re.search(r"fetch +○ +replayed", text)
    whole = data(place, "show", "order")
    assert [(a["number"], a["killed"], a["how"], a["steps"]) for a in whole["attempts"]] == [
        (1, True, "", ["fetch", "send"]),
        (2, False, "completed", ["send"]),
    ]
    assert "completed in " in whole["headline"]


def test_show_of_one_step_tells_what_went_in_and_came_out(place: Place) -> None:
    with execution("1", store=place.store):
        step("pay", lambda card: {"id": "ch_1"}, "4242", record_args=True)
    text = seen(place, "show", "execution/1", "--step", "pay")
    one = data(place, "show", "execution/1", "--step", "pay")
    assert one["arguments"] == ["4242"]
    assert one["result"] == {"id": "ch_1"}
    assert one["idempotency_key"] in text
    assert '["4242"]' in text


def test_the_json_of_an_execution_has_the_documented_fields(place: Place) -> None:
    make_waiting(place.store)
    whole = data(place, "show", "waits")
    documented = (Path(__file__).parent.parent / "docs" / "history.md").read_text()
    assert {name for name in _names(whole) if f"`{name}`" not in documented} == set()
    listed = data(place, "ls")
    cost = data(place, "cost", "waits")
    events = [json.loads(line) for line in run(place, "tail", "--once", "--since", "1h", "--json").stdout.splitlines()]
    assert {name for name in _names([listed, cost, events]) if f"`{name}`" not in documented} == set()
    assert whole["steps"][-1]["error"]["class"] == "Boom"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", whole["began"])


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            yield from _names(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            if name not in ("result", "arguments", "event"):
                yield from _names(one)


def test_the_exports_are_what_they_say(place: Place) -> None:
    make_waiting(place.store)
    assert run(place, "show", "waits", "--mermaid").stdout.startswith("flowchart TD\n")
    assert json.loads(run(place, "show", "waits", "--trace").stdout)["traceEvents"]
    assert run(place, "show", "waits", "--html").stdout.startswith("<!doctype html>")


def test_no_stored_text_reaches_the_terminal_as_a_command(place: Place) -> None:
    def fail() -> None:
        raise Boom(HOSTILE)

    with pytest.raises(Boom), execution(f"pr {HOSTILE}", store=place.store):
        step(f"title {HOSTILE}", lambda given: HOSTILE, HOSTILE, record_args=True)
        step("fails", fail)
    id = data(place, "ls")["executions"][0]["id"]
    for words in (
        ["ls"],
        ["show", id],
        ["show", id, "--step", f"title {HOSTILE}"],
        ["tail", "--once", "--since", "1h"],
    ):
        text = seen(place, *words, columns=200)
        assert not set("\x1b\x07\r\u202e") & set(text), words
        assert "[bold red]x[/] :bomb:" in text or words == ["ls"], words
    failing = run(place, "show", f"nope {HOSTILE}")
    assert not {"\x1b", "\x07", "\u202e"} & set(failing.stderr)
    for words in (["ls"], ["show", id]):
        assert run(place, *words, "--json").stdout.isascii()


def test_an_error_is_one_line_and_exit_code_1(place: Place) -> None:
    place.store.read("x", until=FOREVER)
    done = run(place, "show", "nope")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "no execution 'nope'" in done.stderr


def test_what_a_newer_durably_wrote_is_said_and_hides_no_other_execution(tmp_path: Path) -> None:
    path = tmp_path / "durably.db"
    place = Place(SQLiteStore(path), f"sqlite:///{path}", {})
    make_all_kinds(place.store)
    newer = "json_set(head, '$.format', 99) WHERE id = 'execution/waits'"
    suspended = 'entries || char(10) || \'{"suspended":"x","attempt":1}\' WHERE execution = \'execution/waits\''
    with sqlite3.connect(path) as database:
        database.execute(f"UPDATE executions SET head = {newer}")
        database.execute(f"UPDATE journal SET entries = {suspended}")
    database.close()
    for words in (["show"], ["cost"], ["export"], ["tail", "--once"], ["fork", "--from", "charge"], ["cancel"]):
        done = run(place, words[0], "execution/waits", *words[1:])
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), words
        assert "written by a newer durably (journal format 99" in done.stderr, words
    told = run(place, "tail", "--once", "--since", "1d")
    assert (told.returncode, told.stderr) == (0, "")
    assert "execution/done" in told.stdout
    assert len(data(place, "ls")["executions"]) == 3


def test_a_part_of_an_id_is_enough_when_it_is_one_execution_s(place: Place) -> None:
    for id in ("order-17", "order-18"):
        with execution(id, store=place.store):
            pass
    assert data(place, "show", "17")["id"] == "execution/order-17"
    assert data(place, "show", "execution/order-18")["id"] == "execution/order-18"
    several = run(place, "show", "execution/order")
    assert several.returncode == 1
    assert "a part of 2 ids: execution/order-18, execution/order-17" in several.stderr


def test_a_sqlite_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    place = Place(SQLiteStore(path), f"sqlite:///{path}", {})
    done = run(place, "ls")
    assert done.returncode == 1
    assert "there is no SQLite file" in done.stderr
    assert not path.exists()


def test_a_table_that_is_not_there_is_one_line(dynamodb_local: str) -> None:
    environment = {"AWS_ENDPOINT_URL_DYNAMODB": dynamodb_local}
    store = DynamoDBStore("not-there", client=client(dynamodb_local))
    done = run(Place(store, "dynamodb://not-there", environment), "ls")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "not-there" in done.stderr


def test_cost_compares(place: Place) -> None:
    make_waiting(place.store)
    text = seen(place, "cost", "waits")
    assert re.search(r"so far +\d+ +\d+ +\d+ +\$0\.0", text)
    assert "Step Functions, standard" in text
    found = data(place, "cost", "waits")
    assert found["elsewhere"]["step_functions"]["transitions"] == 1 + 30 + 3 + 1
    assert found["elsewhere"]["step_functions"]["dollars"] > found["dollars"]


def test_tail_tells_what_a_running_execution_does_as_it_happens(place: Place, tmp_path: Path) -> None:
    place.store.read("x", until=FOREVER)
    app = tmp_path / "app.py"
    app.write_text(
        "import sys\n"
        "from durably import execution, step\n"
        "with execution('live') as ex:\n"
        "    step('one', lambda: 1)\n"
        "    sys.stdin.readline()\n"
        "    step('two', lambda: 2)\n"
    )
    command = [sys.executable, "-m", "durably.cli", "tail", "--json", "--every", "100ms", "--since", "1h"]
    tail = subprocess.Popen(command, env=place.environment, stdout=subprocess.PIPE, text=True)
    running = subprocess.Popen([sys.executable, str(app)], env=place.environment, stdin=subprocess.PIPE, text=True)
    assert tail.stdout is not None
    try:
        told = [_event(tail.stdout.readline()) for _ in range(2)]
        assert told == [("attempt began", None), ("step done", "one")]  # while the second step has not begun
        assert "running after step `one`" in data(place, "show", "live")["headline"]
        running.communicate("\n", timeout=30)
        told = [_event(tail.stdout.readline()) for _ in range(2)]
        assert told == [("step done", "two"), ("attempt ended", None)]
        tail.send_signal(signal.SIGINT)
        assert tail.wait(10) == 0
        assert tail.stdout.read() == ""
    finally:
        for one in (tail, running):
            one.kill()
            one.wait()
        tail.stdout.close()


def _event(line: str) -> tuple[str, str | None]:
    event = json.loads(line)
    assert event["execution"] == "execution/live"
    return event["event"], event["step"]


def test_watch_keeps_the_list_current_and_leaves_the_screen_as_it_was(place: Place) -> None:
    make_waiting(place.store)
    running, descriptor = start(place, "ls", "--watch", columns=100, lines=12)
    try:
        assert "execution/waits" in read_until(descriptor, "execution/waits")
        with execution("later", store=place.store):
            pass
        read_until(descriptor, "execution/later")
        os.killpg(running.pid, signal.SIGINT)
        rest = read_until(descriptor, None)
        assert "\x1b[?1049l" in rest  # back from the alternate screen
        assert running.wait(10) == 0
    finally:
        running.kill()
        running.wait()
        os.close(descriptor)


def test_watch_is_refused_where_there_is_no_terminal(place: Place) -> None:
    place.store.read("x", until=FOREVER)
    done = run(place, "ls", "--watch")
    assert done.returncode == 1
    assert "tail --json" in done.stderr


@pytest.mark.parametrize("wrong", [["--since", "soon"], ["--stuck", "6 parsecs"], ["--limit", "0"]])
def test_a_wrong_option_is_told_with_what_is_right(place: Place, wrong: list[str]) -> None:
    place.store.read("x", until=FOREVER)
    done = run(place, "ls", *wrong)
    assert done.returncode == 2
    assert wrong[0] in done.stderr
