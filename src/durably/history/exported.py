"""PURE: one execution as a line of JSON, and back. A line is not believed: a store that took nonsense could be listed no more."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn, get_args

from ..entries import FORMAT, Entry, Head, Segment, Status, entries_from_text, entries_to_text
from ..errors import DurablyError
from ..naming import ID_MAX
from ..stores.heads import head_from_text, head_to_text

OWNER_MAX = 128
"""Bytes of a random id: it stands in sort keys, which take 1,024 (DynamoDB quotas)."""

TIME_MAX = 253_370_764_800.0
"""The year 9999, the last that Python's dates know."""

COUNT_MAX = 1_000_000_000


def to_line(head: Head, segments: Sequence[Segment]) -> str:
    """Head, event, result, and the segments' texts. Nothing is redacted."""
    whole = {
        "durably": FORMAT,
        "head": json.loads(head_to_text(head)),
        "event": head.event,
        "result": head.result,
        "segments": [[one.number, one.owner, one.expires_at, entries_to_text(one.entries)] for one in segments],
    }
    return json.dumps(whole, separators=(",", ":"))


def from_line(line: str | bytes) -> tuple[Head, list[Segment]]:
    """What `to_line` wrote. Raises DurablyError for anything else, and for what a newer durably wrote."""
    try:
        whole: Any = json.loads(line.decode() if isinstance(line, bytes) else line)
        if not isinstance(whole, dict):
            _refuse("it is no JSON object")
        _refuse_newer(whole["durably"])
        head = head_from_text(json.dumps(whole["head"]), whole["event"], whole["result"])
        _check_head(head)
        segments = [_segment(head, number, row) for number, row in enumerate(whole["segments"], start=1)]
    except KeyError as error:
        _refuse(f"{error} is missing")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        _refuse(f"{type(error).__name__}: {error}")
    return head, segments


def _refuse_newer(written_by: Any) -> None:
    _count(written_by, "durably")
    if written_by > FORMAT:
        raise DurablyError(f"it was exported by a newer durably (format {written_by}; this one reads up to {FORMAT}).")


def _check_head(head: Head) -> None:
    _text(head.id, "the id")
    if not head.id.strip():
        _refuse("the id is empty")
    for name in ("generation", "owner"):
        _text(getattr(head, name), name, OWNER_MAX)
    for name in ("function", "qualname", "source", "fingerprint"):
        _text(getattr(head, name), name)
    if head.status not in get_args(Status):
        _refuse(f"the status {head.status!r} is none; there are {', '.join(get_args(Status))}")
    for name in ("lease_until", "began", "updated"):
        _time(getattr(head, name), name)
    if head.expires_at is not None:
        _time(head.expires_at, "expires_at")
    _count(head.attempt, "attempt")
    _count(head.format, "format")
    _refuse_newer(head.format)
    if not isinstance(head.unsettled, bool):
        _refuse(f"unsettled is {_shown(head.unsettled)}, and it is true or false")
    _check_attempts(head)
    if head.event is not None:
        _text(head.event, "the event", None)
        json.loads(head.event)
    if head.result is not None:
        _text(head.result, "the result", None)


def _check_attempts(head: Head) -> None:
    last = head.attempt
    for place, one in enumerate(reversed(head.attempts)):
        _count(one.number, "an attempt's number")
        if one.number != last - place:
            _refuse(f"attempt {one.number} stands in the place of attempt {last - place}")
        _time(one.began, f"attempt {one.number}'s began")
        if one.ended is not None:
            _time(one.ended, f"attempt {one.number}'s ended")
        for text in (one.owner, one.request_id, one.how):
            _text(text, f"a text of attempt {one.number}")


def _segment(head: Head, expected: int, row: Any) -> Segment:
    number, owner, expires_at, text = row
    if type(number) is not int or number != expected:
        _refuse(f"segment {_shown(number)} stands in the place of segment {expected}")
    _text(owner, f"segment {number}'s owner", OWNER_MAX)
    if expires_at is not None:
        _time(expires_at, f"segment {number}'s expires_at")
    _text(text, f"segment {number}", None)
    entries = entries_from_text(text)
    for entry in entries:
        _check_entry(head, number, entry)
    return Segment(head.id, head.generation, number, owner, entries, expires_at)


def _check_entry(head: Head, number: int, entry: Entry) -> None:
    where = f"in segment {number}, the entry of step {_shown(entry.step)}:"
    for text in (entry.step, entry.within, *entry.redact):
        _text(text, f"{where} a name", None)
    _count(entry.attempt, f"{where} attempt", least=0)
    _count(entry.tries, f"{where} tries", least=0)
    _time(entry.began, f"{where} at")
    _time(entry.ended, f"{where} its end")
    if not isinstance(entry.permanent, bool):
        _refuse(f"{where} permanent is {_shown(entry.permanent)}, and it is true or false")
    if entry.attempt > head.attempt:
        # Whoever reads it would take the head for an old one, and read again for ever.
        _refuse(f"{where} it is of attempt {entry.attempt}, and there were {head.attempt}")


def _text(value: Any, what: str, bytes_max: int | None = ID_MAX) -> None:
    if not isinstance(value, str):
        _refuse(f"{what} is {_shown(value)}, and it is a text")
    size = len(value.encode())  # ValueError for a lone surrogate, which no store can write
    if bytes_max is not None and size > bytes_max:
        _refuse(f"{what} has {size:,} bytes, and {bytes_max:,} are the most")


def _time(value: Any, what: str) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= TIME_MAX:
        _refuse(f"{what} is {_shown(value)}, and it is a time in seconds since 1970")


def _count(value: Any, what: str, least: int = 1) -> None:
    if type(value) is not int or not least <= value <= COUNT_MAX:
        _refuse(f"{what} is {_shown(value)}, and it is a whole number from {least} on")


def _shown(value: Any) -> str:
    return ascii(value)[:60]


def _refuse(why: str) -> NoReturn:
    raise DurablyError(f"it is no line of an export ({why}).")
