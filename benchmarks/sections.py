"""The works, each a section of the results: interleaved rounds of processes, samples kept raw."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from . import machine, peers, servers
from .contenders import FILES, WORKS, Contender, Failed, Stage, environment, measure, measure_replay
from .counting import CountingProxy

Samples = dict[str, dict[str, list[dict[str, Any]]]]
"""By contender's name, then by count (JSON keys are text)."""

COST_AT = (5, 20, 100, 300, 1000)
ITEM_MS, LATE_MS = 20, 10
DYNAMODB = ("durably on DynamoDB", "the seed's ten lines", "Powertools Idempotency")


def first_run(stage: Stage, rounds: int) -> dict[str, Any]:
    """0, 1, 10, 100 and 1000 sequential trivial steps."""
    able = [one for one in stage.contenders if "sequential" in one.works]
    small = _interleaved(stage, able, rounds, lambda one: _measured(stage, one, "sequential", [0, 1, 10, 100]))
    large = _interleaved(stage, able, min(rounds, 3), lambda one: _measured(stage, one, "sequential", [1000]))
    return {"samples": _joined(small, large)}


def replay(stage: Stage, rounds: int) -> dict[str, Any]:
    """The same, run again by a new process after the first died behind its last step."""
    able = [one for one in stage.contenders if "replay" in one.works]

    def work(counts: list[int]) -> Callable[[Contender], list[dict[str, Any]]]:
        return lambda one: measure_replay(one, stage.dynamodb, counts)

    small = _interleaved(stage, able, min(rounds, 3), work([1, 10, 100]))
    large = _interleaved(stage, able, min(rounds, 3), work([1000]))
    return {"samples": _joined(small, large)}


def fan_out(stage: Stage, rounds: int) -> dict[str, Any]:
    """300 and 3000 quick items, 16 at a time."""
    able = [one for one in stage.contenders if "fan_out" in one.works]
    small = _interleaved(stage, able, rounds, lambda one: _measured(stage, one, "fan_out", [300]))
    large = _interleaved(stage, able, min(rounds, 3), lambda one: _measured(stage, one, "fan_out", [3000]))
    queue: list[dict[str, Any]] = []
    for one in stage.named("DBOS on SQLite"):
        queue = measure(one, stage.dynamodb, work="fan_out", counts=[300], way="queue")
    return {"samples": _joined(small, large), "dbos_queue": queue}


def fan_out_slow(stage: Stage, rounds: int) -> dict[str, Any]:
    """300 items of 20 ms, each answer of the store 10 ms late. Only where the store is reached over HTTP."""
    able = [one for one in stage.contenders if one.over_http or one.spec.get("service") == "answers at once"]
    return {"samples": _interleaved(stage, able, rounds, lambda one: _from_afar(one, stage.dynamodb))}


def counted(stage: Stage, rounds: int) -> dict[str, Any]:
    """Requests, bytes and capacity units on DynamoDB, by work; each in a run of its own through the counting layer."""
    proxy = CountingProxy(stage.dynamodb)
    found: dict[str, dict[str, dict[str, Any]]] = collections.defaultdict(lambda: collections.defaultdict(dict))
    try:
        for one in stage.named(*DYNAMODB):
            for count in sorted({0, 1, 10, 100, 1000, *COST_AT}):
                found[one.name]["first run"][str(count)] = _count(proxy, one, "sequential", count)
            for count in (1, 10, 100, 1000):
                found[one.name]["replay"][str(count)] = _count_replay(proxy, one, count)
            for count in (300, 3000):
                found[one.name]["fan-out"][str(count)] = _count(proxy, one, "fan_out", count)
            proxy.restart()
            _from_afar(one, proxy.endpoint, warm=0)
            slow = proxy.counted.as_dict()
            found[one.name]["fan-out of 20 ms"]["300"] = slow
    finally:
        proxy.close()
    return {"counts": found, "aws": _count_aws(stage)}


def cold(stage: Stage, rounds: int) -> dict[str, Any]:
    """A fresh process: imports, client, first call, first step. Bytecode is there, as in a deployed package."""
    able = [one for one in stage.contenders if one.peer != "restate" and one.name != "AWS SDK, local runner"]
    samples = _interleaved(stage, able, rounds, lambda one: measure(one, stage.dynamodb, work="cold", counts=[1]))
    imports = [
        ("durably", "durably", ()),
        ("durably", "durably", ("boto3",)),
        ("durably", "boto3", ()),
        ("powertools", "aws_lambda_powertools.utilities.idempotency", ()),
        ("aws", "aws_durable_execution_sdk_python", ()),
        ("dbos", "dbos", ()),
        ("restate", "restate", ()),
    ]
    times: dict[str, list[float]] = collections.defaultdict(list)
    for number in range(rounds + 1):
        for peer, module, before in imports:
            took = float(_script(stage, peer, "import_time.py", module, *before))
            # The first round writes what bytecode is missing.
            if number:
                times[f"{module} after {before[0]}" if before else module].append(took)
    return {"samples": samples, "imports_ms": times}


def size(stage: Stage, rounds: int) -> dict[str, Any]:
    """Megabytes of each peer's environment, pip and bytecode apart; and without boto3, which Lambda has."""
    given = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "python_dateutil", "urllib3", "six")
    found = {}
    for peer in peers.PINNED:
        folder = next((peers.HOME / peer / "lib").glob("python*")) / "site-packages"
        total = without = 0
        for path in folder.rglob("*"):
            top = path.relative_to(folder).parts[0]
            if (
                not path.is_file()
                or path.suffix == ".pyc"
                or top.split("-")[0] in ("pip", "setuptools", "pkg_resources")
            ):
                continue
            total += path.stat().st_size
            if top.split("-")[0].removesuffix(".py") not in given:
                without += path.stat().st_size
        found[peer] = {"mb": total / 1e6, "without_boto3_mb": without / 1e6}
    server = peers.HOME / "restate" / "node_modules"
    if server.exists():
        found["restate's server"] = {"mb": sum(p.stat().st_size for p in server.rglob("*") if p.is_file()) / 1e6}
    return {"megabytes": found}


def engine(stage: Stage, rounds: int) -> dict[str, Any]:
    """The engine on the memory store, a process a round."""
    return {"rounds": [_json(stage, "durably", "engine_alone.py", {"rounds": 1})[0] for _ in range(rounds)]}


def sqlite_floor(stage: Stage, rounds: int) -> dict[str, Any]:
    """A step on SQLite in turns with a bare INSERT and commit."""
    spec = {"rounds": 4 * rounds, "file": str(FILES / uuid.uuid4().hex)}
    return {"rounds": _json(stage, "durably", "sqlite_floor.py", spec)}


def growth(stage: Stage, rounds: int) -> dict[str, Any]:
    """10 to 10,000 steps in one execution; then a journal of 1 KB to 100 MB with small steps on top."""
    steps, sizes = [10, 100, 1000, 3000, 10_000], [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
    found: dict[str, dict[str, Any]] = {"steps": {}, "bytes": {}}
    for name, store in (("memory", "memory://"), ("SQLite", "sqlite:///{file}"), ("DynamoDB", "dynamodb://durably")):
        for what, asked in (("steps", steps), ("bytes", sizes)):
            file = FILES / uuid.uuid4().hex
            spec = {"store": store.format(file=file), "id": uuid.uuid4().hex[:8], "what": what, "sizes": asked}
            found[what][name] = _json(stage, "durably", "growth.py", spec)
            file.unlink(missing_ok=True)
    return found


SECTIONS: dict[str, Callable[[Stage, int], dict[str, Any]]] = {
    "first_run": first_run,
    "replay": replay,
    "fan_out": fan_out,
    "fan_out_slow": fan_out_slow,
    "counted": counted,
    "cold": cold,
    "size": size,
    "engine": engine,
    "sqlite_floor": sqlite_floor,
    "growth": growth,
}


def _interleaved(
    stage: Stage, contenders: Sequence[Contender], rounds: int, work: Callable[[Contender], list[dict[str, Any]]]
) -> Samples:
    """Every contender once a round, each round beginning with another. One that fails is left out, with why."""
    samples: Samples = collections.defaultdict(lambda: collections.defaultdict(list))
    out: set[str] = set()
    for number in range(rounds):
        start = number % max(1, len(contenders))
        for one in (*contenders[start:], *contenders[:start]):
            if one.name in out:
                continue
            try:
                for result in work(one):
                    samples[one.name][str(result.get("count", ""))].append(result | {"load": machine.load()})
            except Failed as why:
                out.add(one.name)
                stage.left_out[f"{one.name} (in one work)"] = str(why)
                print(f"bench: {one.name} left out of this work: {why}", file=sys.stderr)
    return samples


def _from_afar(one: Contender, endpoint: str, **spec: Any) -> list[dict[str, Any]]:
    """The fan-out of slow items, whatever store is reached over HTTP at a distance; a stub in the process sleeps instead."""
    spec |= {"work": "fan_out", "counts": [300], "item_ms": ITEM_MS}
    if not one.over_http:
        return measure(one, endpoint, **spec, latency_ms=LATE_MS)
    with servers.far(one.spec.get("endpoint", endpoint), LATE_MS) as distant:
        if "endpoint" in one.spec:
            return measure(one, endpoint, **spec, endpoint=distant)
        return measure(one, distant, **spec)


def _measured(stage: Stage, one: Contender, work: str, counts: list[int]) -> list[dict[str, Any]]:
    return measure(one, stage.dynamodb, work=work, counts=counts)


def _joined(*parts: Samples) -> Samples:
    joined: Samples = collections.defaultdict(dict)
    for part in parts:
        for name, by_count in part.items():
            joined[name] |= by_count
    return joined


def _count(proxy: CountingProxy, one: Contender, work: str, count: int, **spec: Any) -> dict[str, Any]:
    proxy.restart()
    measure(one, proxy.endpoint, work=work, counts=[count], warm=0, **spec)
    return proxy.counted.as_dict()


def _count_replay(proxy: CountingProxy, one: Contender, count: int) -> dict[str, Any]:
    """Of the process after the crash alone: the crash run's requests are taken off."""

    def forget() -> None:
        proxy.settle()
        proxy.restart()

    measure_replay(one, proxy.endpoint, [count], warm=0, between=forget)
    return proxy.counted.as_dict()


def _count_aws(stage: Stage) -> dict[str, Any]:
    import urllib.request

    found: dict[str, Any] = {}
    for one in stage.named("AWS SDK, stub over HTTP"):

        def told(endpoint: str = one.spec["endpoint"]) -> dict[str, int]:
            with urllib.request.urlopen(endpoint, timeout=10) as answer:
                return dict(json.load(answer))

        for label, work, count in (
            *(("first run", "sequential", count) for count in sorted({0, 1, 10, 100, 1000, *COST_AT})),
            ("fan-out", "fan_out", 300),
            ("fan-out", "fan_out", 3000),
            ("fan-out of 20 ms", "fan_out", 300),
        ):
            before = told()
            if label == "fan-out of 20 ms":
                _from_afar(one, stage.dynamodb, warm=0)
            else:
                measure(one, stage.dynamodb, work=work, counts=[count], warm=0)
            after = told()
            found.setdefault(label, {})[str(count)] = {key: after[key] - before[key] for key in after}
    return found


def _json(stage: Stage, peer: str, script: str, spec: dict[str, Any]) -> list[dict[str, float]]:
    rounds: list[dict[str, float]] = json.loads(_script(stage, peer, script, json.dumps(spec)).splitlines()[-1])
    return rounds


def _script(stage: Stage, peer: str, script: str, *arguments: str) -> str:
    command = [str(peers.python_of(peer)), str(WORKS / script), *arguments]
    process = subprocess.run(
        command, env=environment(stage.dynamodb), capture_output=True, text=True, timeout=300, check=False
    )
    if process.returncode:
        raise Failed(f"{script}: {(process.stderr.strip().splitlines() or ['no answer'])[-1]}")
    return process.stdout.strip()
