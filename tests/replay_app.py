"""The application that `test_cli_actions.py` runs in production and debugs at the desk: it fails at its third step."""

from __future__ import annotations

import os
from typing import Any

from durably import Fatal, durable, step


def fetch(number: str) -> dict[str, Any]:
    return {"number": number, "lines": [90, 90]}


def charge(order: dict[str, Any], total: int) -> str:
    with open(os.environ["EFFECTS"], "a") as effects:
        effects.write(f"charge {total}\n")
    limit = int(os.environ.get("LIMIT", "100"))
    if total > limit:
        raise (Fatal if "FATAL" in os.environ else ValueError)(f"the bank refuses {total} for {order['number']}")
    return f"paid {total}"


@durable(name="orders")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    order = step("fetch", fetch, event["detail"]["order"])
    total = step("price", sum, order["lines"])
    receipt = step("charge", charge, order, total)
    return {"receipt": receipt}
