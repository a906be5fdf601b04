"""Powertools Idempotency as steps: `idempotent_function` on a DynamoDB persistence layer, as its docs show it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import harness


class Powertools:
    """A record for each step. Each thread has a layer of its own, over one client: a layer shared by threads mixes its rows up."""

    def __init__(self, spec: harness.Spec, steps: harness.Steps) -> None:
        import boto3
        from aws_lambda_powertools.utilities.idempotency import (
            DynamoDBPersistenceLayer,
            IdempotencyConfig,
            idempotent_function,
        )

        client = boto3.client("dynamodb")
        self.mine = threading.local()

        def made() -> Any:
            layer = DynamoDBPersistenceLayer(table_name=spec["table"], boto3_client=client)
            config = IdempotencyConfig(event_key_jmespath="id")

            @idempotent_function(data_keyword_argument="data", config=config, persistence_store=layer)
            def step(data: dict[str, Any]) -> Any:
                return steps.trivial(data["number"])

            return step

        self.made = made

    @property
    def step(self) -> Any:
        if not hasattr(self.mine, "step"):
            self.mine.step = self.made()
        return self.mine.step

    def ready(self) -> None:
        self.step(data={"id": "ready", "number": 0})

    def sequential(self, id: str, count: int) -> None:
        step = self.step
        for number in range(count):
            step(data={"id": f"{id}/step-{number}", "number": number})

    def fan_out(self, id: str, count: int) -> None:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda n: self.step(data={"id": f"{id}/item-{n}", "number": n}), range(count)))

    crash = sequential
    replay = sequential


if __name__ == "__main__":
    harness.main(Powertools)
