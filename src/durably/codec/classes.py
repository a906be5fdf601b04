"""Which class a stored name means: only one that the annotation leads to. Nothing is imported, no name is looked up.

The text in the store may be anybody's; the annotation is the user's own code.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import lru_cache
from typing import Literal
from weakref import WeakValueDictionary

from .annotations import Place, hints_of, is_typed_dict, parts_of, place_of
from .unencodable import Unencodable

Kind = Literal["dataclass", "namedtuple", "enum", "model"]

_NO_SUBCLASSES = frozenset(("builtins", "typing", "collections", "collections.abc", "abc", "enum", "numbers", "types"))
"""Modules whose classes have subclasses everywhere: `object` in an annotation does not mean every class there is."""


def kind_of(cls: type) -> Kind | None:
    """In which way a class's values are stored, if at all."""
    if issubclass(cls, Enum):
        return "enum"
    if issubclass(cls, tuple):
        return "namedtuple" if isinstance(getattr(cls, "_fields", None), tuple) else None
    if hasattr(cls, "__dataclass_fields__"):
        return "dataclass"
    return "model" if is_model(cls) else None


def is_model(cls: type) -> bool:
    """Whether a class is a pydantic v2 model; pydantic is not imported to find out."""
    base = getattr(sys.modules.get("pydantic.main"), "BaseModel", None)
    return base is not None and issubclass(cls, base) and hasattr(base, "model_fields")


def name_of(cls: type) -> str:
    """How the store names a class: `module:qualname`."""
    return f"{cls.__module__}:{cls.__qualname__}"


def written_name_of(cls: type) -> str:
    """The name for the store, remembered: a class that was written here exists under that name."""
    name = name_of(cls)
    _WRITTEN[name] = cls
    return name


def bases_of(cls: type) -> list[str]:
    """The names of a class's bases that are stored in the same way, nearest first."""
    kind = kind_of(cls)
    return [name_of(base) for base in cls.__mro__[1:] if kind_of(base) == kind and base.__module__ not in _ROOTS]


_WRITTEN: WeakValueDictionary[str, type] = WeakValueDictionary()
_ROOTS = frozenset(("builtins", "typing", "enum", "pydantic.main", "pydantic.root_model"))


def find_class(kind: Kind, name: str, bases: Iterable[str], returns: object, place: Place) -> type:
    """The class of a stored value: the one of that name, else the only one of its kind at this place: it was renamed.

    Raises Unencodable. `bases` keeps a subclass that is not loaded here from coming back as its base.
    """
    found = _table(returns).get(name)
    if found is None:
        # Classes and their annotations can be defined after the first look.
        _forget()
        found = _table(returns).get(name)
    if found is None:
        moved = _moved(kind, name, bases, place)
        if moved is not None:
            return moved
        raise Unencodable(_why_not(returns, kind), name.replace(":", "."))
    if kind_of(found) != kind:
        raise Unencodable(f"it was stored as a {kind} and its class is none any more", name.replace(":", "."))
    return found


def _moved(kind: Kind, name: str, bases: Iterable[str], place: Place) -> type | None:
    """The class that took the place of one that was renamed, or moved to another module."""
    if name in _WRITTEN:
        # It exists, so it was not renamed: the annotation is wrong.
        return None
    candidates = set(_at(place, kind))
    if len(candidates) > 1:
        candidates = {cls for cls in candidates if cls.__qualname__ == name.partition(":")[2]}
    if len(candidates) != 1:
        return None
    only = candidates.pop()
    return None if name_of(only) in bases else only


def _why_not(returns: object, kind: str) -> str:
    names = sorted(cls.__qualname__ for cls in set(_table(returns).values()))
    if not names:
        return (
            "nothing says which class it comes back as: annotate the function's return type with a class that can be "
            "found when the step runs, or pass returns=Review"
        )
    listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return (
        f"no {kind} of that name is among the classes that the return annotation leads to ({listed}): name it there, "
        "import the module of the subclass, or pass returns="
    )


def _table(returns: object) -> dict[str, type]:
    try:
        return _cached_table(returns)
    except TypeError:
        return _new_table(returns)


def _new_table(returns: object) -> dict[str, type]:
    """Every class that the annotation leads to, by name. A named one wins over a subclass that has the same name."""
    named: dict[str, type] = {}
    loaded: dict[str, type] = {}
    # By identity, because not all can be hashed; kept, because the id of an object that is gone is given out again.
    seen: dict[int, object] = {}
    waiting: list[tuple[object, bool]] = [(returns, True)]
    while waiting:
        annotation, is_named = waiting.pop()
        if annotation is None or id(annotation) in seen:
            continue
        seen[id(annotation)] = annotation
        if isinstance(annotation, type) and typing.get_origin(annotation) is None:
            if kind_of(annotation) is not None:
                (named if is_named else loaded)[name_of(annotation)] = annotation
            waiting.extend((sub, False) for sub in _subclasses(annotation))
            waiting.extend((hint, True) for hint in _field_hints(annotation))
        else:
            waiting.extend((part, True) for part in _pieces(annotation))
    return {**loaded, **named}


_cached_table = lru_cache(maxsize=256)(_new_table)


def _forget() -> None:
    _cached_table.cache_clear()


def _pieces(annotation: object) -> Iterator[object]:
    """What an annotation that is no class is made of."""
    if isinstance(annotation, (list, tuple)):
        yield from annotation
        return
    parts = parts_of(annotation)
    if parts != (annotation,):
        yield from parts
        return
    origin = typing.get_origin(annotation)
    if origin is not None:
        yield origin
        yield from typing.get_args(annotation)


def _field_hints(cls: type) -> Iterable[object]:
    if kind_of(cls) in ("dataclass", "namedtuple", "model") or is_typed_dict(cls):
        return hints_of(cls).values()
    return ()


def _subclasses(cls: type) -> list[type]:
    """The loaded subclasses, those defined last at the end."""
    return [] if cls.__module__ in _NO_SUBCLASSES else type.__subclasses__(cls)


def _at(place: Place, kind: Kind) -> Iterator[type]:
    """The classes of a kind that may stand at a place, subclasses included."""
    waiting = [typing.get_origin(part) or part for part in place]
    while waiting:
        cls = waiting.pop()
        if isinstance(cls, type):
            if kind_of(cls) == kind:
                yield cls
            waiting.extend(_subclasses(cls))


def place_of_field(cls: type, name: str) -> Place:
    """What a class says of one of its fields."""
    return place_of(hints_of(cls).get(name))
