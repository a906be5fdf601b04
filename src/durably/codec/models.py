"""pydantic v2 models to marks and back, field by field and without running validators. pydantic is never imported here.

Only a field that the codec itself can't store (a URL, a path) goes through pydantic, and must come back equal.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from .annotations import Place
from .classes import is_model
from .records import added_without_default, class_of, head, read_field
from .unencodable import Name, Unencodable, dotted
from .walk import FINDERS, Encoder, Reader, Writer, decodes

_ADAPTERS: WeakKeyDictionary[type, dict[str, Any]] = WeakKeyDictionary()


def _model(writer: Writer, value: Any) -> object:
    cls = type(value)
    fields = cls.model_fields
    stored = {name: _field(writer, cls, name, item) for name, item in vars(value).items() if name in fields}
    data = {**head("model", cls), "fields": stored}
    if len(stored) < len(fields):
        # model_construct validates nothing and leaves a required field out.
        data["unset"] = [name for name in fields if name not in stored]
    given = value.__pydantic_fields_set__
    if given != set(stored):
        data["given"] = sorted(given)
    extra = value.__pydantic_extra__
    if extra is not None:
        data["extra"] = writer.pairs(extra)
    private = value.__pydantic_private__
    if private is not None:
        data["private"] = {name: writer.write(item, ".{}", Name(name)) for name, item in private.items()}
    return data


def _field(writer: Writer, cls: type, name: str, value: object) -> object:
    kept, writer.stand_in = writer.stand_in, None
    try:
        return writer.write(value, ".{}", Name(name))
    except Unencodable as error:
        text = _through_pydantic(cls, name, value)
        if text is not None:
            return {"$pydantic": text}
        if kept is None:
            raise
        return kept(value, error)
    finally:
        writer.stand_in = kept


def _through_pydantic(cls: type, name: str, value: object) -> str | None:
    """pydantic's JSON of a field, None unless it comes back equal: a SecretStr, for one, does not."""
    try:
        adapter = _adapter(cls, name)
        text: str = adapter.dump_json(value).decode()
        return text if _same(adapter.validate_json(text), value) else None
    except Exception:
        # Serialisers and validators are the user's code; the codec's own error says what to do.
        return None


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, Mapping):
        return _same(list(one), list(other)) and _same(list(one.values()), list(other.values()))
    if isinstance(one, (list, tuple)):
        return all(_same(left, right) for left, right in zip(one, other, strict=True))
    return True


def _adapter(cls: Any, name: str) -> Any:
    known = _ADAPTERS.setdefault(cls, {})
    if name not in known:
        adapter: Any = vars(sys.modules["pydantic.type_adapter"])["TypeAdapter"]
        known[name] = adapter(cls.model_fields[name].rebuild_annotation())
    return known[name]


@decodes("$model")
def _read_model(reader: Reader, data: dict[str, Any], place: Place) -> object:
    cls: Any = class_of("model", reader, data, place)
    value = object.__new__(cls)
    stored, unset = data["fields"], data.get("unset", ())
    fields: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        if name in unset and name not in stored:
            continue
        fields[name] = (
            _read_field(reader, cls, name, stored[name]) if name in stored else _default(cls, name, field, fields)
        )
    given = data.get("given", stored)
    object.__setattr__(value, "__dict__", fields)
    object.__setattr__(value, "__pydantic_fields_set__", {name for name in given if name in fields or "extra" in data})
    object.__setattr__(value, "__pydantic_extra__", reader.pairs(data["extra"], ()) if "extra" in data else None)
    object.__setattr__(value, "__pydantic_private__", _read_private(reader, cls, data.get("private")))
    return value


def _read_field(reader: Reader, cls: type, name: str, data: Any) -> object:
    if type(data) is not dict or "$pydantic" not in data:
        return read_field(reader, cls, name, data)
    try:
        return _adapter(cls, name).validate_json(data["$pydantic"])
    except Exception as error:
        raise Unencodable(f"pydantic no longer reads its field {name!r}: {error}", dotted(cls)) from error


def _default(cls: type, name: str, field: Any, earlier: dict[str, Any]) -> object:
    if field.is_required():
        raise added_without_default(cls, name)
    if getattr(field, "default_factory_takes_validated_data", False):
        return field.default_factory(earlier)
    return field.get_default(call_default_factory=True)


def _read_private(reader: Reader, cls: Any, stored: dict[str, Any] | None) -> dict[str, Any] | None:
    if stored is None:
        return None
    private = {name: read_field(reader, cls, name, data) for name, data in stored.items()}
    for name, attribute in cls.__private_attributes__.items():
        # PydanticUndefined, where there is no default, is no value of the attribute's.
        default = attribute.get_default()
        if name not in private and type(default).__name__ != "PydanticUndefinedType":
            private[name] = default
    return private


def _find_model(kind: type) -> Encoder | None:
    return _model if is_model(kind) else None


FINDERS.append(_find_model)
