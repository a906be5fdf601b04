"""DBOS on the database that the spec names: a workflow of steps, and for fan-out its queue, as its README shows them."""

from __future__ import annotations

import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import harness

ITEMS = "items"


class Dbos:
    """`launch` recovers what a crash left, so a replay is told by the workflow's own first and last line."""

    def __init__(self, spec: harness.Spec, steps: harness.Steps) -> None:
        from dbos import DBOS, DBOSConfig, SetWorkflowID

        config: DBOSConfig = {"name": "bench", "system_database_url": spec["database"], "log_level": "ERROR"}
        DBOS(config=config)
        self.with_id, self.dbos = SetWorkflowID, DBOS
        self.reached, self.took = threading.Event(), 0.0

        @DBOS.step()
        def step(number: int) -> Any:
            return steps.trivial(number)

        @DBOS.workflow()
        def run(count: int, wait: bool) -> None:
            began = time.perf_counter()
            for number in range(count):
                step(number)
            if not wait:
                return
            self.took = time.perf_counter() - began
            self.reached.set()
            if spec["work"] == "crash":
                time.sleep(600)

        @DBOS.workflow()
        def many(count: int) -> int:
            way = spec.get("way", "steps in threads")
            if way == "queue":
                handles = [DBOS.enqueue_workflow(ITEMS, step, number) for number in range(count)]
                return len([handle.get_result() for handle in handles])
            if way == "workflows":
                handles = [DBOS.start_workflow(step, number) for number in range(count)]
                return len([handle.get_result() for handle in handles])
            reserved = [(contextvars.copy_context(), DBOS.reserve_step(), number) for number in range(count)]
            with ThreadPoolExecutor(16) as pool:
                jobs = [pool.submit(ctx.run, one.run, None, steps.trivial, number) for ctx, one, number in reserved]
                return len([job.result() for job in jobs])

        self.run, self.many = run, many
        DBOS.launch()
        if spec["work"] == "fan_out":
            DBOS.register_queue(ITEMS, worker_concurrency=16)

    def sequential(self, id: str, count: int) -> None:
        with self.with_id(id):
            self.run(count, False)

    def fan_out(self, id: str, count: int) -> None:
        with self.with_id(id):
            assert self.many(count) == count

    def crash(self, id: str, count: int) -> None:
        with self.with_id(id):
            self.dbos.start_workflow(self.run, count, True)
        assert self.reached.wait(120)

    def replay(self, id: str, count: int) -> float:
        assert self.reached.wait(120), "the workflow was not recovered"
        return self.took


if __name__ == "__main__":
    harness.main(Dbos)
