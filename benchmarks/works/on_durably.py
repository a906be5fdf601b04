"""durably: `@durable`, `step`, `fan_out`, on the store that the spec names."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import harness


class Durably:
    """Each event is an execution; `DURABLY_STORE`'s own URL form names the store."""

    def __init__(self, spec: harness.Spec, steps: harness.Steps) -> None:
        from durably import durable, fan_out, step
        from durably.stores.url import open_store

        self.store = open_store(spec["store"])
        trivial = steps.trivial

        def run(event: dict[str, Any], context: Any) -> int:
            for number in range(event["steps"]):
                step(f"step-{number}", trivial, number)
            if event.get("items"):
                fan_out("item", trivial, range(event["items"]), workers=16)
            if "reached" in event:
                event["reached"].set()
                time.sleep(600)
            return int(event["steps"])

        options: dict[str, Any] = {"store": self.store, "id": lambda event, context: event["id"], "keep_event": False}
        self.handler = durable(name="bench", **options)(run)
        self.dying = durable(name="bench", lease=timedelta(seconds=1), **options)(run)

    def ready(self) -> None:
        self.store.read("nothing", until=self.store.clock.monotonic() + 5)

    def sequential(self, id: str, count: int) -> int:
        return int(self.handler({"id": id, "steps": count}, None))

    def fan_out(self, id: str, count: int) -> int:
        return int(self.handler({"id": id, "steps": 0, "items": count}, None))

    def crash(self, id: str, count: int) -> None:
        event: dict[str, Any] = {"id": id, "steps": count, "reached": threading.Event()}
        threading.Thread(target=self.dying, args=(event, None), daemon=True).start()
        assert event["reached"].wait(300)

    def replay(self, id: str, count: int) -> None:
        self.handler({"id": id, "steps": count}, None)


if __name__ == "__main__":
    harness.main(Durably)
