"""A function counted by name: for handlers whose effects are fakes in Python, where no call goes over the network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from .points import Side

P = ParamSpec("P")
R = TypeVar("R")

come_by: Callable[[Side, str], object] | None = None
"""Set while a story is told in this process."""


def counted(name: str, fn: Callable[P, R]) -> Callable[P, R]:
    """`fn`, with a crash point before and after it, and counted as the effect `name` each time it returns."""

    @functools.wraps(fn)
    def effect(*args: P.args, **kwargs: P.kwargs) -> R:
        pass_by: Any = come_by
        if pass_by is None:
            return fn(*args, **kwargs)
        pass_by("before", name)
        result = fn(*args, **kwargs)
        pass_by("after", name)
        return result

    return effect
