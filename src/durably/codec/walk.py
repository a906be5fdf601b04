"""The walk from a value to the structure that JSON holds, and back; what to do with each type is registered here.

Plain JSON data stands for itself. Everything else is a *mark*: an object whose first key begins with `$`, such as
`{"$tuple": [1, 2]}`. A dict of the user's that has such a key is a mark too, so data is never mistaken for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from .annotations import Place, at_item, at_key, at_value
from .plain import MAX_DEPTH
from .unencodable import Unencodable, dotted

Encoder = Callable[["Writer", Any], object]
Decoder = Callable[["Reader", dict[str, Any], Place], object]

ENCODERS: dict[type, Encoder] = {}
"""By exact type: a subclass is another type, and would not come back as itself."""
FINDERS: list[Callable[[type], Encoder | None]] = []
"""For types that can't be listed: asked in order."""
DECODERS: dict[str, Decoder] = {}
_FOUND: WeakKeyDictionary[type, Encoder] = WeakKeyDictionary()


def encodes(*kinds: type) -> Callable[[Encoder], Encoder]:
    """Register an encoder for exact types."""

    def register(encoder: Encoder) -> Encoder:
        ENCODERS.update(dict.fromkeys(kinds, encoder))
        return encoder

    return register


def decodes(mark: str) -> Callable[[Decoder], Decoder]:
    """Register the decoder of a mark."""

    def register(decoder: Decoder) -> Decoder:
        DECODERS[mark] = decoder
        return decoder

    return register


class TooLarge(Exception):
    """More values than the writer may visit."""


class Writer:
    """Turns a value into JSON structure. `stand_in` gets what can't be: the innermost such value, and why."""

    __slots__ = ("depth", "most", "stand_in", "visited")

    def __init__(self, stand_in: Callable[[object, Unencodable], object] | None = None, most: int = -1) -> None:
        self.stand_in = stand_in
        self.most = most
        self.visited = 0
        self.depth = 0

    def write(self, value: object, form: str = "", key: object = None) -> object:
        """The structure of a value; `form` and `key` say how it was reached."""
        self.visited += 1
        if self.visited == self.most:
            raise TooLarge
        self.depth += 1
        try:
            if self.depth > MAX_DEPTH:
                raise Unencodable(f"it contains itself, or is nested more than {MAX_DEPTH} levels deep: flatten it")
            kind = type(value)
            return (ENCODERS.get(kind) or encoder_of(kind))(self, value)
        except (TooLarge, RecursionError):
            raise
        except Exception as error:
            # Reading a value can run its class's code, which can raise anything.
            refusal = error if isinstance(error, Unencodable) else Unencodable(f"reading it raised {_told(error)}")
            refusal.type_name = refusal.type_name or dotted(type(value))
            if self.stand_in is None:
                refusal.under(form, key)
                raise refusal from (error.__cause__ if refusal is error else error)
            return self.stand_in(value, refusal)
        finally:
            self.depth -= 1

    def items(self, values: Iterable[object]) -> list[object]:
        """The structures of a sequence."""
        return [self.write(value, "[{}]", index) for index, value in enumerate(values)]

    def key(self, value: object) -> object:
        """Like `write`, for what must be hashable when it comes back: a stand-in would not be."""
        kept, self.stand_in = self.stand_in, None
        try:
            return self.write(value, "<key {}>", value)
        finally:
            self.stand_in = kept

    def pairs(self, mapping: Mapping[Any, Any]) -> list[list[object]]:
        """A mapping with any keys, as pairs in its order."""
        return [[self.key(key), self.write(value, "[{}]", key)] for key, value in mapping.items()]


class Reader:
    """Turns JSON structure back into a value. `returns` is the annotation its classes come from, `owner` names the whole."""

    __slots__ = ("codec", "owner", "returns", "stand_in")

    def __init__(
        self,
        returns: object = None,
        stand_in: Callable[[object, Unencodable], object] | None = None,
        owner: str = "",
    ) -> None:
        self.returns = returns
        self.stand_in = stand_in
        self.owner = owner
        self.codec: Any = None
        """Of the exceptions inside, where it is not the default one."""

    def read(self, data: Any, place: Place = (), form: str = "", key: object = None) -> Any:
        """The value of a structure; `place` is what the annotation says of this very position."""
        kind = type(data)
        if kind is not list and kind is not dict:
            return data
        try:
            if kind is list:
                return self.items(data, place)
            mark = next(iter(data), "")
            if mark[:1] == "$":
                return _marked(self, mark, data, place)
            return {name: self.read(item, at_value(place, name), "[{}]", name) for name, item in data.items()}
        except Unencodable as error:
            if self.stand_in is None:
                error.under(form, key)
                raise
            return self.stand_in(data, error)

    def items(self, data: list[Any], place: Place) -> list[Any]:
        """The values of a sequence."""
        if type(data) is not list:
            raise Unencodable("the stored text is malformed: a list is missing")
        return [self.read(item, at_item(place, index), "[{}]", index) for index, item in enumerate(data)]

    def key(self, data: Any, place: Place) -> Any:
        """Like `read`, for what must be hashable."""
        kept, self.stand_in = self.stand_in, None
        try:
            return self.read(data, place, "<key {}>", data)
        finally:
            self.stand_in = kept

    def pairs(self, data: list[Any], place: Place) -> dict[Any, Any]:
        """The mapping that `Writer.pairs` wrote."""
        keys = [self.key(key, at_key(place)) for key, _ in data]
        values = [self.read(item, at_value(place, key), "[{}]", key) for key, (_, item) in zip(keys, data, strict=True)]
        return dict(zip(keys, values, strict=True))


def encoder_of(kind: type) -> Encoder:
    """The encoder of a type that is not listed. Raises Unencodable, with advice, where there is none."""
    known = _FOUND.get(kind)
    if known is not None:
        return known
    for finder in FINDERS:
        encoder = finder(kind)
        if encoder is not None:
            _FOUND[kind] = encoder
            return encoder
    raise Unencodable(_advice(kind))


def _marked(reader: Reader, mark: str, data: dict[str, Any], place: Place) -> object:
    decoder = DECODERS.get(mark)
    if decoder is None:
        raise Unencodable(f"the stored text has the mark {mark[:40]!r}, which this version of durably does not know")
    try:
        return decoder(reader, data, place)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise Unencodable(f"the stored text is malformed at {mark!r}: {error}") from error


def _told(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:200]
    except Exception:
        return type(error).__name__


def _advice(kind: type) -> str:
    for base in (dict, list, str, int, float, tuple, set, frozenset, bytes):
        if issubclass(kind, base):
            name = base.__name__
            return f"it is a subclass of {name} and would come back as a plain {name}: return {name}(…) of it"
    if issubclass(kind, BaseException):
        return "an exception is no result: raise it, or return what you need of it as plain data"
    if hasattr(kind, "__await__"):
        return "it is awaitable, and what it gives is not there yet: await it inside the step and return the result"
    if hasattr(kind, "__next__"):
        return "an iterator can be read only once: return list(…) of it"
    if hasattr(kind, "tolist"):
        return "arrays have no exact JSON form: return .tolist() of it"
    return (
        "it has no exact JSON form: return plain data, a dataclass, a NamedTuple or a pydantic model with what you need"
    )
