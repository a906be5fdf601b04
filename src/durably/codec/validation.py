"""pydantic's ValidationError, which lives in Rust and hides its state: taken apart into line errors and put together again.

It is what a step that reads a model's answer fails with, and what the code around it catches.
"""

from __future__ import annotations

import sys
from typing import Any

_PUBLIC = ("type", "loc", "msg", "input", "ctx")


def _validation_error() -> Any:
    return getattr(sys.modules.get("pydantic_core"), "ValidationError", None)


def line_errors(exc: Any) -> list[Any] | None:
    """Title and errors of a ValidationError as plain data, None for any other exception."""
    cls = _validation_error()
    if cls is None or type(exc) is not cls:
        return None
    errors = exc.errors(include_url=False)
    return [exc.title, [{name: error[name] for name in _PUBLIC if name in error} for error in errors]]


def validation_error(cls: Any, stored: Any) -> BaseException | None:
    """The ValidationError of `line_errors`, None where `cls` is none. Raises what pydantic raises on bad data."""
    if cls is not _validation_error() or not isinstance(stored, list):
        return None
    title, errors = stored
    made: BaseException = cls.from_exception_data(title, [_line_error(error) for error in errors])
    return made


def _line_error(error: dict[str, Any]) -> dict[str, Any]:
    core: Any = sys.modules["pydantic_core"]
    line: dict[str, Any] = {name: error[name] for name in ("loc", "input") if name in error}
    context = error.get("ctx")
    try:
        if core.PydanticKnownError(error["type"], context).message() == error["msg"]:
            return {**line, "type": error["type"], "ctx": context or {}}
    except (KeyError, TypeError):
        # A type of the user's own.
        pass
    return {**line, "type": core.PydanticCustomError(error["type"], error["msg"], context)}
