"""The codec proper: value to one line of JSON text and back. Plain JSON data takes a short way through the C encoder."""

from __future__ import annotations

from json import JSONDecoder
from typing import Any, Protocol

from .annotations import place_of
from .plain import dumps, is_plain, is_utf8
from .unencodable import Unencodable, dotted


class Codec(Protocol):
    """Value to text and back. Give `@durable` one of your own to compress, encrypt or use other types."""

    def encode(self, value: object) -> str:
        """One line of text, with no tab in it. Raises Unencodable."""
        ...

    def decode(self, text: str, returns: object = None) -> object:
        """The same value, of the same type. `returns` is the annotation its classes come from. Raises Unencodable."""
        ...


class JSONCodec:
    """JSON that a person can read in a database console. Stateless."""

    def encode(self, value: object) -> str:
        """The text of a value. Raises Unencodable with the path to what can't come back the same."""
        if is_plain(value, 1):
            text = dumps(value)
            # Keys that begin with $ and lone surrogates are rare, and the text shows them at the speed of C.
            if '"$' not in text and is_utf8(text):
                return text
        from .marks import Writer

        try:
            return dumps(Writer().write(value))
        except Unencodable as error:
            error.path = "result" + error.path
            raise
        except RecursionError as error:
            raise Unencodable("it is nested too deeply for what is left of the stack", path="result") from error

    def decode(self, text: str, returns: object = None) -> object:
        """The value of a text. Raises Unencodable where it is malformed or a class can't be found."""
        data = loads(text)
        if '"$' not in text:
            return data
        from .marks import Reader

        try:
            return Reader(returns).read(data, place_of(returns))
        except Unencodable as error:
            error.path = "result" + error.path
            raise
        except RecursionError as error:
            raise Unencodable("it is nested too deeply for what is left of the stack", path="result") from error


JSON = JSONCodec()


def encoded(codec: Codec, value: object) -> str:
    """The codec's text of a value. Raises Unencodable where a codec of the user's wrote what the journal can't hold."""
    if type(codec) is JSONCodec:
        return codec.encode(value)
    name = f"codec= {type(codec).__qualname__}"
    try:
        text: object = codec.encode(value)
    except Unencodable:
        raise
    except Exception as error:
        told = f"{name} raised {type(error).__name__}: {error}"
        raise Unencodable(told, dotted(type(value)), "result") from error
    # Not after the append: it would stand in the journal and could never be read again, by no attempt.
    if type(text) is not str:
        raise Unencodable(f"{name} gave {type(text).__name__} and not str: decode it, for example as Base64")
    if not text or "\n" in text or "\t" in text or not is_utf8(text):
        raise Unencodable(
            f"{name} gave an empty text, or one with a newline, a tab or a lone surrogate in it, which the journal can't hold: "
            "write one line, for example of base64.b64encode (encodebytes puts newlines in)"
        )
    return text


def loads(text: str) -> Any:
    """Text to structure. Raises Unencodable."""
    try:
        # What was stored has no space around it, for which `decode` looks twice.
        data, end = _decoder.raw_decode(text)
        return data if end == len(text) else _decoder.decode(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unencodable(f"the stored text is no JSON: {error}", path="result") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_decoder = JSONDecoder(parse_constant=_refuse)
