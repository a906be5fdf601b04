"""What annotations say: of a function's return value, of a class's fields, and of each position inside a value.

A *place* is the flat tuple of what may stand at a position: `list[A] | None` is the place `(list[A], NoneType)`.
Nothing here raises: an annotation that can't be resolved says nothing.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Mapping
from types import FunctionType, SimpleNamespace, UnionType
from typing import Any
from weakref import WeakKeyDictionary

Place = tuple[object, ...]

_RETURNS: WeakKeyDictionary[Any, object] = WeakKeyDictionary()
_HINTS: WeakKeyDictionary[type, dict[str, object]] = WeakKeyDictionary()
_UNWRAPPINGS = 50
"""Wrappers around wrappers looked through; a `__wrapped__` may point at itself."""


def returns_of(fn: object) -> object:
    """The class or annotation of what a callable returns, None where nothing says so.

    Looks through `partial`, `functools.wraps`, methods and callable objects; a class returns itself.
    """
    if type(fn) is FunctionType and not fn.__dict__ and "return" not in fn.__annotations__:
        return None  # the plain lambda of a step, a quarter of whose time the long way would take
    try:
        return _returns_of(fn)
    except Exception:
        # Any object may be given, and reading its attributes is user code. What is not known is found out by decode.
        return None


def _returns_of(fn: Any) -> object:
    owner: object = None
    for _ in range(_UNWRAPPINGS):
        if isinstance(fn, type):
            return fn
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif inspect.ismethod(fn):
            owner = fn.__self__ if isinstance(fn.__self__, type) else type(fn.__self__)
            fn = fn.__func__
        elif hasattr(fn, "__wrapped__") and not _says_what_it_returns(fn):
            fn = fn.__wrapped__
        elif inspect.isfunction(fn):
            break
        elif inspect.ismethod(getattr(fn, "__call__", None)):  # noqa: B004 - a bound method is wanted
            fn = fn.__call__
        else:
            return None
    found = _cached_return(fn)
    return _without_self(found, owner)


def _without_self(found: object, owner: object) -> object:
    """The annotation, and beside it the class that its `Self` means: `list[Self]` leads to both."""
    if owner is None or not _has_self(found):
        return found
    return owner if found is typing.Self else typing.Union[found, owner]  # noqa: UP007 - `found` may be of a kind that has no `|`


def _has_self(annotation: object) -> bool:
    return annotation is typing.Self or any(map(_has_self, typing.get_args(annotation)))


def _says_what_it_returns(fn: Any) -> bool:
    """Whether a wrapper has a return annotation of its own, not one that `wraps` copied."""
    own = _raw_annotations(fn)
    if own.get("return", Any) in (Any, "Any", "typing.Any"):
        return False
    return bool(own["return"] != _raw_annotations(fn.__wrapped__).get("return"))


def _cached_return(fn: Any) -> object:
    if fn in _RETURNS:
        return _RETURNS[fn]
    annotation = _raw_annotations(fn).get("return")
    if annotation is None:
        return None
    closure = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False)
    near = {name: cell.cell_contents for name, cell in closure if _is_filled(cell)}
    near.update({parameter.__name__: parameter for parameter in getattr(fn, "__type_params__", ())})
    found = resolved(annotation, fn.__globals__, near)
    if found is not None:
        # Not cached when unresolved: a class may be defined below the function.
        _RETURNS[fn] = found
    return found


def resolved(annotation: object, names: dict[str, Any], near: dict[str, Any]) -> object:
    """The annotation with its strings evaluated, None where that fails."""
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, names, near, include_extras=True)["it"]
    except Exception:
        # Evaluating a string can raise anything; a name under `if TYPE_CHECKING` is the common case.
        return None


def hints_of(cls: type) -> dict[str, object]:
    """The annotations of a class's fields, its bases' included; a field whose annotation can't be resolved is left out."""
    known = _HINTS.get(cls)
    if known is not None:
        return known
    hints: dict[str, object] = {}
    complete = True
    for base in reversed(cls.__mro__):
        names = vars(sys.modules.get(base.__module__, SimpleNamespace()))
        near = {**{p.__name__: p for p in getattr(base, "__type_params__", ())}, base.__name__: base}
        for name, annotation in _raw_annotations(base).items():
            hint = resolved(annotation, names, near)
            if hint is None:
                # A class written inside the class; last, because a field's default may have the name of its own type.
                hint = resolved(annotation, names, {**vars(base), **near})
            complete = complete and hint is not None
            hints.pop(name, None)
            if hint is not None:
                hints[name] = hint
    hints.update(_pydantic_hints(cls))
    if complete:
        _HINTS[cls] = hints
    return hints


def _pydantic_hints(cls: type) -> dict[str, object]:
    # pydantic has resolved its own, also the names of local scopes and type parameters that nobody else can see.
    fields = getattr(cls, "model_fields", None)
    if not isinstance(fields, dict):
        return {}
    return {name: field.annotation for name, field in fields.items() if hasattr(field, "annotation")}


def _raw_annotations(obj: Any) -> dict[str, Any]:
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            return dict(annotationlib.get_annotations(obj, format=annotationlib.Format.FORWARDREF))
        return inspect.get_annotations(obj)
    except Exception:
        return {}


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def place_of(annotation: object) -> Place:
    """What may stand where an annotation stands: unions, `Annotated`, aliases and type variables are flattened."""
    try:
        return _cached_place(annotation)
    except TypeError:
        # Annotated[int, []] can't be hashed.
        return _place(annotation)


def _place(annotation: object, depth: int = 0) -> Place:
    if depth > 20 or annotation is None or isinstance(annotation, str):
        return ()
    found: list[object] = []
    for part in parts_of(annotation):
        found.extend((part,) if part is annotation else _place(part, depth + 1))
    return tuple(found)


_cached_place = functools.lru_cache(maxsize=1024)(_place)


def parts_of(annotation: object) -> Place:
    """What an annotation is another word for, or itself."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return typing.get_args(annotation)[:1]
    if origin is typing.Literal:
        return tuple(type(choice) for choice in typing.get_args(annotation))
    if origin in (typing.Union, UnionType) or (origin is not None and not isinstance(origin, type)):
        return _aliased_to(origin, typing.get_args(annotation)) or typing.get_args(annotation)
    if isinstance(annotation, typing.TypeVar):
        return (*annotation.__constraints__, annotation.__bound__)
    return _aliased(annotation) or (annotation,)


def _aliased_to(alias: Any, args: Place) -> Place:
    """What a generic alias stands for with its parameters filled in: after `type Found[T] = dict[str, T]`, Found[A]."""
    for meant in _aliased(alias):
        value: Any = meant
        try:
            filled = dict(zip(alias.__type_params__, args, strict=True))
            return (value[tuple(filled[parameter] for parameter in value.__parameters__)],)
        except Exception:
            # One whose value takes no parameters: it stands for what it says, beside what it was given.
            return (value, *args)
    return ()


def _aliased(annotation: object) -> Place:
    """What `type X = …` and NewType stand for."""
    kind = type(annotation)
    if kind.__name__ == "TypeAliasType" and kind.__module__ in ("typing", "typing_extensions"):
        try:
            return (annotation.__value__,)  # type: ignore[attr-defined]  # only from Python 3.12 on
        except Exception:
            return ()
    supertype = getattr(annotation, "__supertype__", None)
    return () if supertype is None else (supertype,)


def at_item(place: Place, index: int) -> Place:
    """The place of an item of a sequence or a set."""
    return _within(place, index) if place else ()


def at_value(place: Place, key: object) -> Place:
    """The place of a mapping's value."""
    return _within(place, key, mapping=True) if place else ()


def at_key(place: Place) -> Place:
    """The place of a mapping's key."""
    found: list[object] = []
    for part in place:
        args = typing.get_args(part)
        if _is_mapping(part) and args:
            found.extend(place_of(args[0]))
    return tuple(found)


def _within(place: Place, step: object, mapping: bool = False) -> Place:
    found: list[object] = []
    for part in place:
        args = typing.get_args(part)
        if mapping and is_typed_dict(part):
            found.extend(place_of(hints_of(typing.cast(type, part)).get(str(step))))
        elif not args or mapping is not _is_mapping(part):
            continue
        elif mapping:
            found.extend(place_of(args[-1]))
        elif typing.get_origin(part) is tuple and args[-1] is not Ellipsis:
            found.extend(place_of(args[step]) if isinstance(step, int) and step < len(args) else ())
        else:
            found.extend(place_of(args[0]))
    return tuple(found)


def is_typed_dict(part: object) -> bool:
    """Whether it is a TypedDict, of typing or of typing_extensions."""
    return isinstance(part, type) and "__total__" in vars(part) and issubclass(part, dict)


def _is_mapping(part: object) -> bool:
    origin = typing.get_origin(part)
    return isinstance(origin, type) and issubclass(origin, Mapping)
