"""Restate: a service of one handler, served by hypercorn as its docs show, driven through the server's ingress.

The server runs beside it (`endpoint` is its ingress, `admin` its admin port). A replay is timed from the arrival of the
server's request, which carries the journal, to the handler's last line.
"""

# No `from __future__ import annotations`: the SDK evaluates a handler's annotations where `restate` is not known.
import asyncio
import json
import os
import threading
import time
import urllib.request
from typing import Any

import harness


class Restate:
    """The endpoint lives in this process; its port is given, so that the server finds it again after a crash."""

    def __init__(self, spec: harness.Spec, steps: harness.Steps) -> None:
        import restate

        self.spec, self.steps = spec, steps
        self.reached, self.arrived, self.took = threading.Event(), 0.0, 0.0
        service = restate.Service("bench")

        async def item(number: int) -> Any:
            return steps.trivial(number)

        @service.handler()
        async def run(ctx: restate.Context, job: dict[str, Any]) -> int:
            for number in range(job["steps"]):
                await ctx.run_typed(f"step-{number}", item, number=number)
            if job["items"]:
                await restate.gather(*[ctx.run_typed(f"item-{n}", item, number=n) for n in range(job["items"])])
            if job["crash"]:
                self.took = time.perf_counter() - self.arrived
                self.reached.set()
                if spec["work"] == "crash":
                    await asyncio.sleep(600)
            return int(job["steps"])

        self._serve(restate.app(services=[service]))
        if spec["work"] != "replay":
            self._post(spec["admin"] + "/deployments", {"uri": f"http://127.0.0.1:{spec['port']}", "force": True})

    def sequential(self, id: str, count: int) -> None:
        self._call(id, {"steps": count, "items": 0, "crash": False})

    def fan_out(self, id: str, count: int) -> None:
        self._call(id, {"steps": 0, "items": count, "crash": False})

    def crash(self, id: str, count: int) -> None:
        self._call(id, {"steps": count, "items": 0, "crash": True}, "/send")
        assert self.reached.wait(120)

    def replay(self, id: str, count: int) -> float:
        assert self.reached.wait(60), "the server did not try again"
        return self.took

    def _call(self, id: str, job: dict[str, Any], how: str = "") -> None:
        self._post(self.spec["endpoint"] + "/bench/run" + how, job, {"idempotency-key": id})

    def _post(self, url: str, body: Any, headers: dict[str, str] | None = None) -> None:
        request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            request.add_header(name, value)
        with urllib.request.urlopen(request, timeout=120) as answer:
            answer.read()

    def _serve(self, app: Any) -> None:
        import hypercorn.asyncio
        from hypercorn.config import Config

        async def timed(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and "/invoke/" in scope["path"]:
                self.arrived = time.perf_counter()
            await app(scope, receive, send)

        config = Config()
        config.bind = [f"127.0.0.1:{self.spec['port']}"]
        config.loglevel = "ERROR"
        config.accesslog = None
        up = threading.Event()

        async def serve() -> None:
            asyncio.get_running_loop().call_later(0.2, up.set)
            await hypercorn.asyncio.serve(timed, config, mode="asgi", shutdown_trigger=asyncio.Event().wait)

        threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
        up.wait()


if __name__ == "__main__":
    os.environ.setdefault("RESTATE_LOGGING", "ERROR")
    harness.main(Restate)
