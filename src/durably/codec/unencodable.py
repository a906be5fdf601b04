"""The one error of the codec: a value with no exact text, or a text with no value. The engine adds step and execution."""

from __future__ import annotations

LONGEST_PATH = 200


class Unencodable(Exception):
    """Something at `path` inside the value can't be stored and come back the same. `why` ends with what to do."""

    def __init__(self, why: str, type_name: str = "", path: str = "") -> None:
        super().__init__(why, type_name, path)
        self.why = why
        self.type_name = type_name
        self.path = path

    def under(self, form: str, key: object) -> None:
        """Put the step that led here before the path: it is built while the error travels up."""
        if form:
            self.path = form.format(_short(key)) + self.path
        if len(self.path) > LONGEST_PATH:
            self.path = self.path[: LONGEST_PATH // 2] + "…" + self.path[-LONGEST_PATH // 2 + 1 :]

    def __str__(self) -> str:
        kind = f" ({self.type_name})" if self.type_name else ""
        return f"{self.path}{kind}: {self.why}"


def dotted(cls: type) -> str:
    """A class's name for people: `module.qualname`, bare for a builtin."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


class Name(str):
    """A field's name in a path: written without quotes."""

    __slots__ = ()


def _short(key: object) -> str:
    if type(key) is Name:
        return key
    # Only builtin keys: the repr of anything else is user code, which may raise.
    if type(key) not in (str, int, float, bool, bytes, type(None)):
        return f"<{dotted(type(key))}>"
    return repr(key) if len(repr(key)) <= 60 else repr(key)[:57] + "…'"
