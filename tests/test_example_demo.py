"""The demo, run as `make demo` runs it, on a smaller pull request: real processes, real kills, and its verdict."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("httpx")
pytest.importorskip("boto3")

from examples.code_reviewer.fakes import pull_request
from examples.code_reviewer.processes import Attempt, World

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


@pytest.mark.slow
@pytest.mark.parametrize(
    "effect", ["POST /repos/.*/comments", "POST /repos/.*/reviews", "PATCH /repos/.*", "POST /model/.*"]
)
def test_a_kill_between_an_effect_and_its_checkpoint_doubles_no_comment_and_no_review(
    effect: str, tmp_path: Path
) -> None:
    pull = pull_request(6)
    with World(6, 5, tmp_path, lease_s=1.5) as world:
        event = world.deliver_webhook(pull)
        world.hold_next(effect)
        first = world.attempt("reviewer").deliver(event)
        first.until(lambda: world.counts()["held"] == 1)
        first.kill()
        world.release()
        last = delivered_until_taken(world, event)
        counts = world.counts()
    assert last.ended == "completed"
    assert [comment["body"].split("\n")[0] for comment in counts["comments"]] == [
        f"Review done: 6 files, {last.result['findings']} findings."
    ]
    assert len(counts["reviews"]) == 1
    paid_again = {path for path, calls in counts["model_calls"].items() if calls > 1}
    assert len(counts["model_calls"]) == 6
    assert paid_again if effect.startswith("POST /model") else not paid_again


def delivered_until_taken(world: World, event: object) -> Attempt:
    """The event again and again, as long as the killed attempt's lease lasts."""
    while True:
        attempt = world.attempt("reviewer").deliver(event).wait()
        if attempt.ended != "ExecutionInProgress":
            return attempt
        time.sleep(0.2)
