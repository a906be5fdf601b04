"""`durably invoke`: what it prints, its exit codes, and that Ctrl-C leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.fixture
def run(tmp_path):
    """`run("app.handler", …)` in a folder of its own; with `event=` as `--event`."""

    def invoke(*arguments, event=None):
        if event is not None:
            (tmp_path / "event.json").write_text(json.dumps(event))
            arguments = (*arguments, "--event", "event.json")
        return subprocess.run(command(*arguments), cwd=tmp_path, capture_output=True, text=True, timeout=50)

    return invoke


def command(*arguments):
    return [sys.executable, "-m", "durably.cli", "invoke", "--code", str(TESTS), "--time-scale", "1000", *arguments]


def living_in(group):
    """The processes of a group that live on for seconds; the dead may wait for init to take them away."""
    until = time.monotonic() + 5
    while (living := members(group)) and time.monotonic() < until:
        time.sleep(0.01)
    return living


def members(group):
    living = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                living.append(stat.parent.name)
    return living


@pytest.mark.parametrize("command", ["invoke", "dev"])
@pytest.mark.parametrize(
    ("is_there", "told"), [(False, "awslambdaric is missing"), (True, "awslambdaric is older than version 4")]
)
def test_without_lambdas_runtime_client_it_says_what_to_install(tmp_path, command, is_there, told) -> None:
    if is_there:
        (tmp_path / "awslambdaric").mkdir()
        (tmp_path / "awslambdaric" / "__init__.py").touch()  # as before version 4, without lambda_config
    hidden = (
        "import sys; sys.path[:] = [place for place in sys.path if not place.startswith(sys.prefix + '/lib')] "
        f"+ [{str(tmp_path)!r}]; from durably.cli import main; main()"
    )
    loaded = "import click, rich.live, rich.table, rich.text, rich.console, rich.progress, durably.cli.app; "
    done = subprocess.run(
        [sys.executable, "-c", loaded + hidden, command, "app.handler"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 1, done.stderr
    assert f"Error: {told}" in done.stderr
    assert "pip install 'durably[local]'" in done.stderr


def test_the_result_is_on_stdout_and_the_attempts_on_stderr(run, tmp_path) -> None:
    done = run("local_durable.handler", event={"id": "e", "file": str(tmp_path / "effects")})
    assert (done.returncode, json.loads(done.stdout)) == (0, "done")
    told = [line.split(" ", 2)[2] for line in done.stderr.splitlines()]
    assert told[:2] == ["attempt 1 cold start", "attempt 1 execution plain/e"]
    assert told[2].startswith("attempt 1 first  ran ")
    assert told[-1].startswith("attempt 1 returned after ")


def test_a_crash_and_what_came_of_it(run, tmp_path) -> None:
    event = {"id": "e", "file": str(tmp_path / "effects")}
    done = run("local_durable.recovering", "--crash", "after:second", event=event)
    assert (done.returncode, json.loads(done.stdout)) == (0, "done")
    for line in (
        "attempt 1 second  stopped on purpose",
        "attempt 1 killed after",
        "attempt 1 the next attempt in 60 s (0.1 s here)",
        "attempt 2 first  replayed",
        "attempt 2 second  recovered",
        "attempt 2 the event is done",
    ):
        assert line in done.stderr
    assert (tmp_path / "effects").read_text().split() == ["first", "second"]


def test_json_is_one_document_a_line_the_last_of_them_the_result(run, tmp_path) -> None:
    done = run("local_durable.handler", "--json", event={"id": "e", "file": str(tmp_path / "effects")})
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["what"] == "Begins"
    assert [line["step"] for line in lines if line["what"] == "StepEnded"][:2] == ["first", "second"]
    assert (lines[-1]["what"], lines[-1]["how"], lines[-1]["payload"]) == ("Result", "returned", "done")


def test_the_store_is_the_one_that_the_other_commands_open(run, tmp_path) -> None:
    run("local_durable.handler", event={"id": "e", "file": str(tmp_path / "effects")})
    listed = subprocess.run(
        [sys.executable, "-m", "durably.cli", "ls"], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert "plain/e" in listed.stdout


def test_a_function_error_is_exit_code_1_and_nobody_retries_a_call(run) -> None:
    done = run("local_app.fail", event={})
    assert (done.returncode, json.loads(done.stdout)["errorType"]) == (1, "ValueError")
    assert "attempt 2" not in done.stderr


def test_an_event_given_up_names_its_records(run) -> None:
    done = run("local_app.fail", "--async", event={})
    assert done.returncode == 1
    assert "given up, RetriesExhausted" in done.stderr
    assert "on-failure" in done.stderr


def test_a_place_that_was_never_reached_is_said(run, tmp_path) -> None:
    event = {"id": "e", "file": str(tmp_path / "effects")}
    done = run("local_durable.handler", "--crash", "after:thrid", event=event)
    assert done.returncode == 1
    assert "no attempt came by after:thrid" in done.stderr
    assert "Its steps were: first, item[a], item[b], second." in done.stderr


def test_each_place_has_to_be_reached(run, tmp_path) -> None:
    event = {"id": "e", "file": str(tmp_path / "effects")}
    done = run(
        "local_durable.handler",
        "--crash",
        "after:first",
        "--crash",
        "after:second@3",
        "--crash",
        "before:item",
        event=event,
    )
    assert done.returncode == 1
    assert "no attempt came by after:second@3, before:item, so nothing" in done.stderr


def test_a_place_that_was_never_reached_by_a_queues_messages_is_said(run, tmp_path) -> None:
    (tmp_path / "messages.jsonl").write_text("{}\n")
    done = run("local_app.batch", "--sqs", "messages.jsonl", "--crash", "after:thrid")
    assert (done.returncode, done.stdout) == (1, "1 messages done, 0 dead letters, 1 invocations\n")
    assert "no attempt came by after:thrid" in done.stderr


def test_a_plain_handler_has_no_step_to_crash_at(run) -> None:
    assert "It had no step at all." in run("local_app.echo", "--crash", "before:x", event={}).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--crash", "here"), "write before:STEP or after:STEP"),
        (("--zombie", "there:x"), "write before:STEP or after:STEP"),
        (("--kill-at", "soon"), "is no duration"),
        (("--env", "NAME"), "write NAME=VALUE"),
        (("--time-scale", "0"), "not in the range"),
        (("--timeout", "0s"), "ends every invocation before it begins"),
        (("--sqs", os.devnull, "--visibility", "1s"), "--visibility is shorter than --timeout (1 s, 3 s)"),
        (("--sqs", os.devnull, "--duplicate", "--async"), "leave out --async, --duplicate"),
        (("--sqs", os.devnull, "--event", os.devnull), "leave out --event"),
    ],
)
def test_nonsense_is_refused(run, arguments, said) -> None:
    done = run("local_app.echo", *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_a_zombie_at_a_step(run, tmp_path) -> None:
    event = {"id": "e", "file": str(tmp_path / "effects")}
    done = run("local_durable.handler", "--zombie", "after:first", event=event)
    assert done.returncode == 0
    assert "attempt 1 zombie raised in the end" in done.stderr
    assert "LeaseLost" in done.stderr


def test_what_a_function_writes_can_not_steer_the_terminal(run, tmp_path) -> None:
    (tmp_path / "hostile.py").write_text(
        "def handler(event, context): print('\\x1b[2J\\u202egone'); return '\\x1b[2J'\n"
    )
    done = run("hostile.handler", "--code", str(tmp_path))
    assert "\x1b" not in done.stderr + done.stdout
    assert "\u202e" not in done.stderr


def test_a_queues_messages(run, tmp_path) -> None:
    (tmp_path / "messages.jsonl").write_text('{"body": "{}"}\n{"after": 2}\n\n{"after": 9}\n')
    done = run("local_app.batch", "--sqs", "messages.jsonl")
    assert (done.returncode, done.stdout) == (1, "2 messages done, 1 dead letters, 3 invocations\n")
    assert len(list((tmp_path / ".durably" / "dead-letters" / "batch").iterdir())) == 1


def test_a_message_attribute_that_is_none_is_said(run, tmp_path) -> None:
    (tmp_path / "messages.jsonl").write_text('{"body": "{}", "messageAttributes": {"kind": "greeting"}}\n')
    done = run("local_app.batch", "--sqs", "messages.jsonl")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: messageAttributes are written as SQS takes them")


def test_each_record_of_a_batch_is_told_by_itself(run, tmp_path) -> None:
    (tmp_path / "records.py").write_text(
        "import time\n"
        "from durably import durable, step\n"
        "@durable(name='order')\n"
        "def one(record):\n"
        "    step('charge', lambda: None)\n"
        "    if record['body'] == 'bad': raise ValueError('bad order')\n"
        "    time.sleep(0.2)\n"
        "def handler(event, context):\n"
        "    failed = []\n"
        "    for record in event['Records']:\n"
        "        try: one(record)\n"
        "        except Exception: failed.append({'itemIdentifier': record['messageId']})\n"
        "    return {'batchItemFailures': failed}\n"
    )
    (tmp_path / "messages.jsonl").write_text("good\nbad\n")
    done = run("records.handler", "--code", str(tmp_path), "--sqs", "messages.jsonl", "--max-receives", "1")
    took = [float(found) for found in re.findall(r"charge  ran (\d+) ms", done.stderr)]
    assert len(took) == 2, done.stderr
    assert max(took) < 200, "the second record's step was timed from the first's"
    assert re.search(r"execution order/\S+ failed: ValueError: bad order\n", done.stderr)


def test_the_live_picture_on_a_terminal(tmp_path) -> None:
    import pty

    (tmp_path / "event.json").write_text(json.dumps({"id": "e", "file": str(tmp_path / "effects")}))
    ours, theirs = pty.openpty()
    arguments = ("local_durable.handler", "--crash", "after:second", "--event", "event.json")
    process = subprocess.Popen(
        command(*arguments), cwd=tmp_path, stderr=theirs, stdout=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # at its end
        while chunk := os.read(ours, 65536):
            seen += chunk
    os.close(ours)
    assert process.wait(20) == 0
    for part in ("attempt 1", "killed", "cold start", "○", "replayed", "attempt 2", "returned"):
        assert part in seen.decode()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_nothing_behind(tmp_path, number, code) -> None:
    (tmp_path / "event.json").write_text(json.dumps({"file": str(tmp_path / "child")}))
    arguments = ("local_app.parent", "--timeout", "60s", "--event", "event.json", "--async")
    process = subprocess.Popen(command(*arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    child = tmp_path / "child"
    while not child.exists() or not child.read_text():
        assert process.poll() is None
        time.sleep(0.01)
    group = os.getpgid(int(child.read_text()))
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == code
    assert living_in(group) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["child", "event.json"]
