"""Fake GitHub, Bedrock, Anthropic and EventBridge on loopback HTTP: the example runs offline and can be counted.

They are strict where the real ones are (authentication, pagination, 422), slow if asked, and meet the faults that are
injected (`POST /_faults`, see `Fault`). `GET /_counts` tells what they did, and `GET /_events` what is on the bus.
"""

from __future__ import annotations

from typing import Any

from .event_bus import EventBus
from .github import GitHub
from .models import Models
from .pull_request import PullRequest, pull_request
from .server import App, Fault, Response, serving

__all__ = ["API_KEY", "TOKEN", "WEBHOOK_SECRET", "Fakes", "PullRequest", "environment", "pull_request", "serving"]

TOKEN = "ghs_a-token-that-must-never-be-checkpointed"
API_KEY = "sk-ant-a-key-that-must-never-be-checkpointed"
WEBHOOK_SECRET = "it's a secret to everybody"


class Fakes:
    """All of them behind one address."""

    def __init__(self, pull: PullRequest, *, github_s: float = 0.0, model_s: float = 0.0, limit_every: int = 0) -> None:
        """`github_s`, `model_s`: the mean latency. `limit_every`: see `GitHub`."""
        self.app, self.pull = App(), pull
        self.github = GitHub(self.app, pull, TOKEN, github_s, limit_every)
        self.models = Models(self.app, API_KEY, model_s)
        self.bus = EventBus(self.app)
        self.app.add("GET", "/_counts", lambda _: Response(200, self.counts()))
        self.app.add("GET", "/_events", lambda _: Response(200, self.bus.events))

    def inject(self, match: str, **fault: Any) -> None:
        """Put a `Fault` in the way of the requests that match."""
        self.app.faults.add(Fault(match, **fault))

    def counts(self) -> dict[str, Any]:
        """What was done so far, as plain JSON."""
        threads = self.github.threads
        return {
            "comments": list(self.github.comments),
            "reviews": [{**review, "threads": len(threads[review["id"]])} for review in self.github.reviews],
            "model_calls": dict(self.models.calls),
            "content_reads": dict(self.github.reads),
            "requests": dict(self.app.requests),
            "held": self.app.faults.held,
        }


def environment(url: str) -> dict[str, str]:
    """What the application's environment has to say for it to talk to these fakes and to nothing else."""
    return {
        "GITHUB_API_URL": url,
        "GITHUB_TOKEN": TOKEN,
        "GITHUB_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "ANTHROPIC_API_URL": url,
        "ANTHROPIC_API_KEY": API_KEY,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
        "AWS_ENDPOINT_URL_EVENTBRIDGE": url,
        "AWS_ACCESS_KEY_ID": "fake",
        "AWS_SECRET_ACCESS_KEY": "fake",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
