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
    def raising(self: object, *args: object, **named: object) -> NoReturn:
        owner, type_name, why = object.__getattribute__(self, "_stored")
        raise NotSerializable(owner, "", type_name, why)

    raising.__name__ = touch
    return raising


class NotStored:
    """Not the value. `repr` says what it was; every other touch raises NotSerializable."""

    __slots__ = ("_stored",)

    def __repr__(self) -> str:
        return f"<not stored: {what_it_was(self)[1]}>"


for _touch in _TOUCHES.split():
    setattr(NotStored, f"__{_touch}__", _raising(_touch))


def placeholder(owner: str, type_name: str, why: str) -> NotStored:
    """Stand for a value of `owner` (the field of which exception)."""
    made = object.__new__(NotStored)
    object.__setattr__(made, "_stored", (owner, type_name, why))
    return made


def what_it_was(made: NotStored) -> tuple[str, str, str]:
    """Owner, type and why: the only way to ask without raising."""
    stored: Any = object.__getattribute__(made, "_stored")
    return (stored[0], stored[1], stored[2])
