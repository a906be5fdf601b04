"""What stands where an exception's field could not be stored: it raises when touched, so nothing is silently missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import NotSerializable

_TOUCHES = (
    "getattribute getattr setattr delattr call str bytes format bool len iter next reversed contains getitem setitem "
    "delitem hash eq ne lt le gt ge add radd iadd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod divmod "
    "rdivmod pow rpow matmul rmatmul and rand or ror xor rxor lshift rlshift rshift rrshift neg pos abs invert int float "
    "complex index round trunc floor ceil enter exit aenter aexit await aiter anext fspath dir sizeof reduce reduce_ex "
    "copy deepcopy length_hint missing get set instancecheck subclasscheck"
)


def _raising(touch: str) -> Callable[..., NoReturn]:
    def raising(self: NotStored, *args: object, **named: object) -> NoReturn:
        owner, type_name, why = what_it_was(self)
        raise NotSerializable(owner, "", type_name, why)

    raising.__name__ = touch
    return raising


class NotStored:
    """Not the value. `repr` says what it was; every other touch raises NotSerializable."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<not stored: {what_it_was(self)[1]}>"


for _touch in _TOUCHES.split():
    setattr(NotStored, f"__{_touch}__", _raising(_touch))


class NotStoredField(NotStored):
    """Of anything: an object of its own."""

    __slots__ = ("_stored",)


class NotStoredArgument(NotStored):
    """Of an exception's argument: as text it reads as it did, for `str` of the exception is made of its arguments."""

    __slots__ = ("_stored",)

    def __str__(self) -> str:
        text: str = object.__getattribute__(self, "_stored")[3]
        return text

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


class NotStoredBytes(NotStored, bytes):
    """Where the interpreter reads bytes without looking at the type: the `object` of a UnicodeDecodeError."""


class NotStoredStr(NotStored, str):
    """Where it reads a str so: the `object` of the other errors of Unicode."""


KINDS = (NotStoredField, NotStoredArgument, NotStoredBytes, NotStoredStr)


def placeholder(owner: str, type_name: str, why: str) -> NotStored:
    """Stand for a value of `owner` (the field of which exception)."""
    made = object.__new__(NotStoredField)
    object.__setattr__(made, "_stored", (owner, type_name, why))
    return made


def reading(value: object, text: str | None) -> object:
    """A placeholder whose `str` is `text`; any other value as it is."""
    if text is None or type(value) is not NotStoredField:
        return value
    made = object.__new__(NotStoredArgument)
    object.__setattr__(made, "_stored", (*what_it_was(value), str(text)))
    return made


def laid_out_as(kind: type, made: NotStored) -> NotStored:
    """The same placeholder, safe where the interpreter takes it for a `bytes` or a `str` unasked: an empty one."""
    other: NotStored = NotStoredBytes() if kind is bytes else NotStoredStr()
    object.__setattr__(other, "_stored", object.__getattribute__(made, "_stored"))
    return other


def what_it_was(made: NotStored) -> tuple[str, str, str]:
    """Owner, type and why: the only way to ask without raising."""
    stored: Any = object.__getattribute__(made, "_stored")
    return (stored[0], stored[1], stored[2])
