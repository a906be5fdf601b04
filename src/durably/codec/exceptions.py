"""An exception as text: its class and bases by name, arguments, fields, notes, cause; its message and traceback to read.

What can't be stored leaves a mark behind and comes back as a placeholder. Encoding never raises and is bounded: this
runs when something has gone wrong already, on objects of anybody's making.
"""

from __future__ import annotations

import json
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, cast

from ..errors import DurablyError, NotSerializable
from .classes import kind_of, name_of
from .marks import TooLarge, Writer, encodes
from .placeholders import KINDS, NotStored, what_it_was
from .plain import dumps, is_utf8
from .text import JSON, Codec, JSONCodec
from .unencodable import Unencodable, dotted
from .validation import line_errors

LONGEST_TEXT = 16 * 1024
"""Characters of a message or a traceback."""
LONGEST_INNER = 1024
"""Characters of the message of an exception inside another, and of a note."""
MOST_NOTES = 20
LARGEST_FIELD = 256 * 1024
"""Characters of one stored argument or field."""
LARGEST_WHOLE = 1024 * 1024
"""Characters of all the arguments and fields together, causes and groups included."""
MOST_VALUES = 50_000
"""Values looked at in one field: an object graph can be small and its tree endless."""
MOST_EXCEPTIONS = 1_000
DEEPEST = 20
"""Causes of causes, groups in groups."""

LOST = "durably: its fields could not be stored"

Record = dict[str, Any]
_ARGS, _CAUSE, _SUPPRESS = (BaseException.__dict__[name] for name in ("args", "__cause__", "__suppress_context__"))


def encode_exception(exc: BaseException, codec: Codec = JSON) -> str:
    """The text of an exception: a JSON object, `class`, `message` and `traceback` at its top. Never raises."""
    try:
        record = {"class": "", "message": "", "traceback": traceback_of(exc), **_Recorder(codec).record(exc)}
        return dumps(record)
    except Exception as problem:
        # Whatever it was, the failure itself must reach the journal.
        message = message_of(exc)
        lost = f"{LOST} ({type(problem).__name__})"
        return json.dumps({"class": name_of(type(exc)), "message": message, "args": [message], "notes": [lost]})


def message_of(exc: BaseException, longest: int = LONGEST_TEXT) -> str:
    """What `str` gives, or that it raised."""
    try:
        return clipped(str(exc), longest)
    except Exception as problem:
        return f"<str() raised {type(problem).__name__}>"


def traceback_of(exc: BaseException) -> str:
    """The formatted traceback; of a long one the beginning and, mostly, the end."""
    import traceback

    try:
        return clipped("".join(traceback.format_exception(exc)))
    except Exception as problem:
        return f"<the traceback could not be formatted: {type(problem).__name__}>"


def clipped(text: str, longest: int = LONGEST_TEXT) -> str:
    """A text of at most so many characters that can be stored: of a long one the beginning and, mostly, the end."""
    if len(text) > longest:
        text = text[: longest // 4] + "\n…\n" + text[-(longest * 3 // 4 - 3) :]
    return text if is_utf8(text) else text.encode("utf-8", "backslashreplace").decode()


def field_slots(cls: type) -> dict[str, Any]:
    """The descriptors of the fields that are not in `__dict__`: errno, code, start … and a user's `__slots__`."""
    slots: dict[str, Any] = {}
    for base in cls.__mro__:
        for name, slot in vars(base).items():
            ours = isinstance(slot, MemberDescriptorType) or (
                isinstance(slot, GetSetDescriptorType) and base.__module__ == "builtins"
            )
            if ours and not name.startswith("__") and name != "args":
                slots.setdefault(name, slot)
    return slots


class _Recorder:
    """Makes the records of one exception and of those it holds."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.room = LARGEST_WHOLE
        self.left = MOST_EXCEPTIONS
        self.within: list[BaseException] = []

    def record(self, exc: BaseException) -> Record:
        self.left -= 1
        self.within.append(exc)
        try:
            return self._record(exc)
        finally:
            self.within.pop()

    def _record(self, exc: BaseException) -> Record:
        cls = type(exc)
        record: Record = {
            "class": name_of(cls),
            "message": message_of(exc, LONGEST_TEXT if len(self.within) == 1 else LONGEST_INNER),
        }
        mro = [name_of(base) for base in cls.__mro__[1:-1] if base is not BaseException]
        if cls.__module__ != "builtins":
            record["mro"] = mro
        fields = self._fields(exc)
        notes = fields.pop("__notes__", None)
        if isinstance(exc, BaseExceptionGroup):
            fields = {name: item for name, item in fields.items() if name not in ("message", "exceptions")}
            record["group"] = [exc.message, self._members(exc)]
        else:
            record["args"] = [self.pack(item) for item in _ARGS.__get__(exc)]
        errors = line_errors(exc)
        if errors is not None:
            record["errors"] = self.pack(errors)
        if fields:
            record["fields"] = {name: self.pack(item) for name, item in fields.items()}
        reads = self._reads(_shown(_ARGS.__get__(exc), fields), record)
        if reads:
            record["reads"] = reads
        if isinstance(notes, list):
            texts = [note for note in notes[:MOST_NOTES] if isinstance(note, str)]
            record["notes"] = [clipped(note, LONGEST_INNER) for note in texts]
        cause = _CAUSE.__get__(exc)
        if cause is not None:
            record["cause"] = self.nested(cause, "the cause")
        if _SUPPRESS.__get__(exc):
            record["suppress"] = True
        return record

    def nested(self, exc: BaseException, what: str) -> Record:
        """The record of an exception inside another, or of an error that says it was left out."""
        if len(self.within) < DEEPEST and self.left > 0 and not any(exc is outer for outer in self.within):
            return self.record(exc)
        return self._record(NotSerializable(f"{what} of an exception", "", dotted(type(exc)), "there are too many"))

    def _members(self, group: BaseExceptionGroup[Any]) -> list[Record]:
        members = group.exceptions
        room = max(1, self.left - 1)
        records = [self.nested(member, "a member") for member in members[:room]]
        if len(members) > room:
            why = f"of {len(members)} exceptions {room} were stored"
            records.append(self._record(NotSerializable("the rest of an exception group", why=why)))
        return records

    def _fields(self, exc: BaseException) -> dict[str, object]:
        # Read by descriptor: a user's __getattr__ and properties are not asked.
        fields: dict[str, object] = {}
        for name, slot in field_slots(type(exc)).items():
            try:
                value = slot.__get__(exc)
            except Exception:
                # Not set, which is how it will come back.
                continue
            # None is how the builtin ones say "not set".
            if value is not None or slot.__objclass__.__module__ != "builtins":
                fields[name] = value
        fields.update(object.__getattribute__(exc, "__dict__"))
        return {name: value for name, value in fields.items() if type(name) is str}

    def _reads(self, shown: dict[str, object], record: Record) -> dict[str, str]:
        """How each of them reads that may not come back."""
        packed = {
            **dict(zip(map(str, range(len(shown))), record.get("args", ()), strict=False)),
            **record.get("fields", {}),
        }
        longest = (LONGEST_TEXT if len(self.within) == 1 else LONGEST_INNER) // max(1, len(shown))
        reads = {}
        for name, value in shown.items():
            data = packed.get(name)
            is_missing = type(data) is dict and "$missing" in data
            if longest and (is_missing or kind_of(type(value)) is not None):
                reads[name] = _text_of(value, longest)
        return reads

    def pack(self, value: object) -> object:
        """The structure of an argument or a field, or the mark of what is missing."""
        try:
            packed = self._packed(value)
            size = len(dumps(packed))
        except Exception as problem:
            why = problem.why if isinstance(problem, Unencodable) else f"storing it raised {type(problem).__name__}"
            return _missing(value, why if not isinstance(problem, TooLarge) else "it is too large")
        if size > LARGEST_FIELD or size > self.room:
            return _missing(value, f"it takes {size:,} characters, too many for an exception's field")
        self.room -= size
        return packed

    def _packed(self, value: object) -> object:
        # A codec that can't write is what an error of durably's own may be about.
        is_ours = type(self.within[-1]).__module__ == DurablyError.__module__
        if is_ours or isinstance(self.codec, JSONCodec) or issubclass(type(value), (BaseException, NotStored)):
            return Writer(self._stand_in, MOST_VALUES).write(value)
        text = self.codec.encode(value)
        self.codec.decode(text)
        return {"$text": text}

    def _stand_in(self, value: object, error: Unencodable) -> object:
        # Not by isinstance alone: that asks an object for its __class__, and a proxy answers in its own way.
        if issubclass(type(value), BaseException) and isinstance(value, BaseException):
            if any(value is outer for outer in self.within):
                return _missing(value, "it contains itself")
            return {"$exception": self.nested(value, "a field")}
        return _missing(value, error.why)


def _shown(args: tuple[object, ...], fields: dict[str, object]) -> dict[str, object]:
    """What `str` of an exception is, mostly, made of: its arguments, and what OSError and SyntaxError keep of them."""
    shown = {str(index): value for index, value in enumerate(args)}
    shown.update((name, fields[name]) for name in ("errno", "strerror", "msg") if name in fields)
    return shown


def _text_of(value: object, longest: int) -> str:
    try:
        return clipped(str(value), longest)
    except Exception:
        return f"<not stored: {dotted(type(value))}>"


@encodes(*KINDS)
def _not_stored(writer: Writer, value: NotStored) -> object:
    raise Unencodable("it stands for a field of an exception that was not stored")


def _missing(value: object, why: str) -> Record:
    if issubclass(type(value), NotStored):
        _, type_name, why = what_it_was(cast(NotStored, value))
        return {"$missing": type_name, "why": why}
    return {"$missing": dotted(type(value)), "why": why[:300]}
