"""Results on their way to the journal: encoded, measured, and decoded again, so that a first run shows what a replay will."""

from __future__ import annotations

import json
from typing import Any

from .codec import Codec, Unencodable, encoded
from .errors import NotSerializable

STORED_MAX = 10 * 1024 * 1024
"""Bytes of one stored result, compressed: above that a store is the wrong place."""


def encode_result(codec: Codec, value: object, returns: object, what: str) -> tuple[str, Any]:
    """The text to store, and the value it reads back as. Raises NotSerializable, naming `what`."""
    try:
        text = encoded(codec, value)
        refuse_too_large(text, what)
        return text, codec.decode(text, returns)
    except Unencodable as why:
        raise NotSerializable(what, why.path, why.type_name, why.why) from None
    except NotSerializable:
        raise
    except Exception as error:
        # The effect has happened: what a codec of the user's could not read back must not let it happen again.
        told = f"codec= {type(codec).__qualname__} raised {type(error).__name__} reading it back: {error}"
        raise NotSerializable(what, why=told) from error


def refuse_too_large(text: str, what: str) -> None:
    """Raise NotSerializable when the text takes more than STORED_MAX bytes even when compressed."""
    if len(text) <= STORED_MAX // 4:  # at most four bytes a character
        return
    import zlib

    raw = text.encode()
    if len(raw) <= STORED_MAX:
        return
    stored = len(zlib.compress(raw, 6))
    if stored > STORED_MAX:
        raise NotSerializable(
            what,
            why=f"it takes {stored:,} bytes compressed ({len(raw):,} as JSON) and a result may take {STORED_MAX:,}. Put the "
            "data into S3 or your own table inside the step and return its key.",
        )


def refuse_what_lambda_cannot_return(value: object, what: str) -> None:
    """Raise NotSerializable when Lambda's runtime could not send the value: it would fail after all effects.

    The runtime writes JSON, with Decimal as a number and, from Python 3.12 on, no escapes, so that a lone surrogate has no
    bytes (aws-lambda-python-runtime-interface-client, lambda_runtime_marshaller).
    """
    try:
        json.dumps(value, default=_as_lambda_does, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotSerializable(
            what,
            type_name=type(value).__name__,
            why=f"Lambda sends results as plain JSON: {error}. Return str, numbers, lists and dicts; the steps are kept.",
        ) from None


def _as_lambda_does(value: object) -> float:
    if type(value).__name__ == "Decimal":
        return float(value)  # type: ignore[arg-type]  # a decimal.Decimal, which is not imported for this
    raise TypeError(f"{type(value).__name__} is no JSON")
