"""Handlers whose steps run side by side, on threads and on an event loop, for the crash enumeration."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

from durably import NOT_DONE, aio, durable, fan_out, step

from .crash_app import World

ITEMS = ["a", "b", "c", "d", "e", "f"]
WORKERS = 3
RESULT = {"paid": [f"p-{item}" for item in ITEMS], "said": [f"s-{item}" for item in ITEMS], "sum": 3, "sent": "sent"}


class NoCard(Exception):
    pass


def threads(world: World, store: Any) -> Callable[[Any, Any], Any]:
    """A fan-out with `recover`, one without, and one whose failures are handled."""

    def refuse(item: str) -> str:
        world.effect(f"card-{item}")
        raise NoCard(item)

    @durable(id=lambda event, context: event["id"], name="threads-app", store=store)
    def handler(event: Any, context: Any) -> dict[str, Any]:
        paid = fan_out("pay", world_paying(world), ITEMS, workers=WORKERS, recover=functools.partial(found, world))
        said = fan_out("say", lambda item: world.effect(f"say-{item}", f"s-{item}"), ITEMS, workers=WORKERS)
        cards = fan_out("card", refuse, ["x", "y", "z"], workers=WORKERS, return_exceptions=True)
        total = step("sum", lambda: world.effect("sum", len([one for one in cards if isinstance(one, NoCard)])))
        sent = step("send", world.effect, "send", "sent", recover=lambda: "sent" if world.did("send") else NOT_DONE)
        return {"paid": paid, "said": said, "sum": total, "sent": sent}

    return handler


def tasks(world: World, store: Any) -> Callable[[Any, Any], Any]:
    """The same in asyncio: `aio.fan_out`, `gather` over steps, and failures handled in tasks of their own."""

    async def say(item: str) -> str:
        await asyncio.sleep(0)
        return str(world.effect(f"say-{item}", f"s-{item}"))

    async def pay(item: str) -> str:
        return world_paying(world)(item)

    async def refuse(item: str) -> str:
        world.effect(f"card-{item}")
        await asyncio.sleep(0)
        raise NoCard(item)

    async def card_or_nothing(item: str) -> int:
        try:
            await aio.step(f"card[{item}]", refuse, item)
        except NoCard:
            return 1
        return 0

    @aio.durable(id=lambda event, context: event["id"], name="tasks-app", store=store)
    async def handler(event: Any, context: Any) -> dict[str, Any]:
        paid = await aio.fan_out("pay", pay, ITEMS, workers=WORKERS, recover=functools.partial(found, world))
        said = await asyncio.gather(*(aio.step(f"say[{item}]", say, item) for item in ITEMS))
        cards = await asyncio.gather(*(card_or_nothing(item) for item in ("x", "y", "z")))
        total = await aio.step("sum", lambda: world.effect("sum", sum(cards)))
        sent = await aio.step(
            "send", lambda: world.effect("send", "sent"), recover=lambda: "sent" if world.did("send") else NOT_DONE
        )
        return {"paid": paid, "said": said, "sum": total, "sent": sent}

    return lambda event, context: asyncio.run(handler(event, context))


def world_paying(world: World) -> Callable[[str], str]:
    def pay(item: str) -> str:
        time.sleep(0.001)  # so that items do run side by side
        return str(world.effect(f"pay-{item}", f"p-{item}"))

    return pay


def found(world: World, item: str) -> Any:
    return f"p-{item}" if world.did(f"pay-{item}") else NOT_DONE
