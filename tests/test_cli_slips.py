"""What is typed wrong at the command line is said in one line, and changes nothing."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from durably import SQLiteStore, durable, step
from durably.cli.app import durably as cli

from .servers import AWS_ENVIRONMENT
from .stores_for_tests import FOREVER

SAYS = """
from durably import durable, step
from dataclasses import dataclass

@dataclass
class Card:
    token: str

@durable(name="f", id=lambda event, context: event["id"])
def handler(event, context):
    print("the handler talks")
    step("first", lambda: 1)
    return {"token": "s3cr3t", "pin": "1234"}

@durable(name="f", id=lambda event, context: event["id"])
def card(event, context) -> Card:
    return Card("s3cr3t")

card.__wrapped__.__qualname__ = "handler"
"""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with one execution that waits, and a folder with its handler's module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "says.py").write_text(SAYS)
    (tmp_path / "broken.py").write_text("x = 1\ndef handler(:\n")
    monkeypatch.delitem(sys.modules, "says", raising=False)

    @durable(name="f", id=lambda event, context: event["id"], store=SQLiteStore(tmp_path / "d.db"))
    def handler(event: Any, context: Any) -> None:
        step("first", lambda: 1, redact="pin")
        step("second", _fails)

    handler.__wrapped__.__qualname__ = "handler"  # type: ignore[attr-defined]
    with pytest.raises(ValueError):
        handler({"id": "evt-1"}, None)
    return f"sqlite:///{tmp_path}/d.db"


def _fails() -> None:
    raise ValueError("no")


def run(url: str, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--store", url], input=stdin)


@pytest.mark.parametrize("id", ["", "  ", "1", "-1", "t-1"])
@pytest.mark.parametrize(
    "command",
    [
        ["cancel"],
        ["resolve", "--run-again", "--"],
        ["redrive", "--dry-run"],
        ["fork", "--from", "second"],
    ],
)
def test_no_id_and_a_short_part_of_one_act_on_nothing(url: str, command: list[str], id: str) -> None:
    rest = ["second"] if command[0] == "resolve" else []
    store = ["--store", url]
    done = CliRunner().invoke(
        cli, [command[0], *store, *command[1:], *(["--"] if "--" not in command else []), id, *rest]
    )
    assert (done.exit_code, "Traceback" in done.output) == (1, False), done.output
    assert ("is empty" in done.output) or ("too short a part" in done.output)
    (head,) = SQLiteStore(url.removeprefix("sqlite:///")).newest(9, until=FOREVER)
    assert (head.id, head.status) == ("f/evt-1", "waiting")


def test_a_part_that_is_long_enough_is_acted_upon_and_the_whole_id_is_said(url: str) -> None:
    assert run(url, "cancel", "vt-1").output.strip() == "cancelled  f/evt-1"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["ls", "--stuck", "99999999999999999d"], 2, "is no duration"),
        (["ls", "--since", "99999999999999999d"], 2, "is no time"),
        (["ls", "--since", "9" * 400 + "d"], 2, "is no time"),
        (["resolve", "evt-1", "second", "--result", "[" * 100_000], 1, "is no JSON"),
        (["resolve", "evt-1", "second", "--result", "[" * 400 + "]" * 400], 1, "levels deep"),
        (["fork", "evt-1", "--from", "second", "--outcome", "second=" + "[" * 100_000], 2, "STEP=JSON"),
        (["fork", "evt-1", "--from", "second", "--outcome", "second=" + "[" * 400 + "]" * 400], 1, "levels deep"),
        (["replay", "evt-1", ".says.handler"], 1, "names no handler"),
        (["replay", "evt-1", "says..handler"], 1, "No module named"),
        (["replay", "evt-1", ":handler"], 1, "names no handler"),
        (["replay", "evt-1", "broken.handler"], 1, "broken.py:2"),
    ],
)
def test_a_slip_is_one_line(url: str, arguments: list[str], code: int, told: str) -> None:
    done = run(url, *arguments)
    assert (done.exit_code, told in done.output) == (code, True), done.output
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.parametrize("event", ["null", "[]", "5", '"text"', "[" * 400 + "]" * 400])
def test_an_event_that_is_no_event_is_said(url: str, event: str) -> None:
    done = run(url, "fork", "evt-1", "--from", "second", "--event", "-", "--event-id", "evt-2", stdin=event)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    if event == "null" or event.startswith("[["):
        assert done.exit_code == 1
        assert ("is null" in done.output) or ("levels deep" in done.output)
    else:
        head = SQLiteStore(url.removeprefix("sqlite:///")).read("f/evt-2", until=FOREVER)
        assert head is not None
        assert head.event == event


def test_a_replays_json_is_json_and_shows_no_hidden_value(url: str) -> None:
    done = CliRunner().invoke(
        cli, ["replay", "evt-1", "says.handler", "--json", "--store", f"{url}?redact=token"], catch_exceptions=False
    )
    told = json.loads(done.stdout)
    assert "the handler talks" in done.stderr
    assert told["result"] == {"token": "•••", "pin": "•••"}, "a step's own redact= hides too"
    shown = run(f"{url}?redact=token", "replay", "evt-1", "says.handler").output
    assert "returned" in shown
    assert "s3cr3t" not in shown


def test_a_result_of_a_class_of_ones_own_is_hidden_too(url: str) -> None:
    @durable(name="not:lambda", id=lambda event, context: event["id"], store=url)
    def handler(event: Any, context: Any) -> None:
        raise ValueError

    handler.__wrapped__.__qualname__ = "handler"  # type: ignore[attr-defined]
    with pytest.raises(ValueError):
        handler({"id": "evt-9"}, None)
    assert "s3cr3t" in run(url, "replay", "evt-9", "says.card", "--json").output
    for flag in ([], ["--json"]):
        done = run(f"{url}?redact=token", "replay", "evt-9", "says.card", *flag)
        assert "•••" in done.output or "\\u2022" in done.output
        assert "s3cr3t" not in done.output


def test_a_store_that_fails_half_way_leaves_the_list_of_what_was_redriven(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @durable(name="f", id=lambda event, context: event["id"], store=SQLiteStore(tmp_path / "d.db"))
    def handler(event: Any, context: Any) -> None:
        step("second", _fails)

    for number in (2, 3):
        with pytest.raises(ValueError):
            handler({"id": f"evt-{number}"}, None)

    class Invocations(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Takes the event, and the store's file is no database from then on."""
            self.rfile.read(int(self.headers["Content-Length"]))
            (tmp_path / "new").write_text("no database " * 500)
            (tmp_path / "new").replace(tmp_path / "d.db")
            (tmp_path / "d.db-wal").unlink()
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    for name, value in AWS_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with http.server.HTTPServer(("127.0.0.1", 0), Invocations) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        there = f"http://127.0.0.1:{server.server_address[1]}"
        done = run(url, "redrive", "--failed", "--stuck", "0ms", "--json", "--endpoint-url", there)
        server.shutdown()
    assert done.exit_code == 1, done.output
    told = [(one["id"], one["error"]) for one in json.loads(done.stdout)["executions"]]
    assert told[0] == ("f/evt-3", None)
    assert [id for id, _ in told] == ["f/evt-3", "f/evt-2", "f/evt-1"]
    assert "can't be used" in told[1][1]
    assert told[2][1].startswith("left as it is")
