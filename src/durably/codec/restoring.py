"""An exception from its text: the class that was raised if it is loaded, else the nearest loaded one along its bases.

No constructor of a user's is run: the object is made by the builtin base, then given its arguments and fields.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, cast

from .annotations import Place, place_of
from .annotations import hints_of as annotated
from .exceptions import Record, field_slots
from .marks import Reader, decodes
from .placeholders import NotStored, laid_out_as, placeholder, reading
from .text import JSON, Codec, loads
from .unencodable import Unencodable, dotted
from .validation import validation_error

ADVICE = "it was not stored with the exception; keep what you need of it as plain data on the exception"


def decode_exception(text: str, codec: Codec = JSON) -> BaseException:
    """The exception of a text. Raises Unencodable where the text is no record of one, never for a class or a field."""
    record = loads(text)
    if type(record) is not dict:
        raise Unencodable("the stored text is malformed: it is no exception's", path="exception")
    try:
        return _Restorer(codec).exception(record)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unencodable(f"the stored text is malformed: {error}", path="exception") from error


@decodes("$exception")
def _read_exception(reader: Reader, data: dict[str, Any], place: Place) -> BaseException:
    return _Restorer(reader.codec or JSON).exception(data["$exception"])


@decodes("$missing")
def _read_missing(reader: Reader, data: dict[str, Any], place: Place) -> object:
    return placeholder(reader.owner, data["$missing"], f"{ADVICE} ({data['why']})")


class _Restorer:
    """Makes one exception and those it holds from their records."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def exception(self, record: Record) -> BaseException:
        meant = str(record.get("class", "builtins:Exception"))
        names = [meant, *record.get("mro", ())]
        name, made = next(self._candidates(names, record))
        self._fill(made, record, meant)
        if name != meant:
            self._stand_for(made, record, meant)
        return made

    def _candidates(self, names: list[str], record: Record) -> Iterator[tuple[str, BaseException]]:
        for name in names:
            cls = _loaded(name, names)
            made = None if cls is None else self._made(cls, record)
            if made is not None:
                yield name, made
        yield "", Exception()

    def _made(self, cls: type[BaseException], record: Record) -> BaseException | None:
        """An empty object of the class, None where it can't be made without its constructor."""
        try:
            if issubclass(cls, BaseExceptionGroup):
                return self._group(cls, record)
            made = validation_error(cls, self.unpack(record.get("errors"), dotted(cls)))
        except Exception:
            # The class is no longer what it was; the next of its bases is tried.
            return None
        return made if made is not None else _empty(cls)

    def _group(self, cls: type[BaseExceptionGroup[Any]], record: Record) -> BaseException | None:
        message, members = record["group"]
        return BaseExceptionGroup.__new__(cls, message, [self.exception(member) for member in members])

    def _fill(self, exc: BaseException, record: Record, meant: str) -> None:
        cls, owner = type(exc), meant.replace(":", ".").removeprefix("builtins.")
        reads = record.get("reads", {})
        if "args" in record:
            args = [self.unpack(item, f"args[{index}] of {owner}") for index, item in enumerate(record["args"])]
            args = [reading(value, reads.get(str(index))) for index, value in enumerate(args)]
            BaseException.__dict__["args"].__set__(exc, tuple(args))
        slots, state = field_slots(cls), object.__getattribute__(exc, "__dict__")
        hints = annotated(cls) if record.get("fields") else {}
        for name, data in record.get("fields", {}).items():
            value = self.unpack(data, f"field {name!r} of {owner}", place_of(hints.get(name)), hints.get(name))
            value = reading(value, reads.get(name))
            try:
                slots[name].__set__(exc, _safe(cls, name, value, owner))
            except (KeyError, AttributeError, TypeError, ValueError):
                # No slot of that name, or one that refuses a placeholder.
                state[name] = value
        if record.get("notes"):
            state["__notes__"] = list(record["notes"])
        if record.get("cause"):
            BaseException.__dict__["__cause__"].__set__(exc, self.exception(record["cause"]))
        if hasattr(cls, "__getattr__"):
            # urllib's HTTPError hands every unknown name to its file, now a placeholder, and printing asks for __notes__.
            state.setdefault("__notes__", [])
        BaseException.__dict__["__suppress_context__"].__set__(exc, bool(record.get("suppress")))

    def unpack(self, data: Any, owner: str, place: Place = (), returns: object = None) -> Any:
        """The value of an argument or a field; what can't be restored becomes a placeholder."""

        def stand_in(data: object, error: Unencodable) -> object:
            return placeholder(
                owner, error.type_name or "unknown", f"{error.why}. On an exception, plain data is safest"
            )

        try:
            if type(data) is dict and "$text" in data:
                return self.codec.decode(data["$text"], returns)
            reader = Reader(returns, stand_in, owner)
            reader.codec = self.codec
            return reader.read(data, place)
        except Exception as error:
            return stand_in(data, error if isinstance(error, Unencodable) else Unencodable(str(error)))

    def _stand_for(self, exc: BaseException, record: Record, meant: str) -> None:
        """Say which class was meant, and let `str` read as it did, or say how it read."""
        state = object.__getattribute__(exc, "__dict__")
        note = f"durably: {meant.replace(':', '.')} was raised; it is not loaded here, and {dotted(type(exc))} stands for it"
        message = record.get("message", "")
        if not _reads(exc, message):
            if not isinstance(exc, BaseExceptionGroup):
                BaseException.__dict__["args"].__set__(exc, (message,))
            if not _reads(exc, message):
                note += f". It read: {message}"
        state["__notes__"] = [*state.get("__notes__", ()), note]


def _safe(cls: type[BaseException], name: str, value: object, owner: str) -> object:
    """What a slot may hold. `str` of a UnicodeError reads memory at `start` of `object`, of whatever type that is."""
    if not issubclass(cls, UnicodeError):
        return value
    if name == "start" and isinstance(value, int):
        return max(value, 0)
    needed = bytes if issubclass(cls, UnicodeDecodeError) else str
    if name != "object" or type(value) is needed:
        return value
    if not issubclass(type(value), NotStored):
        value = placeholder(
            f"field 'object' of {owner}", dotted(type(value)), f"{needed.__name__} is what it has to be"
        )
    return laid_out_as(needed, cast(NotStored, value))


def _reads(exc: BaseException, message: str) -> bool:
    try:
        return str(exc) == message
    except Exception:
        # A user's __str__ on a class that is not quite its own.
        return False


def _empty(cls: type[BaseException]) -> BaseException | None:
    """An object of the class as its builtin base makes it."""
    for base in cls.__mro__:
        if base.__module__ == "builtins" and issubclass(base, BaseException):
            try:
                made: BaseException = base.__new__(cls)
            except TypeError:
                # Of several builtin bases only the one that lays out the object may make it.
                continue
            return made
    return None


def _loaded(name: str, names: Any) -> type[BaseException] | None:
    """The loaded exception class of a name. Nothing is imported, and no module's `__getattr__` asked."""
    module, _, qualname = name.partition(":")
    if "<locals>" in qualname:
        return _local(name, names)
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        # Asked of `object` and `type`: a module that waits for its first use would be imported by any other look at it, and
        # a proxy would look for what it stands for.
        if not issubclass(type(found), (ModuleType, type)):
            return None
        found = object.__getattribute__(found, "__dict__").get(part)
    return found if issubclass(type(found), type) and issubclass(found, BaseException) else None


def _local(name: str, names: Any) -> type[BaseException] | None:
    """A class made inside a function, found below its nearest base that has a name: the one defined last."""
    later = list(names)[list(names).index(name) + 1 :] if name in names else []
    base = next((cls for cls in (_loaded(each, ()) for each in later) if cls is not None), Exception)
    module, _, qualname = name.partition(":")
    found, waiting = None, [base]
    while waiting:
        cls = waiting.pop(0)
        if cls.__module__ == module and cls.__qualname__ == qualname:
            found = cls
        waiting.extend(type.__subclasses__(cls))
    return found
