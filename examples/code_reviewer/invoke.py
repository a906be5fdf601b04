"""One attempt, as Lambda makes it: a process, an event on stdin, a context with a deadline. `make demo` kills it.

`python -m examples.code_reviewer.invoke reviewer` prints one JSON line for each step function that really runs, one for
each that was answered, and one for how it ended. The library isn't asked: the functions handed to it are counted.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from durably import NOT_DONE

TIMEOUT_S = 300.0


class Context:
    """The part of Lambda's context that handlers read."""

    def __init__(self, request_id: str) -> None:
        self.aws_request_id = request_id
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "code-reviewer")
        self._deadline = time.monotonic() + TIMEOUT_S

    def get_remaining_time_in_millis(self) -> int:
        """Until Lambda would end it."""
        return int((self._deadline - time.monotonic()) * 1000)


def main() -> int:
    """Import first and read the event then, as a warm Lambda: when it is delivered, it begins."""
    module = importlib.import_module(f"examples.code_reviewer.{sys.argv[1]}")
    count_steps(module)
    delivery = json.load(sys.stdin)
    try:
        result = module.handler(delivery["event"], Context(delivery["request_id"]))
    except Exception as error:  # As Lambda's runtime does: told to the caller, and the invocation failed.
        tell(ended=type(error).__name__, message=str(error))
        return 1
    tell(ended="completed", result=result)
    return 0


def count_steps(module: ModuleType) -> None:
    """Put a counter before the functions that the module hands to its steps."""
    for name, counting in (("step", counted), ("once", counted), ("fan_out", counted_fan_out)):
        if hasattr(module, name):
            setattr(module, name, counting(getattr(module, name)))


def counted(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step(name, fn, *args, recover=…)`, telling whether `fn` ran and whether `recover` found its effect."""

    def counting(name: str, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if "recover" in options:
            options["recover"] = telling_found(options["recover"], name)
        result = step(name, telling(fn, lambda *_: name), *args, **options)
        tell(answered=[name])
        return result

    return counting


def counted_fan_out(fan_out: Callable[..., Any]) -> Callable[..., Any]:
    """`fan_out(name, fn, items, key=…)`, telling which items ran."""

    def counting(name: str, fn: Callable[..., Any], items: list[Any], **options: Any) -> Any:
        def step_of(item: Any) -> str:
            return f"{name}[{options['key'](item)}]"

        results = fan_out(name, telling(fn, step_of), items, **options)
        tell(answered=[step_of(item) for item in items])
        return results

    return counting


def telling_found(recover: Callable[[], Any], name: str) -> Callable[[], Any]:
    """`recover`, saying what it found."""

    def asked() -> Any:
        found = recover()
        if found is not NOT_DONE:
            tell(recovered=name)
        return found

    return asked


def telling(fn: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
    """`fn`, saying that it runs."""

    @functools.wraps(fn)
    def ran(*args):  # No annotations of its own: a result's class is what `fn` says it returns.
        tell(ran=name(*args))
        return fn(*args)

    return ran


def tell(**what: Any) -> None:
    """One line in one write: sixteen threads speak at once, and the next instant may be the last."""
    os.write(1, (json.dumps(what) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
