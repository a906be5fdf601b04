"""Handlers with effects in Python and over HTTP, at the top of a module, so that a sandbox's process can import them."""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

from durably import SQLiteStore, current_step, durable, fan_out, step
from durably.testing import counted

send_mail = counted("mail", lambda who: f"to {who}")


@durable(id=lambda event, context: event["id"], name="trivial")
def trivial(event: Any, context: Any) -> str:
    """One effect in one step, and nothing that closes its window."""
    return step("mail", send_mail, event["who"])


def store_of(clock: Any) -> SQLiteStore:
    """A store of the test's own making, where the story's world says."""
    return SQLiteStore(os.path.join(os.environ["KIT_STORE_FOLDER"], "own.db"), clock=clock)


def post(path: str, body: Any, **headers: str) -> Any:
    """POST to the service of SHOP_URL."""
    request = urllib.request.Request(
        os.environ["SHOP_URL"] + path, json.dumps(body).encode(), {"content-type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def get(path: str) -> Any:
    with urllib.request.urlopen(os.environ["SHOP_URL"] + path, timeout=20) as answer:
        return json.load(answer)


def charge(order: str) -> str:
    return str(post("/charges", {"order": order})["id"])


def charge_with_key(order: str) -> str:
    now = current_step()
    assert now is not None
    return str(post("/charges", {"order": order}, **{"Idempotency-Key": now.idempotency_key})["id"])


@durable(id=lambda event, context: event["id"], name="shop")
def shop(event: Any, context: Any) -> list[str]:
    """A charge that nothing guards, one with an idempotency key, and parcels in a fan-out."""
    first = step("charge", charge, event["id"])
    step("tip", charge_with_key, "tip")
    parcels = fan_out("parcel", lambda n: str(post(f"/parcels/{n}", {})["id"]), [1, 2], workers=2)
    return [first, *parcels]


def plain(event: Any, context: Any) -> str:
    """No durably at all."""
    return charge(event["id"])
