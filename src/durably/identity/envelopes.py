"""Events that are one thing each: Step Functions' context object, EventBridge, CloudEvents."""

from __future__ import annotations

import json
from collections.abc import Mapping

from durably.identity.value import Identity, look, short_hash, spell, text


def from_step_functions(event: object) -> Identity | None:
    """The context object (`$$`, `$states.context`) passed as the event, or under any one key of it.

    Step Functions' docs: `State.EnteredTime` is when the state was entered, and `RetryCount` counts its retries; so
    execution, state and time are the same on a retry and differ between states and turns of a loop. Items of an
    inline Map are told apart by index and value (nested Maps show only the inner index); a distributed Map's items
    are executions of their own. A parent's context passed on beside the own one is part of the id too.
    """
    if not isinstance(event, Mapping):
        return None
    contexts = [value for value in (event, *event.values()) if _is_context(value)]
    if not contexts:
        return None
    components = [component for context in contexts for component in _state(context)]
    return Identity(spell(*components), "Step Functions execution and state")


def _is_context(value: object) -> bool:
    return all((text(value, "Execution", "Id"), text(value, "State", "Name"), text(value, "State", "EnteredTime")))


def _state(context: object) -> list[str]:
    state = look(context, "State")
    components = [text(context, "Execution", "Id"), text(state, "Name"), text(state, "EnteredTime")]
    item = look(context, "Map", "Item")
    if isinstance(item, Mapping):
        value = json.dumps(item.get("Value"), sort_keys=True, default=str)
        components.append(f"item={item.get('Index')}:{short_hash(value.encode())}")
    return components


def from_eventbridge(event: object) -> Identity | None:
    """The envelope's own id (`detail.metadata.id`), else EventBridge's.

    EventBridge's id is the same on its retries (EventBridge docs, event structure), but new when an event is forwarded
    or sent again; the sender's id in the envelope is not.
    """
    if metadata_id := text(event, "detail", "metadata", "id"):
        return Identity(spell(metadata_id), "envelope's detail.metadata.id")
    event_id = text(event, "id")
    if event_id and text(event, "detail-type") and text(event, "source") and look(event, "detail") is not None:
        return Identity(spell(event_id), "EventBridge id")
    return None


def from_cloudevent(event: object) -> Identity | None:
    """CloudEvents 1.0: `source` and `id` together are unique for each event, and the same on a re-send."""
    source, event_id = text(event, "source"), text(event, "id")
    if text(event, "specversion") and source and event_id:
        return Identity(spell(source, event_id), "CloudEvents source and id")
    return None
