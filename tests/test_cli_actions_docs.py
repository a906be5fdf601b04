"""docs/operations.md is true: each command it shows is run, in its order, and says what the page says it says."""

from __future__ import annotations

import http.server
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from .servers import AWS_ENVIRONMENT

PAGE = Path(__file__).parent.parent / "docs" / "operations.md"
SOURCE = PAGE.parent.parent / "src" / "durably"
DURABLY = Path(sys.executable).with_name("durably")

DELIVER = """
import json, os, sys, orders
event, how = json.load(sys.stdin), sys.argv[1]
if how != "broken":
    orders.LIMIT = 1000
if how == "killed":
    orders.mail = lambda receipt: os._exit(9)
orders.handler(event, None)
"""


class Production:
    """A folder with the page's handler, a store, and a Lambda that has the mended one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert code is not None
        (folder / "orders.py").write_text(code[1])
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DURABLY_"))},
            **AWS_ENVIRONMENT,
            "DURABLY_STORE": "sqlite:///durably.db",
            "PYTHONPATH": str(folder),
            "PATH": f"{DURABLY.parent}:/usr/bin:/bin",
            "COLUMNS": "110",
            "NO_COLOR": "1",
            "TZ": "UTC",
        }

    def deliver(self, id: str, how: str) -> None:
        event = {"id": id, "detail-type": "order", "source": "shop", "detail": {"order": "o-7"}}
        self.send(json.dumps(event), how)

    def send(self, event: str, how: str) -> None:
        command = [sys.executable, "-c", DELIVER, how]
        subprocess.run(command, cwd=self.folder, env=self.environment, input=event.encode(), capture_output=True)

    def run(self, command: str) -> str:
        run = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=50,
        )
        return run.stdout

    def let_leases_run_out(self) -> None:
        with closing(sqlite3.connect(self.folder / "durably.db")) as database, database:
            database.execute(
                "UPDATE executions SET head = json_set(head, '$.lease_until', 1.0) WHERE status = 'running'"
            )


@pytest.fixture
def production(tmp_path: Path) -> Iterator[Production]:
    yield from producing(tmp_path)


def producing(folder: Path) -> Iterator[Production]:
    """What the page begins with: one execution that failed, one that was interrupted, one more that failed."""
    production = Production(folder)

    class Lambda(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            production.send(self.rfile.read(int(self.headers["Content-Length"])).decode(), "mended")
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lambda)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    production.environment["AWS_ENDPOINT_URL_LAMBDA"] = f"http://127.0.0.1:{server.server_address[1]}"
    production.deliver("evt-1", "broken")
    production.deliver("evt-2", "killed")
    production.let_leases_run_out()
    production.deliver("evt-2", "mended")
    production.deliver("evt-3", "broken")
    yield production
    server.shutdown()
    server.server_close()


def blocks(text: str) -> list[list[tuple[str, str]]]:
    """Each console block as (command, output) pairs."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
        found.append(list(zip(parts[1::2], parts[2::2], strict=True)))
    return found


def shown(text: str, folder: Path) -> str:
    """An output with the folders of an ordinary machine."""
    return text.replace(str(folder), "/work/orders").replace(str(SOURCE), "/work/.venv/lib/durably")


def plain(text: str, folder: Path) -> str:
    """What stays of an output when times, lengths, random ids, and the bars drawn by them are left out."""
    text = shown(text, folder).partition("\nattempt 1 ")[0]  # below stand bars, as wide as steps were long
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"fork-[0-9a-f]{6}", "fork-ID", text)
    text = re.sub(r"[+]?\b\d+(\.\d+)?( (ms|s|µs|min|GB|MB))", "N", text)
    text = re.sub(r"\+\d+|[█▒▓○·…]+", "", text)
    return re.sub(r"\s+", " ", text).strip()


def test_every_command_of_the_page_says_what_the_page_shows(production: Production) -> None:
    pairs = [pair for block in blocks(PAGE.read_text()) for pair in block]
    assert len(pairs) >= 15
    for command, output in pairs:
        told = production.run(command)
        assert plain(told, production.folder) == plain(output, production.folder), f"$ {command}\n{told}"


def test_the_page_tells_every_acting_command() -> None:
    text = PAGE.read_text()
    for command in ("redrive", "fork", "resolve", "cancel", "replay", "purge", "export", "import", "doctor", "table"):
        assert f"durably {command}" in text, command


def fill(folder: Path) -> None:
    """Write the page's outputs anew: `python -m tests.test_cli_actions_docs`."""
    made = producing(folder)
    desk = next(made)
    text = PAGE.read_text()
    for block in re.findall(r"```console\n.*?```", text, re.DOTALL):
        commands = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
        outputs = [f"$ {command}\n{shown(desk.run(command), folder)}" for command in commands]
        lines = "\n".join(line.rstrip() for line in "".join(outputs).splitlines())
        text = text.replace(block, f"```console\n{lines}\n```", 1)
    PAGE.write_text(text)
    next(made, None)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
