"""boto3's client and nothing on it: how long until it can be used, which is what a store over it can be measured by."""

from __future__ import annotations

import harness


class Boto3:
    """It can only get ready."""

    def __init__(self, spec: harness.Spec, steps: harness.Steps) -> None:
        import boto3

        self.client = boto3.client("dynamodb")

    def ready(self) -> None:
        self.client.get_item(TableName="seed", Key={"id": {"S": "nothing"}})


if __name__ == "__main__":
    harness.main(Boto3)
