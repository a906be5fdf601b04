"""The demo's processes: the fakes, and attempts that can be delivered an event, watched and killed."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx

from .fakes import WEBHOOK_SECRET, PullRequest, environment

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


class DemoFailed(Exception):
    """Something the demo needs did not happen."""


class Attempt:
    """One attempt: a process of its own, which tells its steps on stdout."""

    def __init__(self, handler: str, environ: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as out, log.with_suffix(".err").open("wb") as err:
            command = [sys.executable, "-m", "examples.code_reviewer.invoke", handler]
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=out, stderr=err
            )

    def deliver(self, event: object, request_id: str = "the-same-on-every-retry") -> Self:
        """Hand the event over; the handler begins."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"event": event, "request_id": request_id}).encode())
        self._process.stdin.close()
        return self

    def until(self, happened: Callable[[], bool]) -> None:
        """Watch until it happened. Raises DemoFailed when the process ended before."""
        give_up = time.monotonic() + PATIENCE_S
        while not happened():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise DemoFailed(f"an attempt ended before it could be killed:\n{self._last_words()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL: nothing in the process can catch it or clean up."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait(self) -> Self:
        """Let it end by itself."""
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"an attempt did not end:\n{self._last_words()}") from None
        if not self.ended:
            raise DemoFailed(f"an attempt broke down:\n{self._last_words()}")
        return self

    def close(self) -> None:
        """Leave nothing running."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        if self._process.poll() is None:
            self.kill()

    @property
    def ran(self) -> int:
        """How many step functions really ran."""
        return len({line["ran"] for line in self._lines() if "ran" in line})

    @property
    def replayed(self) -> int:
        """How many steps were answered from the checkpoints."""
        lines = self._lines()
        answered = {step for line in lines for step in line.get("answered", ())}
        return len(answered - {line.get("ran") or line.get("recovered") for line in lines})

    @property
    def recovered(self) -> str:
        """The step whose effect `recover` found in the world, if one did."""
        return str(next((line["recovered"] for line in self._lines() if "recovered" in line), ""))

    @property
    def ended(self) -> str:
        """`completed`, the name of an exception, or nothing after a kill."""
        return str(next((line["ended"] for line in self._lines() if "ended" in line), ""))

    @property
    def result(self) -> Any:
        """What the handler returned, if it did."""
        return next((line["result"] for line in self._lines() if "result" in line), None)

    def _lines(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = [json.loads(line) for line in self._log.read_text().splitlines()]
        return lines

    def _last_words(self) -> str:
        return f"{self._log.read_text()[-500:]}\n{self._log.with_suffix('.err').read_text()[-3000:]}"


class World:
    """The fakes in a process of their own, and the attempts against them; all gone at the end."""

    def __init__(self, files: int, model_ms: float, folder: Path, *, lease_s: float) -> None:
        self._arguments = ["--files", str(files), "--model-ms", str(model_ms)]
        self._folder, self._lease_s = folder, lease_s
        self._attempts: list[Attempt] = []

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "examples.code_reviewer.fakes", *self._arguments]
        self._fakes = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._fakes.stdout is not None
        url = self._fakes.stdout.readline().strip()
        if not url:
            raise DemoFailed("the fakes did not start")
        self._environ = self._environment(url)
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=10)
        return self

    def __exit__(self, *raised: object) -> None:
        for attempt in self._attempts:
            attempt.close()
        self._client.close()
        self._fakes.communicate()  # Closes its stdin, which ends it.

    def attempt(self, handler: str) -> Attempt:
        """A process that has imported everything and waits for its event."""
        log = self._folder / f"attempt-{len(self._attempts)}.jsonl"
        self._attempts.append(Attempt(handler, self._environ, log))
        return self._attempts[-1]

    def deliver_webhook(self, pull: PullRequest) -> Any:
        """What GitHub does when the pull request is opened; returns the event that ends up on the bus."""
        body = json.dumps(pull.webhook("opened"))
        signature = hmac.new(WEBHOOK_SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
        headers = {
            "x-github-event": "pull_request",
            "x-github-delivery": str(uuid.uuid4()),
            "x-hub-signature-256": f"sha256={signature}",
        }
        webhook = self.attempt("webhook").deliver({"headers": headers, "body": body, "isBase64Encoded": False}).wait()
        if webhook.result != {"statusCode": 202, "body": headers["x-github-delivery"]}:
            raise DemoFailed(f"the webhook answered {webhook.result!r}")
        return self._client.get("/_events").json()[0]

    def hold_next(self, request: str) -> None:
        """What the next request like this asks for is done, and its answer held back."""
        self._client.post("/_faults", json={"match": request, "when": "hold"}).raise_for_status()

    def release(self) -> None:
        """Let a held answer go."""
        self._client.post("/_release").raise_for_status()

    def counts(self) -> Any:
        """What the fakes did so far."""
        return self._client.get("/_counts").json()

    def _environment(self, url: str) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DURABLY_"))}
        return {
            **clean,
            **environment(url),
            "AWS_LAMBDA_FUNCTION_NAME": "code-reviewer",
            "DURABLY_STORE": f"sqlite:///{self._folder / 'durably.db'}",
            "REVIEWER_LEASE_SECONDS": str(self._lease_s),
            "CHECKPOINTS_DB": str(self._folder / "checkpoints.db"),
            "FINDINGS_DB": str(self._folder / "findings.db"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH")])),
        }
