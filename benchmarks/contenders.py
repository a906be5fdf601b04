"""Who takes part, how each is started, and one measurement of one of them in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import servers as dynamodb
from tests.servers import AWS_ENVIRONMENT, Unavailable

from . import peers, servers

WORKS = Path(__file__).parent / "works"
FILES = peers.HOME / "files"
"""Databases in files, all on one disk."""

LEASE_OVER_S = 1.3
"""durably's crash run takes a lease of a second; the replay comes when it has run out."""

TIMEOUT_S = 240


class Failed(Exception):
    """A measurement that did not come about, or was not of the work it should have been."""


@dataclass(frozen=True)
class Contender:
    """One way of doing the work durably. `spec` is what its script needs to know."""

    name: str
    peer: str
    script: str
    spec: dict[str, Any]
    works: frozenset[str] = frozenset({"sequential", "replay", "fan_out"})
    one_at_a_time: bool = False
    """Its crashed executions are recovered together, so each has a database of its own."""
    over_http: bool = False
    """Its store is reached over HTTP: latency can be put before it."""


@dataclass
class Stage:
    """The servers that run, and the contenders on them; `left_out` says who is missing and why."""

    contenders: list[Contender] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    dynamodb: str = ""

    def named(self, *names: str) -> list[Contender]:
        return [one for one in self.contenders if one.name in names]


def set_up(running: ExitStack, missing: dict[str, str]) -> Stage:
    """Start every server; they end with the stack."""
    stage = Stage(left_out=dict(missing))
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir(parents=True)
    server = running.enter_context(dynamodb.start("dynamodb-local"))
    stage.dynamodb = server.endpoint
    make_tables(server.endpoint)
    stage.contenders += [
        Contender(name, peer, f"on_{peer}.py", spec, over_http=True)
        for name, peer, spec in (
            ("durably on DynamoDB", "durably", {"store": "dynamodb://durably"}),
            ("the seed's ten lines", "seed", {"table": "seed"}),
            ("Powertools Idempotency", "powertools", {"table": "powertools"}),
        )
    ]
    stage.contenders += [
        Contender("boto3's client alone", "seed", "on_boto3.py", {}, works=frozenset()),
        Contender("durably on SQLite", "durably", "on_durably.py", {"store": "sqlite:///{file}"}),
        Contender("DBOS on SQLite", "dbos", "on_dbos.py", {"database": "sqlite:///{file}"}, one_at_a_time=True),
        Contender(
            "durably in memory",
            "durably",
            "on_durably.py",
            {"store": "memory://"},
            works=frozenset({"sequential", "fan_out"}),
        ),
    ]
    _add_aws(stage, running)
    _add_servers(stage, running)
    stage.contenders = [one for one in stage.contenders if one.peer not in missing]
    for one in stage.contenders:
        if one.over_http and one.peer != "aws":
            _warm_up(one, stage.dynamodb)
    return stage


def _warm_up(one: Contender, endpoint: str) -> None:
    """DynamoDB Local is a JVM: the first hundreds of each kind of request take up to five times as long as later ones."""
    measure(one, endpoint, work="sequential", counts=[2000], warm=500)
    measure_replay(one, endpoint, list(range(1, 61)))


def _add_aws(stage: Stage, running: ExitStack) -> None:
    if "aws" in stage.left_out:
        return
    local = {"service": "local runner"}
    stage.contenders += [
        Contender("AWS SDK, stub in process", "aws", "on_aws.py", {"service": "answers at once"}),
        Contender(
            "AWS SDK, stub over HTTP",
            "aws",
            "on_aws.py",
            {"service": "http", "endpoint": running.enter_context(servers.aws_stub())},
            works=frozenset({"sequential", "fan_out"}),
            over_http=True,
        ),
        Contender("AWS SDK, local runner", "aws", "on_aws.py", local, works=frozenset({"sequential", "fan_out"})),
    ]


def _add_servers(stage: Stage, running: ExitStack) -> None:
    try:
        spec = {"database": running.enter_context(servers.postgres()) + "/bench_{id}"}
        stage.contenders.append(Contender("DBOS on Postgres", "dbos", "on_dbos.py", spec, one_at_a_time=True))
    except (Unavailable, OSError, subprocess.CalledProcessError) as why:
        stage.left_out["DBOS on Postgres"] = str(why)
    try:
        urls = running.enter_context(servers.restate())
        stage.contenders.append(Contender("Restate", "restate", "on_restate.py", urls, one_at_a_time=True))
    except (Unavailable, OSError) as why:
        stage.left_out["Restate"] = str(why)


def make_tables(endpoint: str) -> None:
    """durably's table by its own definition, the others' with `id` as their key."""
    from durably import DynamoDBStore

    client = dynamodb.client(endpoint)
    DynamoDBStore("durably", client=client).create_table()
    for name in ("seed", "powertools"):
        client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )


def measure(contender: Contender, endpoint: str, /, **spec: Any) -> list[dict[str, Any]]:
    """One process's answer. Raises Failed when it gave none, or ran other steps than it should have."""
    spec = contender.spec | {"id": uuid.uuid4().hex[:12], "file": str(FILES / uuid.uuid4().hex), **spec}
    spec = {key: value.format(**spec) if isinstance(value, str) else value for key, value in spec.items()}
    if contender.peer == "restate":
        spec.setdefault("port", servers.free_port())
    command = [_python(contender), str(WORKS / contender.script), json.dumps(spec)]
    try:
        process = subprocess.run(
            command, env=environment(endpoint), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"no answer within {TIMEOUT_S} s") from None
    lines = process.stdout.strip().splitlines()
    if not lines or process.returncode not in (0, 9):
        raise Failed((process.stderr.strip().splitlines() or ["no answer"])[-1])
    results: list[dict[str, Any]] = json.loads(lines[-1])
    for result in results:
        expected = {"replay": 0, "cold": None}.get(spec["work"], result.get("count"))
        if expected is not None and result["ran"] != expected:
            raise Failed(f"{result['ran']} steps were run instead of {expected}")
    return results


def measure_replay(
    contender: Contender,
    endpoint: str,
    counts: list[int],
    *,
    warm: int = 1,
    between: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """Crash an execution of each size after its last step, and run it again in a new process.

    `warm`: small executions before it, where nothing is recovered at start. `between` is called when all have crashed.
    """
    results: list[dict[str, Any]] = []
    for group in [[count] for count in counts] if contender.one_at_a_time else [counts]:
        same: dict[str, Any] = {"id": uuid.uuid4().hex[:12], "file": str(FILES / uuid.uuid4().hex), "counts": group}
        if contender.peer == "restate":
            same["port"] = servers.free_port()
        if contender.peer != "aws":
            measure(contender, endpoint, work="crash", **same)
        if contender.peer == "durably":
            time.sleep(LEASE_OVER_S)
        between()
        warmed = 0 if contender.peer in ("dbos", "restate") else warm
        results += measure(contender, endpoint, work="replay", warm=warmed, **same)
    return results


def environment(endpoint: str) -> dict[str, str]:
    """What a contender sees: no trace of the suite's settings, and bytecode that is kept."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | AWS_ENVIRONMENT | {"AWS_ENDPOINT_URL_DYNAMODB": endpoint}


def _python(contender: Contender) -> str:
    if contender.peer == "restate":
        return str(peers.python_of("restate"))
    return str(peers.python_of(contender.peer))
