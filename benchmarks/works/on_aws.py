"""AWS's durable execution SDK: steps and `map`, against a stub of its service or under its own local runner.

`service` in the spec: `answers at once` (in this process, nothing but the SDK's own work), `http` (its boto3 client to
the stub on this machine, as durably talks to DynamoDB here), `local runner` (the SDK's testing package).
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import harness
from aws_service import Service


class Context:
    """The little of a Lambda context that the SDK reads."""

    aws_request_id = "bench"
    tenant_id = None
    function_name = "bench"
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:bench"

    def get_remaining_time_in_millis(self) -> int:
        return 300_000


class Aws:
    """One invocation is one call of the handler with the event that the service would send."""

    def __init__(self, spec: harness.Spec, steps: harness.Steps) -> None:
        from aws_durable_execution_sdk_python import durable_execution
        from aws_durable_execution_sdk_python.config import MapConfig

        logging.disable(logging.CRITICAL)
        self.spec, self.service = spec, Service()
        self.job: tuple[int, int] = (0, 0)
        config = MapConfig(max_concurrency=16)

        @durable_execution
        def handler(event: Any, context: Any) -> int:
            count, items = self.job
            for number in range(count):
                context.step(lambda _, number=number: steps.trivial(number), name=f"step-{number}")
            if items:
                done = context.map(range(items), lambda ctx, item, index, all: steps.trivial(item), config=config)
                assert len(done.get_results()) == items
            return count

        self.handler = handler
        if spec["service"] == "http":
            os.environ["AWS_ENDPOINT_URL_LAMBDA"] = spec["endpoint"]

    def sequential(self, id: str, count: int) -> None:
        self.job = (count, 0)
        self._run(id)

    def fan_out(self, id: str, count: int) -> None:
        self.job = (0, count)
        self._run(id)

    def prepare(self, id: str, count: int) -> None:
        """Leave the state of an execution whose steps are all done and that never said so."""
        self.job = (count, 0)
        self._invoke(self._with_stub(self.service.begin(id)))

    def replay(self, id: str, count: int) -> None:
        self._invoke(self._with_stub(self.service.begin(id)))

    def _run(self, id: str) -> None:
        if self.spec["service"] == "local runner":
            self._run_locally()
        elif self.spec["service"] == "http":
            self._invoke(self.service.begin(id))
        else:
            self._invoke(self._with_stub(self.service.begin(id)))

    def _run_locally(self) -> None:
        from aws_durable_execution_sdk_python_testing.runner import DurableFunctionTestRunner

        with DurableFunctionTestRunner(handler=self.handler) as runner:
            told = runner.run(input="{}", execution_timeout=120)
        assert str(told.status.value) == "SUCCEEDED", told

    def _with_stub(self, event: dict[str, Any]) -> Any:
        from aws_durable_execution_sdk_python.execution import (
            DurableExecutionInvocationInput,
            DurableExecutionInvocationInputWithClient,
        )

        read = DurableExecutionInvocationInput.from_json_dict(event)
        stub = _InProcess(self.service, self.spec.get("latency_ms", 0.0))
        return DurableExecutionInvocationInputWithClient.from_durable_execution_invocation_input(read, stub)

    def _invoke(self, event: Any) -> None:
        told = self.handler(event, Context())
        assert told["Status"] == "SUCCEEDED", told


class _InProcess:
    """The SDK's client protocol over the stub in this process."""

    def __init__(self, service: Service, latency_ms: float) -> None:
        self.service, self.latency_s = service, latency_ms / 1000

    def checkpoint(
        self, durable_execution_arn: str, checkpoint_token: str, updates: list[Any], client_token: str | None
    ) -> Any:
        from aws_durable_execution_sdk_python.lambda_service import CheckpointOutput

        if self.latency_s:
            time.sleep(self.latency_s)
        told = self.service.checkpoint(durable_execution_arn, [update.to_dict() for update in updates])
        return CheckpointOutput.from_dict(told)

    def get_execution_state(self, **asked: Any) -> Any:
        raise AssertionError("every operation was in the event")


if __name__ == "__main__":
    harness.main(Aws)
