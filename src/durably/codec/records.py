"""Enums, dataclasses and NamedTuples to marks and back, without running a user's constructor, validator or `__post_init__`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from enum import Enum, Flag
from types import MemberDescriptorType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .annotations import Place
from .classes import Kind, bases_of, find_class, kind_of, place_of_field, written_name_of
from .unencodable import Name, Unencodable, dotted
from .walk import FINDERS, Encoder, Reader, Writer, decodes

_EMPTY: Mapping[str, object] = {}


def head(kind: Kind, cls: type) -> dict[str, object]:
    """The beginning of a class's mark."""
    data: dict[str, object] = {f"${kind}": written_name_of(cls)}
    bases = bases_of(cls)
    if bases:
        data["bases"] = bases
    return data


def class_of(kind: Kind, reader: Reader, data: dict[str, Any], place: Place) -> type:
    """The class that a mark means. Raises Unencodable."""
    return find_class(kind, data[f"${kind}"], data.get("bases", ()), reader.returns, place)


def _enum(writer: Writer, value: Enum) -> object:
    # Not .name and .value, which a user's property may have made something else of.
    data, name, own = head("enum", type(value)), value._name_, value._value_
    if isinstance(value, Flag):
        return {**data, "value": writer.write(own)}
    data["name"] = name
    if type(own) in (str, int):
        data["value"] = writer.write(own)
    return data


@decodes("$enum")
def _read_enum(reader: Reader, data: dict[str, Any], place: Place) -> object:
    cls: Any = class_of("enum", reader, data, place)
    value = reader.read(data.get("value"))
    if issubclass(cls, Flag):
        return cls(value)
    members = cls.__members__
    if data["name"] in members:
        return members[data["name"]]
    # The member was renamed since: its value is the other half of its identity.
    for member in members.values():
        if value is not None and type(member._value_) is type(value) and member._value_ == value:
            return member
    raise Unencodable(f"{dotted(cls)} has no member {data['name']!r} any more: keep it, or an alias", dotted(cls))


def _namedtuple(writer: Writer, value: Any) -> object:
    cls = type(value)
    if len(value) != len(cls._fields) or getattr(value, "__dict__", None):
        raise Unencodable("it has more than its fields: make it a dataclass")
    pairs = zip(cls._fields, value, strict=True)
    return {**head("namedtuple", cls), "fields": {name: writer.write(item, ".{}", Name(name)) for name, item in pairs}}


@decodes("$namedtuple")
def _read_namedtuple(reader: Reader, data: dict[str, Any], place: Place) -> object:
    cls: Any = class_of("namedtuple", reader, data, place)
    stored = data["fields"]
    values = [
        read_field(reader, cls, name, stored[name]) if name in stored else _default_of(cls, name)
        for name in cls._fields
    ]
    return tuple.__new__(cls, values)


def _default_of(cls: Any, name: str) -> object:
    if name not in cls._field_defaults:
        raise added_without_default(cls, name)
    return cls._field_defaults[name]


class _Shape(NamedTuple):
    """What all values of a dataclass have in common."""

    head: dict[str, object]
    fields: tuple[Name, ...]
    slots: tuple[Name, ...]
    """Slots that are no fields: a base's, or one for a private attribute."""
    remembered: frozenset[str]
    """What a cached_property keeps in `__dict__`: it is computed again when asked."""


_SHAPES: WeakKeyDictionary[type, _Shape] = WeakKeyDictionary()


def _shape_of(cls: Any) -> _Shape:
    known = _SHAPES.get(cls)
    if known is None:
        known = _SHAPES[cls] = _new_shape(cls)
    return known


def _new_shape(cls: Any) -> _Shape:
    try:
        object.__new__(cls)
    except TypeError:
        raise Unencodable("it is a dataclass on top of a builtin class: return a dataclass of plain fields") from None
    fields = tuple(Name(field.name) for field in dataclasses.fields(cls))
    attributes = {name: found for base in reversed(cls.__mro__) for name, found in vars(base).items()}
    slots = [Name(name) for name, found in attributes.items() if isinstance(found, MemberDescriptorType)]
    remembered = [name for name, found in attributes.items() if isinstance(found, functools.cached_property)]
    return _Shape(
        head=head("dataclass", cls),
        fields=fields,
        slots=tuple(name for name in slots if name not in fields),
        # Box[int](…) leaves __orig_class__ on the instance.
        remembered=frozenset((*remembered, "__orig_class__")),
    )


def _dataclass(writer: Writer, value: Any) -> object:
    shape = _shape_of(type(value))
    found = _set_attributes(value, shape.fields)
    data: dict[str, object] = dict(shape.head)
    data["fields"] = {name: writer.write(item, ".{}", name) for name, item in found.items()}
    if len(found) < len(shape.fields):
        data["unset"] = [name for name in shape.fields if name not in found]
    beside = {name: item for name, item in getattr(value, "__dict__", _EMPTY).items() if name not in found}
    if beside or shape.slots:
        beside.update(_set_attributes(value, shape.slots))
        kept = {name: item for name, item in beside.items() if name not in shape.remembered}
        if kept:
            # Attributes that are no fields, such as __post_init__ sets: it is not run again.
            data["beside"] = {name: writer.write(item, ".{}", Name(name)) for name, item in kept.items()}
    return data


def _set_attributes(value: object, names: tuple[Name, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in names:
        try:
            found[name] = getattr(value, name)
        except AttributeError:
            continue
        except Exception as error:
            raise Unencodable(f"reading {name!r} raised {type(error).__name__}: {error}") from error
    return found


@decodes("$dataclass")
def _read_dataclass(reader: Reader, data: dict[str, Any], place: Place) -> object:
    cls: Any = class_of("dataclass", reader, data, place)
    value = object.__new__(cls)
    stored, unset = data["fields"], data.get("unset", ())
    for field in dataclasses.fields(cls):
        if field.name in stored:
            item = read_field(reader, cls, field.name, stored[field.name])
        elif field.name in unset:
            continue
        else:
            item = _default_of_field(cls, field)
        object.__setattr__(value, field.name, item)
    for name, item in data.get("beside", {}).items():
        object.__setattr__(value, name, reader.read(item, place_of_field(cls, name), ".{}", Name(name)))
    return value


def _default_of_field(cls: type, field: dataclasses.Field[Any]) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise added_without_default(cls, field.name)


def read_field(reader: Reader, cls: type, name: str, data: object) -> Any:
    """The value of a field of a class, at the place that the class's own annotation describes."""
    return reader.read(data, place_of_field(cls, name), ".{}", Name(name))


def added_without_default(cls: type, name: str) -> Unencodable:
    """The error of a field that the stored value is too old to have."""
    return Unencodable(
        f"its field {name!r} was added after this value was stored and has no default: give it one", dotted(cls)
    )


_ENCODERS: dict[Kind, Encoder] = {"enum": _enum, "namedtuple": _namedtuple, "dataclass": _dataclass}


def _find_record(kind: type) -> Callable[[Writer, Any], object] | None:
    way = kind_of(kind)
    return None if way is None else _ENCODERS.get(way)


FINDERS.append(_find_record)
