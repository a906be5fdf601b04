"""The marks of dates, times and durations. A zone is kept by its key, so that local time stays what it was."""

from __future__ import annotations

import sys
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any

from .annotations import Place
from .unencodable import Unencodable
from .walk import FINDERS, Encoder, Reader, Writer, decodes, encodes


def _own(cls: type) -> type:
    """The interpreter's own class: while freezegun runs, `datetime.datetime` is a subclass, also for an import made then."""
    return next(base for base in cls.__mro__ if base.__module__ == "datetime")


@encodes(_own(date))
def _date(writer: Writer, value: date) -> object:
    return {"$date": value.isoformat()}


@decodes("$date")
def _read_date(reader: Reader, data: dict[str, Any], place: Place) -> date:
    return date.fromisoformat(data["$date"])


@encodes(timedelta)
def _timedelta(writer: Writer, value: timedelta) -> object:
    return {"$timedelta": [value.days, value.seconds, value.microseconds]}


@decodes("$timedelta")
def _read_timedelta(reader: Reader, data: dict[str, Any], place: Place) -> timedelta:
    return timedelta(*data["$timedelta"])


@encodes(_own(datetime))
def _datetime(writer: Writer, value: datetime) -> object:
    return _moment("$datetime", value)


@decodes("$datetime")
def _read_datetime(reader: Reader, data: dict[str, Any], place: Place) -> datetime:
    value = datetime.fromisoformat(data["$datetime"])
    return value.replace(**_zone_and_fold(value, data))


@encodes(time)
def _time(writer: Writer, value: time) -> object:
    return _moment("$time", value)


@decodes("$time")
def _read_time(reader: Reader, data: dict[str, Any], place: Place) -> time:
    value = time.fromisoformat(data["$time"])
    return value.replace(**_zone_and_fold(value, data))


def _moment(mark: str, value: datetime | time) -> dict[str, object]:
    """The text, `fold` where it is set, and the zone: by its key, else (a zone of another library) as its offset."""
    try:
        data: dict[str, object] = {mark: value.isoformat()}
        offset = value.utcoffset()
    except Exception as error:
        raise Unencodable(f"its time zone raised {type(error).__name__}: store it in UTC") from error
    if value.fold:
        data["fold"] = 1
    zone = value.tzinfo
    if zone is None:
        return data
    key = _key_of(zone)
    if key:
        data["zone"] = key
    elif offset is None:
        raise Unencodable("its time zone gives no offset: store it in UTC")
    elif type(zone) is timezone and zone.tzname(None) != timezone(offset).tzname(None):
        data["name"] = zone.tzname(None)
    return data


def _key_of(zone: tzinfo) -> str | None:
    # A zone of zoneinfo's can exist only where that is loaded.
    known: Any = getattr(sys.modules.get("zoneinfo"), "ZoneInfo", None)
    if known is None or type(zone) is not known:
        return None
    key: str | None = getattr(zone, "key", None)
    return key


def _zone_and_fold(value: datetime | time, data: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {"fold": 1} if data.get("fold") else {}
    offset = value.utcoffset()
    if "zone" in data:
        from zoneinfo import ZoneInfo

        changes["tzinfo"] = ZoneInfo(data["zone"])
    elif "name" in data and offset is not None:
        changes["tzinfo"] = timezone(offset, data["name"])
    return changes


def _find_frozen(kind: type) -> Encoder | None:
    """freezegun's stand-ins, while it runs: read back, they are whatever `datetime.datetime` is then."""
    if kind.__module__ != "freezegun.api":
        return None
    return {"FakeDate": _date, "FakeDatetime": _datetime}.get(kind.__name__)


FINDERS.append(_find_frozen)
