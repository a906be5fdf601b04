"""The marks of builtin and standard-library values. `decimal` and `uuid` are imported when one is met."""

from __future__ import annotations

import binascii
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

from .annotations import Place
from .plain import LARGEST_INT, dumps, is_utf8
from .unencodable import Unencodable
from .walk import FINDERS, Encoder, Reader, Writer, decodes, encodes

_FACTORIES: dict[str, Callable[[], Any]] = {
    kind.__name__: kind for kind in (list, dict, set, int, float, str, bool, tuple, bytes, frozenset)
}


@encodes(bool, type(None))
def _itself(writer: Writer, value: object) -> object:
    return value


@encodes(str)
def _str(writer: Writer, value: str) -> object:
    # JSON's own escapes would join two lone halves into one character.
    return value if is_utf8(value) else {"$str": value.encode("unicode_escape").decode()}


@decodes("$str")
def _read_str(reader: Reader, data: dict[str, Any], place: Place) -> str:
    text: str = data["$str"]
    return text.encode("ascii").decode("unicode_escape")


@encodes(int)
def _int(writer: Writer, value: int) -> object:
    return value if -LARGEST_INT < value < LARGEST_INT else {"$int": hex(value)}


@decodes("$int")
def _read_int(reader: Reader, data: dict[str, Any], place: Place) -> int:
    return int(data["$int"], 16)


@encodes(float)
def _float(writer: Writer, value: float) -> object:
    return value if value - value == 0.0 else {"$float": repr(value)}


@decodes("$float")
def _read_float(reader: Reader, data: dict[str, Any], place: Place) -> float:
    return float(data["$float"])


@encodes(complex)
def _complex(writer: Writer, value: complex) -> object:
    return {"$complex": [writer.write(value.real), writer.write(value.imag)]}


@decodes("$complex")
def _read_complex(reader: Reader, data: dict[str, Any], place: Place) -> complex:
    return complex(*reader.items(data["$complex"], ()))


@encodes(bytes)
def _bytes(writer: Writer, value: bytes) -> object:
    return {"$bytes": binascii.b2a_base64(value, newline=False).decode()}


@decodes("$bytes")
def _read_bytes(reader: Reader, data: dict[str, Any], place: Place) -> bytes:
    return binascii.a2b_base64(data["$bytes"])


@encodes(bytearray)
def _bytearray(writer: Writer, value: bytearray) -> object:
    return {"$bytearray": binascii.b2a_base64(value, newline=False).decode()}


@decodes("$bytearray")
def _read_bytearray(reader: Reader, data: dict[str, Any], place: Place) -> bytearray:
    return bytearray(binascii.a2b_base64(data["$bytearray"]))


@encodes(list)
def _list(writer: Writer, value: list[object]) -> object:
    return writer.items(value)


@encodes(tuple)
def _tuple(writer: Writer, value: tuple[object, ...]) -> object:
    return {"$tuple": writer.items(value)}


@decodes("$tuple")
def _read_tuple(reader: Reader, data: dict[str, Any], place: Place) -> tuple[Any, ...]:
    return tuple(reader.items(data["$tuple"], place))


@encodes(dict)
def _dict(writer: Writer, value: dict[Any, Any]) -> object:
    for key in value:
        if type(key) is not str or key[:1] == "$" or not is_utf8(key):
            return {"$dict": writer.pairs(value)}
    return {key: writer.write(item, "[{}]", key) for key, item in value.items()}


@decodes("$dict")
def _read_dict(reader: Reader, data: dict[str, Any], place: Place) -> dict[Any, Any]:
    return reader.pairs(data["$dict"], place)


def _in_canonical_order(writer: Writer, values: set[Any] | frozenset[Any]) -> list[object]:
    # A set's own order changes with every process: strings are hashed with a random seed.
    return sorted((writer.key(value) for value in values), key=dumps)


@encodes(set)
def _set(writer: Writer, value: set[Any]) -> object:
    return {"$set": _in_canonical_order(writer, value)}


@decodes("$set")
def _read_set(reader: Reader, data: dict[str, Any], place: Place) -> set[Any]:
    return set(reader.items(data["$set"], place))


@encodes(frozenset)
def _frozenset(writer: Writer, value: frozenset[Any]) -> object:
    return {"$frozenset": _in_canonical_order(writer, value)}


@decodes("$frozenset")
def _read_frozenset(reader: Reader, data: dict[str, Any], place: Place) -> frozenset[Any]:
    return frozenset(reader.items(data["$frozenset"], place))


@encodes(OrderedDict)
def _ordered_dict(writer: Writer, value: OrderedDict[Any, Any]) -> object:
    return {"$OrderedDict": writer.pairs(value)}


@decodes("$OrderedDict")
def _read_ordered_dict(reader: Reader, data: dict[str, Any], place: Place) -> OrderedDict[Any, Any]:
    return OrderedDict(reader.pairs(data["$OrderedDict"], place))


@encodes(Counter)
def _counter(writer: Writer, value: Counter[Any]) -> object:
    return {"$Counter": writer.pairs(value)}


@decodes("$Counter")
def _read_counter(reader: Reader, data: dict[str, Any], place: Place) -> Counter[Any]:
    return Counter(reader.pairs(data["$Counter"], place))


@encodes(defaultdict)
def _defaultdict(writer: Writer, value: defaultdict[Any, Any]) -> object:
    factory = value.default_factory
    name = getattr(factory, "__name__", "")
    if factory is not None and _FACTORIES.get(name) is not factory:
        raise Unencodable("its default factory can't be stored: return dict(…) of it")
    return {"$defaultdict": writer.pairs(value), "factory": name if factory else None}


@decodes("$defaultdict")
def _read_defaultdict(reader: Reader, data: dict[str, Any], place: Place) -> defaultdict[Any, Any]:
    factory = None if data["factory"] is None else _FACTORIES[data["factory"]]
    return defaultdict(factory, reader.pairs(data["$defaultdict"], place))


@encodes(deque)
def _deque(writer: Writer, value: deque[Any]) -> object:
    return {"$deque": writer.items(value), "maxlen": value.maxlen}


@decodes("$deque")
def _read_deque(reader: Reader, data: dict[str, Any], place: Place) -> deque[Any]:
    return deque(reader.items(data["$deque"], place), data["maxlen"])


def _decimal(writer: Writer, value: object) -> object:
    return {"$decimal": str(value)}


@decodes("$decimal")
def _read_decimal(reader: Reader, data: dict[str, Any], place: Place) -> object:
    from decimal import Decimal

    return Decimal(data["$decimal"])


def _uuid(writer: Writer, value: object) -> object:
    return {"$uuid": str(value)}


@decodes("$uuid")
def _read_uuid(reader: Reader, data: dict[str, Any], place: Place) -> object:
    from uuid import UUID

    return UUID(data["$uuid"])


_UNLOADED: dict[tuple[str, str], Encoder] = {("decimal", "Decimal"): _decimal, ("uuid", "UUID"): _uuid}


def _find_unloaded(kind: type) -> Encoder | None:
    """Types of modules that are not imported here: a value of theirs can exist only where the module is loaded."""
    encoder = _UNLOADED.get((kind.__module__, kind.__qualname__))
    if encoder is None or getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is not kind:
        return None
    return encoder


FINDERS.append(_find_unloaded)
