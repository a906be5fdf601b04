"""The acting commands as people run them: real processes, a real table, a Lambda that delivers, a debugger in a terminal."""

from __future__ import annotations

import http.server
import json
import os
import pty
import re
import select
import shlex
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from durably import DynamoDBStore

from .servers import AWS_ENVIRONMENT, client

HERE = Path(__file__).parent
DURABLY = str(Path(sys.executable).with_name("durably"))
EVENT = {"id": "evt-1", "detail-type": "order", "source": "shop", "detail": {"order": "o-7"}}


class Desk:
    """A terminal with a store, and the production that writes to it."""

    def __init__(self, folder: Path, url: str, endpoint: str | None) -> None:
        self.folder = folder
        self.effects = folder / "effects"
        self.effects.touch()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DURABLY_"))},
            **AWS_ENVIRONMENT,
            **({"AWS_ENDPOINT_URL_DYNAMODB": endpoint} if endpoint else {}),
            "DURABLY_STORE": url,
            "EFFECTS": str(self.effects),
            "PYTHONPATH": str(HERE),
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "TZ": "UTC",
        }

    def run(self, *arguments: str, text: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [DURABLY, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=50,
        )

    def json(self, *arguments: str, code: int = 0, **environment: str) -> Any:
        run = self.run(*arguments, "--json", **environment)
        assert run.returncode == code, run.stdout + run.stderr
        return json.loads(run.stdout)

    def deliver(self, event: dict[str, Any] = EVENT, **environment: str) -> subprocess.CompletedProcess[str]:
        """Production: one invocation of the handler in a process of its own."""
        program = "import json, sys, replay_app; print(json.dumps(replay_app.handler(json.load(sys.stdin), None)))"
        return subprocess.run(
            [sys.executable, "-c", program],
            env=self.environment | environment,
            input=json.dumps(event),
            capture_output=True,
            text=True,
            timeout=50,
        )

    def charged(self) -> int:
        return len(self.effects.read_text().splitlines())


@pytest.fixture(params=["sqlite", "dynamodb"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    if request.param == "sqlite":
        yield Desk(tmp_path, f"sqlite:///{tmp_path}/d.db", None)
        return
    endpoint, name = request.getfixturevalue("dynamodb_local"), f"desk-{uuid.uuid4().hex[:8]}"
    DynamoDBStore(name, client=client(endpoint)).create_table()
    yield Desk(tmp_path, f"dynamodb://{name}", endpoint)
    client(endpoint).delete_table(TableName=name)


@pytest.fixture
def local_lambda(desk: Desk) -> Iterator[str]:
    """What `--endpoint-url` names: takes asynchronous invocations of `orders`, and delivers them with a higher limit."""

    class Invocations(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = self.rfile.read(int(self.headers["Content-Length"]))
            found = self.path == "/2015-03-31/functions/orders/invocations"
            assert self.headers["X-Amz-Invocation-Type"] == "Event"
            if found:
                desk.deliver(json.loads(payload), LIMIT="1000")
            body = b"" if found else b'{"Message":"Function not found"}'
            self.send_response(202 if found else 404)
            if not found:
                self.send_header("x-amzn-ErrorType", "ResourceNotFoundException")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Invocations)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def items(desk: Desk) -> Any:
    """Everything that the store holds."""
    if "AWS_ENDPOINT_URL_DYNAMODB" in desk.environment:
        name = desk.environment["DURABLY_STORE"].removeprefix("dynamodb://")
        return sorted(client(desk.environment["AWS_ENDPOINT_URL_DYNAMODB"]).scan(TableName=name)["Items"], key=str)
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(desk.folder / "d.db")) as database:
        return [database.execute(f"SELECT * FROM {table}").fetchall() for table in ("executions", "journal")]


# ---- replay


def test_a_production_failure_is_reproduced_at_the_desk_and_nothing_is_written(desk: Desk) -> None:
    assert "the bank refuses 180 for o-7" in desk.deliver().stderr
    before, charged = items(desk), desk.charged()
    dry = desk.run("replay", "evt-1", "replay_app.handler")
    assert dry.returncode == 0, dry.stderr
    assert "stopped before step 'charge'" in dry.stdout
    assert re.search(r"replay_app\.py:\d+, in handler", dry.stdout)
    assert "it raised ValueError: the bank refuses 180 for o-7" in dry.stdout
    assert desk.charged() == charged
    live = desk.run("replay", "evt-1", "replay_app.handler", "--live")
    assert live.returncode == 1
    assert "ValueError: the bank refuses 180 for o-7" in live.stdout
    assert "in charge" in live.stdout
    assert desk.charged() == charged + 1
    mended = desk.json("replay", "evt-1", "replay_app.handler", "--live", LIMIT="1000")
    assert (mended["result"], mended["ran"], mended["answered"]) == (
        {"receipt": "paid 180"},
        ["charge"],
        ["fetch", "price"],
    )
    assert items(desk) == before


def test_a_replay_stands_in_the_debugger_where_the_handler_stopped(desk: Desk) -> None:
    desk.deliver()
    before = items(desk)
    told = in_a_terminal(desk, ["replay", "evt-1", "replay_app.handler", "--pdb"], ["p total, order", "up", "q"])
    assert "stopped before step 'charge'" in told
    assert "(180, {'number': 'o-7', 'lines': [90, 90]})" in told
    told = in_a_terminal(desk, ["replay", "evt-1", "replay_app.handler", "--live", "--pdb"], ["p limit, total", "q"])
    assert "(100, 180)" in told
    assert items(desk) == before


def test_a_handler_that_is_not_there_is_said(desk: Desk) -> None:
    desk.deliver()
    for name, match in (
        ("nowhere.handler", "No module named 'nowhere'"),
        ("replay_app.other", "has no 'other'"),
        ("handler", "module.handler"),
        ("replay_app.charge", "no function under @durable"),
    ):
        run = desk.run("replay", "evt-1", name)
        assert run.returncode == 1
        assert match in run.stderr


# ---- redrive


def test_redrive_invokes_the_function_with_the_stored_event(desk: Desk, local_lambda: str) -> None:
    desk.deliver()
    dry = desk.json("redrive", "evt-1", "--endpoint-url", local_lambda, "--dry-run")
    assert (dry["dry_run"], [one["id"] for one in dry["executions"]]) == (True, ["orders/evt-1"])
    assert desk.charged() == 1
    run = desk.run("redrive", "evt-1", "--endpoint-url", local_lambda)
    assert (run.returncode, run.stdout.strip()) == (0, "redriven  orders/evt-1")
    assert desk.charged() == 2
    assert json.loads(desk.run("ls", "--json").stdout)["executions"][0]["status"] == "completed"
    again = desk.run("redrive", "evt-1", "--endpoint-url", local_lambda)
    assert again.returncode == 1
    assert "completed" in again.stderr


def test_all_that_failed_are_redriven_and_a_refusal_stops_nothing(desk: Desk, local_lambda: str) -> None:
    for number in range(3):
        desk.deliver({**EVENT, "id": f"evt-{number}"})
    stuck = ["redrive", "--failed", "--stuck", "0ms", "--since", "1d", "--endpoint-url", local_lambda]
    assert [one["id"] for one in desk.json(*stuck, "--dry-run")["executions"]] == [
        "orders/evt-2",
        "orders/evt-1",
        "orders/evt-0",
    ]
    assert desk.json("redrive", "--failed", "--dry-run")["executions"] == []
    wrong = desk.run(*stuck, "--function", "nowhere")
    assert wrong.returncode == 1
    assert wrong.stdout.count("there is no function 'nowhere'") == 3
    assert desk.charged() == 3
    run = desk.run(*stuck)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("redriven  orders/evt-") == 3
    assert desk.charged() == 6
    assert desk.json(*stuck)["executions"] == []


def test_a_dry_run_tells_what_would_be_refused(desk: Desk) -> None:
    desk.deliver({**EVENT, "id": "evt-0"}, LIMIT="1000")
    desk.deliver()
    done, failed = (desk.run("redrive", f"evt-{number}", "--dry-run") for number in (0, 1))
    assert (done.returncode, failed.returncode) == (1, 0)
    assert done.stdout.startswith("refused   orders/evt-0: execution 'orders/evt-0' is completed")
    assert failed.stdout == "would be redriven  orders/evt-1\n"


def test_events_that_can_not_be_sent_leave_the_rest_to_be_found_again(desk: Desk, local_lambda: str) -> None:
    for number in range(3):
        desk.deliver({**EVENT, "id": f"evt-{number}"}, FATAL="1")
    failed = ["redrive", "--failed", "--since", "1d"]
    assert len(desk.json(*failed, "--dry-run")["executions"]) == 3
    wrong = desk.json(*failed, "--endpoint-url", local_lambda, "--function", "nowhere", code=1)["executions"]
    assert ["is open and waits" in one["error"] for one in wrong] == [True, False, False]
    assert all("there is no function 'nowhere'" in one["error"] for one in wrong)
    again = desk.json(*failed, "--endpoint-url", local_lambda)["executions"]
    assert [one["id"] for one in again] == ["orders/evt-1", "orders/evt-0"]


def test_a_command_to_copy_is_one_word_an_id_whatever_a_sender_put_into_it(desk: Desk) -> None:
    desk.deliver({**EVENT, "id": "x';touch owned;'"})
    run = desk.run("fork", desk.json("ls")["executions"][0]["id"], "--from", "charge")
    (command,) = re.findall(r"^next +(.+)$", run.stdout, re.MULTILINE)
    assert shlex.split(command)[:2] == ["durably", "redrive"]
    assert len(shlex.split(command)) == 3
    assert desk.json("show", shlex.split(command)[2])["status"] == "waiting"


# ---- fork, resolve, cancel


def test_a_fork_is_made_and_redriven(desk: Desk, local_lambda: str, tmp_path: Path) -> None:
    desk.deliver()
    forked = desk.json("fork", "evt-1", "--from", "charge", "--outcome", "price=50")
    assert (forked["kept"], forked["edited"], forked["status"]) == (["fetch"], ["price"], "waiting")
    desk.run("redrive", forked["id"], "--endpoint-url", local_lambda)
    assert "charge 50" in desk.effects.read_text()
    event = tmp_path / "event.json"
    event.write_text(json.dumps({**EVENT, "detail": {"order": "o-8"}}))
    run = desk.run("fork", "orders/evt-1", "--from", "fetch", "--event", str(event))
    assert run.returncode == 0, run.stderr
    (new,) = re.findall(r"forked  (\S+)", run.stdout)
    assert f"durably redrive '{new}'" in run.stdout
    for arguments, match in (
        (["--from", "nope"], "no step 'nope'"),
        (["--from", "charge", "--outcome", "price"], "STEP=JSON"),
        (["--from", "charge", "--outcome", "price={nope"], "STEP=JSON"),
    ):
        run = desk.run("fork", "orders/evt-1", *arguments)
        assert run.returncode != 0
        assert match in run.stderr


def test_a_step_is_resolved_and_an_execution_cancelled(desk: Desk, local_lambda: str) -> None:
    desk.deliver()
    assert desk.run("resolve", "evt-1", "charge").returncode == 2
    told = desk.json("resolve", "evt-1", "charge", "--result", '"paid by invoice"')
    assert (told["id"], told["status"], told["step"]) == ("orders/evt-1", "waiting", "charge")
    assert json.loads(desk.deliver().stdout) == {"receipt": "paid by invoice"}
    desk.deliver({**EVENT, "id": "evt-2"})
    assert desk.json("cancel", "evt-2")["status"] == "cancelled"
    assert "was cancelled" in desk.deliver({**EVENT, "id": "evt-2"}, LIMIT="1000").stderr
    again = desk.run("cancel", "evt-2")
    assert (again.returncode, again.stdout) == (1, "")
    assert "cancelled already" in again.stderr
    assert desk.run("redrive", "evt-2", "--endpoint-url", local_lambda).returncode == 0
    assert desk.charged() == 3


# ---- purge, export, import


def test_purge_asks_and_deletes_what_is_old_and_finished(desk: Desk) -> None:
    desk.deliver({**EVENT, "id": "done"}, LIMIT="1000")
    desk.deliver({**EVENT, "id": "waits"})
    assert desk.json("purge", "--older", "90d", "--dry-run") == {"dry_run": True, "found": {}, "deleted": 0}
    assert desk.json("purge", "--older", "0ms", "--dry-run")["found"] == {"completed": 1}
    refused = desk.run("purge", "--older", "0ms", text="n\n")
    assert refused.returncode == 1
    assert "delivered again within 14 days" in refused.stderr
    assert len(desk.json("ls")["executions"]) == 2
    run = desk.run("purge", "--older", "0ms", text="y\n")
    assert run.returncode == 0, run.stderr
    assert "1 deleted" in run.stdout
    assert [one["id"] for one in desk.json("ls")["executions"]] == ["orders/waits"]
    told = desk.json("purge", "--older", "0ms", "--unfinished", "--yes")
    assert told == {"dry_run": False, "found": {"waiting": 1}, "deleted": 1}
    assert all(not rows for rows in items(desk))


def test_an_export_comes_back_whole_and_overwrites_nothing(desk: Desk, tmp_path: Path) -> None:
    desk.deliver()
    desk.deliver({**EVENT, "id": "evt-2"}, LIMIT="1000")
    whole = desk.run("export")
    assert whole.stderr.strip() == "2 executions exported"
    file = tmp_path / "all.jsonl"
    assert desk.run("export", "-o", str(file), "--since", "1d").returncode == 0
    assert sorted(file.read_text().splitlines()) == sorted(whole.stdout.splitlines())
    there = desk.run("import", str(file))
    assert there.returncode == 1
    assert there.stderr.count("refused") == 2
    elsewhere = ["--store", f"sqlite:///{tmp_path}/other/copy.db"]
    assert desk.json("import", str(file), *elsewhere) == {"imported": ["orders/evt-2", "orders/evt-1"], "refused": []}
    first, second = (desk.json("show", "evt-1", *store)["steps"] for store in ([], elsewhere))
    assert first == second
    copy = Desk(tmp_path, elsewhere[1], None)
    assert json.loads(copy.deliver(LIMIT="1000").stdout) == {"receipt": "paid 180"}
    assert json.loads(copy.deliver({**EVENT, "id": "evt-2"}).stdout) == {"receipt": "paid 180"}
    file.write_text(file.read_text()[:-40])
    broken = desk.run("import", str(file), "--store", f"sqlite:///{tmp_path}/third.db")
    assert broken.returncode == 1
    assert "line 2: it is no line of an export" in broken.stderr


def in_a_terminal(desk: Desk, arguments: list[str], typed: list[str]) -> str:
    """What a terminal shows of the command: each line is typed when the debugger asks."""
    here, there = pty.openpty()
    process = subprocess.Popen(
        [DURABLY, *arguments], cwd=desk.folder, env=desk.environment, stdin=there, stdout=there, stderr=there
    )
    os.close(there)
    told, prompts, give_up = "", 0, time.monotonic() + 40
    try:
        while time.monotonic() < give_up:
            if not select.select([here], [], [], 1)[0]:
                continue
            try:
                told += os.read(here, 65536).decode()
            except OSError:  # the terminal is closed
                break
            if told.count("(Pdb) ") > prompts and prompts < len(typed):
                os.write(here, f"{typed[prompts]}\n".encode())
                prompts += 1
    finally:
        process.kill()
        process.wait()
        os.close(here)
    assert prompts == len(typed), told
    return told


def test_the_commands_help_names_their_options(desk: Desk) -> None:
    wanted: dict[str, Callable[[str], bool]] = {
        "redrive": lambda text: all(one in text for one in ("--failed", "--since", "--dry-run", "--endpoint-url")),
        "fork": lambda text: all(one in text for one in ("--from", "--event", "--outcome")),
        "replay": lambda text: "--live" in text and "--pdb" in text,
        "purge": lambda text: "--older" in text and "--yes" in text,
    }
    for command, has in wanted.items():
        assert has(desk.run(command, "--help").stdout), command
