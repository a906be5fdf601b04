"""The handler under test: an order is charged, and its receipt is sent."""

from __future__ import annotations

import json
import os
import urllib.request
from functools import partial
from typing import Any

from durably import NOT_DONE, current_step, durable, step


@durable
def handler(event: dict[str, Any], context: Any) -> dict[str, str]:
    """Charge once, whatever happens; send the receipt, at worst twice."""
    order = event["detail"]["order"]
    charged = step("charge", charge, order, recover=partial(find_charge, order["id"]))
    step("receipt", send_receipt, order["mail"], charged)
    return {"order": order["id"], "charge": charged}


def charge(order: dict[str, Any]) -> str:
    """Take the money; returns the charge's id. The service may not know keys, so `recover` looks first."""
    now = current_step()
    return str(_call("POST", "/charges", {"order": order["id"], "cents": order["cents"]}, key=now)["id"])


def find_charge(order_id: str) -> object:
    """The order's charge at the payment service, or NOT_DONE."""
    found = _call("GET", f"/charges?order={order_id}")
    return found[0]["id"] if found else NOT_DONE


def send_receipt(mail: str, charge_id: str) -> None:
    """Mail the receipt."""
    _call("POST", "/mails", {"to": mail, "charge": charge_id})


def _call(method: str, path: str, body: object = None, key: Any = None) -> Any:
    headers = {"content-type": "application/json"}
    if key is not None:
        headers["idempotency-key"] = key.idempotency_key
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["SERVICES_URL"] + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
