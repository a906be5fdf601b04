"""DynamoDB's expressions: each conditional write of the store as the parameters of its call. No call is made here."""

from __future__ import annotations

from typing import Any

from ...claims import ATTEMPTS_KEPT
from ...entries import FORMAT, AttemptRecord, Claim, Head
from . import items
from .texts import Item, Packed

_REFUSED = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
_HOLDER = "#owner = :me AND #lease > :zero"
"""Whoever leaves gives the lease back as 0."""
_RUNNING = {"S": "running"}
RESULT = ("result", "result_parts", "result_packed")

IF_ABSENT: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)", **_REFUSED}


def claim(asked: Claim, now: float, event: Packed | None) -> dict[str, Any]:
    """Take an execution that is new, released, or whose lease ran out. Everything else is refused, and judged by the answer.

    `if_not_exists` keeps what the first attempt wrote; the old item that comes back tells new from resumed.
    """
    first: Item = {
        "generation": {"S": asked.generation},
        "function": {"S": asked.function},
        "qualname": {"S": asked.qualname},
        "source": {"S": asked.source},
        "fingerprint": {"S": asked.fingerprint},
        "began": items.number(now),
        "shard": {"S": items.shard_of(asked.id)},
        "v": {"N": str(FORMAT)},
    }
    if asked.expires_s is not None:
        first |= items.ttl(now + asked.expires_s)
    if event is not None:
        first["event"] = event.attribute()
    record = AttemptRecord(0, now, asked.owner, asked.request_id)
    values: Item = {f":{name}": value for name, value in first.items()} | {
        ":me": {"S": asked.owner},
        ":running": _RUNNING,
        ":waiting": {"S": "waiting"},
        ":until": items.number(now + asked.lease_s),
        ":now": items.number(now),
        ":zero": {"N": "0"},
        ":one": {"N": "1"},
        ":none": {"L": []},
        ":record": {"L": [items.record_attribute(record)]},
        ":kept": {"N": str(ATTEMPTS_KEPT)},
    }
    kept = ", ".join(f"#{name} = if_not_exists(#{name}, :{name})" for name in first)
    names = {
        f"#{name}": name
        for name in (*first, "owner", "status", "lease", "attempt", "attempts", "updated", "expires_at", "unsettled")
    }
    return {
        "UpdateExpression": (
            f"SET #status = :running, #owner = :me, #lease = :until, #updated = :now, {kept}, "
            "#attempt = if_not_exists(#attempt, :zero) + :one, "
            "#attempts = list_append(if_not_exists(#attempts, :none), :record) REMOVE #unsettled"
        ),
        "ConditionExpression": (
            "attribute_not_exists(pk) OR (#v <= :v AND #qualname = :qualname AND #fingerprint = :fingerprint "
            "AND size(#attempts) < :kept AND (attribute_not_exists(#expires_at) OR #expires_at > :now) "
            "AND (#status = :waiting OR (#status = :running AND #lease <= :now)))"
        ),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ReturnValues": "ALL_OLD",
        **_REFUSED,
    }


def if_unchanged(head: Head | None) -> dict[str, Any]:
    """The condition that the head is still the one that was read."""
    if head is None:
        return IF_ABSENT
    return {
        "ConditionExpression": "#owner = :owner AND #attempt = :attempt AND #status = :status",
        "ExpressionAttributeNames": {"#owner": "owner", "#attempt": "attempt", "#status": "status"},
        "ExpressionAttributeValues": {
            ":owner": {"S": head.owner},
            ":attempt": {"N": str(head.attempt)},
            ":status": {"S": head.status},
        },
        **_REFUSED,
    }


def renew(owner: str, lease_until: float) -> dict[str, Any]:
    """Move the lease on. It touches no field that the listing index has."""
    return as_holder({"lease": items.number(lease_until)}, owner)


def end(head: Head, last: int, result: Item, *, was_running: bool) -> dict[str, Any]:
    """Write how the attempt ended, at place `last` of the head's list, and let the lease go."""
    changed: Item = {
        "status": {"S": head.status},
        "lease": items.number(0),
        "updated": items.number(head.updated),
        f"attempts[{last}]": items.record_attribute(head.attempts[-1]),
        **items.ttl(head.expires_at),
        **result,
    }
    if head.unsettled:
        changed["unsettled"] = {"BOOL": True}
    # A closed head that an operator held has the last result, and another takes its place or none.
    return _without(
        as_holder(changed, head.owner), [] if was_running else [name for name in RESULT if name not in result]
    )


def point_at(pointer: Item, owner: str) -> dict[str, Any]:
    """Let the head point at parts that are written."""
    return as_holder(pointer, owner)


def hand_back(old: Head, owner: str) -> dict[str, Any]:
    """Make the head what it was before a claim that came too early."""
    changed: Item = {
        "owner": {"S": old.owner},
        "lease": items.number(old.lease_until),
        "updated": items.number(old.updated),
        "attempt": {"N": str(old.attempt)},
        "attempts": {"L": [items.record_attribute(record) for record in old.attempts]},
    }
    return as_holder(changed, owner)


def take(old: Head, new: Head, result: Item) -> dict[str, Any]:
    """An operator's claim: make the head that was read the claimed one. The event stays where it is, and a small result."""
    changed: Item = {
        "status": {"S": new.status},
        "owner": {"S": new.owner},
        "lease": items.number(new.lease_until),
        "updated": items.number(new.updated),
        "attempt": {"N": str(new.attempt)},
        "attempts": {"L": [items.record_attribute(record) for record in new.attempts]},
        **result,
    }
    unchanged, update = if_unchanged(old), _setting(changed)
    taken = unchanged | {
        "UpdateExpression": update["UpdateExpression"],
        "ExpressionAttributeNames": unchanged["ExpressionAttributeNames"] | update["ExpressionAttributeNames"],
        "ExpressionAttributeValues": unchanged["ExpressionAttributeValues"] | update["ExpressionAttributeValues"],
    }
    return _without(taken, ["unsettled"])


def grave_of(generation: str) -> str:
    """The owner of a head that is being deleted: nobody's, so every condition on the one before it fails."""
    return f"deleted {generation}"


def bury(generation: str, updated: float | None, now: float) -> dict[str, Any]:
    """Let the head count as expired for everyone, unless it is of another generation, has changed, or a living attempt holds it.

    A day in the past, so that no clock sees it otherwise; TTL leaves alone what lies more than five years back.
    """
    update = _setting({"owner": {"S": grave_of(generation)}, "lease": items.number(0), **items.ttl(now - 86_400)})
    names = {"#generation": "generation"}
    values = {":generation": {"S": generation}, ":now": items.number(now)}
    condition = "#generation = :generation AND #lease <= :now"
    if updated is not None:
        condition += " AND #updated = :updated"
        names["#updated"] = "updated"
        values[":updated"] = items.number(updated)
    return {
        **_REFUSED,
        "UpdateExpression": update["UpdateExpression"],
        "ConditionExpression": condition,
        "ExpressionAttributeNames": update["ExpressionAttributeNames"] | names,
        "ExpressionAttributeValues": update["ExpressionAttributeValues"] | values,
    }


def if_buried(generation: str) -> dict[str, Any]:
    """The condition that the head is still this generation's gravestone."""
    return {
        "ConditionExpression": "#owner = :grave",
        "ExpressionAttributeNames": {"#owner": "owner"},
        "ExpressionAttributeValues": {":grave": {"S": grave_of(generation)}},
    }


def query(execution: str, prefix: str) -> dict[str, Any]:
    """All items of an execution whose sort key begins so, read strongly."""
    return {
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
        "ExpressionAttributeValues": {":pk": {"S": execution}, ":prefix": {"S": prefix}},
        "ConsistentRead": True,
    }


def as_holder(changed: Item, owner: str) -> dict[str, Any]:
    """Set these attributes if that attempt still holds the lease."""
    update = _setting(changed)
    return {
        "UpdateExpression": update["UpdateExpression"],
        "ConditionExpression": _HOLDER,
        "ExpressionAttributeNames": update["ExpressionAttributeNames"] | {"#owner": "owner", "#lease": "lease"},
        "ExpressionAttributeValues": update["ExpressionAttributeValues"] | {":me": {"S": owner}, ":zero": {"N": "0"}},
        **_REFUSED,
    }


def _without(expression: dict[str, Any], gone: list[str]) -> dict[str, Any]:
    if not gone:
        return expression
    return expression | {
        "UpdateExpression": f"{expression['UpdateExpression']} REMOVE {', '.join(f'#{name}' for name in gone)}",
        "ExpressionAttributeNames": expression["ExpressionAttributeNames"] | {f"#{name}": name for name in gone},
    }


def _setting(changed: Item) -> dict[str, Any]:
    sets, values, names = [], {}, {}
    for index, (path, value) in enumerate(changed.items()):
        name, bracket, place = path.partition("[")
        names[f"#{name}"] = name
        values[f":v{index}"] = value
        sets.append(f"#{name}{bracket}{place} = :v{index}")
    return {
        "UpdateExpression": "SET " + ", ".join(sets),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
