"""A head as JSON text, for the stores that keep it so. Event and result are kept beside it: a renewal must not move them."""

from __future__ import annotations

import json
from typing import Any

from ..entries import AttemptRecord, Head
from ..errors import StoreError

_FIELDS = tuple(name for name in Head._fields if name not in ("event", "result", "attempts"))


def head_to_text(head: Head) -> str:
    """The head without its event and result."""
    plain: dict[str, Any] = {name: getattr(head, name) for name in _FIELDS}
    plain["attempts"] = [record_to_list(record) for record in head.attempts]
    return json.dumps(plain, separators=(",", ":"))


def head_from_text(text: str, event: str | None, result: str | None) -> Head:
    """Read what `head_to_text` wrote; fields that a newer durably added are passed over."""
    plain = json.loads(text)
    known = {name: plain[name] for name in _FIELDS if name in plain}
    attempts = tuple(record_from_list(row) for row in plain["attempts"])
    return Head(**known, attempts=attempts, event=event, result=result)


def stored_head(execution: str, text: str, event: str | None, result: str | None) -> Head:
    """The head of an execution as it is stored. Raises StoreError where it can't be read."""
    try:
        return head_from_text(text, event, result)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_head(execution, error) from error


def damaged_head(execution: str, error: Exception) -> StoreError:
    """What is raised for a head that can't be read, which nobody may take for an execution that is new."""
    return StoreError(
        f"the head of execution {execution!r} is damaged and can't be read ({error!r}). Nothing was run. Restore it from a "
        "backup (in DynamoDB point-in-time recovery), or give the event a new id if its effects may happen again."
    )


def record_to_list(record: AttemptRecord) -> list[Any]:
    """One attempt, short: a head has to stay under 4 KB."""
    began, ended = round(record.began, 3), None if record.ended is None else round(record.ended, 3)
    return [record.number, began, ended, record.owner, record.request_id, record.how]


def record_from_list(row: list[Any]) -> AttemptRecord:
    """Read what `record_to_list` wrote."""
    number, began, ended, owner, request_id, how = row[:6]
    return AttemptRecord(number, began, owner, request_id, ended, how)
