"""The demo, run as `make demo` runs it, on a smaller pull request: real processes, real kills, and its verdict."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("httpx")
pytest.importorskip("boto3")

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_demo_ends_with_its_verdict_met() -> None:
    command = [
        sys.executable,
        "-m",
        "examples.code_reviewer.demo",
        "--files",
        "40",
        "--speed",
        "12",
        "--model-ms",
        "500",
    ]
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    environ = {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SIGKILL") == 4
    assert "ExecutionInProgress, nothing run" in done.stdout
    assert "start-comment: found at GitHub by its marker, not made again" in done.stdout
    assert "Verdict: kept" in done.stdout
    assert "\033[" not in done.stdout  # No tty: no colour.
