"""The servers behind the peers, each on 127.0.0.1 with its data in a folder that goes away: Postgres, Restate, AWS's stub."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.servers import TOOLS, Unavailable

WORKS = Path(__file__).parent / "works"
UP_WITHIN_S = 60.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A Postgres of its own with its defaults (fsync and synchronous_commit on); gives its URL, without a database.

    Raises Unavailable where there is no server binary.
    """
    initdb, server = _postgres_binary("initdb"), _postgres_binary("postgres")
    folder, port = Path(tempfile.mkdtemp(prefix="bench-postgres-")), free_port()
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")
    subprocess.run(
        [*user, initdb, "-D", str(folder / "data"), "-U", "bench", "-A", "trust"], check=True, capture_output=True
    )
    command = [*user, server, "-D", str(folder / "data"), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    with _running(command, folder):
        _wait_for_port(port)
        yield f"postgresql://bench@127.0.0.1:{port}"


def _postgres_binary(name: str) -> str:
    found = shutil.which(name) or next((str(path) for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), None)
    if found is None:
        raise Unavailable(f"there is no `{name}` on this machine (Debian's package: postgresql)")
    return found


@contextlib.contextmanager
def restate() -> Iterator[dict[str, str]]:
    """Restate's server from its npm package; gives the URLs of its ingress and its admin port."""
    binary = TOOLS / "bench" / "restate" / "node_modules" / ".bin" / "restate-server"
    if not binary.exists():
        raise Unavailable("the Restate server is not installed")
    folder, ingress, admin, node = (
        Path(tempfile.mkdtemp(prefix="bench-restate-")),
        free_port(),
        free_port(),
        free_port(),
    )
    environment = {
        "RESTATE_BASE_DIR": str(folder),
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_BIND_PORT": str(node),
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "error",
    }
    with _running([str(binary), "--no-logo"], folder, environment):
        _wait_for_port(ingress)
        _wait_for_port(admin)
        _wait_healthy(f"http://127.0.0.1:{ingress}/restate/health")
        yield {"endpoint": f"http://127.0.0.1:{ingress}", "admin": f"http://127.0.0.1:{admin}"}


@contextlib.contextmanager
def aws_stub() -> Iterator[str]:
    """The stub of AWS's durable execution service over HTTP; gives its endpoint."""
    with _announcing(str(WORKS / "aws_service.py")) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def far(endpoint: str, late_ms: float) -> Iterator[str]:
    """That server with every answer so much later; gives the endpoint to use in its place."""
    with _announcing("-m", "benchmarks.relay", endpoint.rpartition(":")[2], str(late_ms)) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _announcing(*arguments: str) -> Iterator[int]:
    """A Python process that prints its port and ends with its standard input."""
    command = [sys.executable, *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=WORKS.parent.parent
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().split()[1])
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=10)


@contextlib.contextmanager
def _running(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> Iterator[None]:
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | (environment or {}), cwd=folder
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_port(port: int) -> None:
    give_up = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise Unavailable(f"nothing came up on port {port} within {UP_WITHIN_S:.0f} s")


def _wait_healthy(url: str) -> None:
    give_up = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    raise Unavailable(f"{url} did not answer within {UP_WITHIN_S:.0f} s")
