"""The public surface: exactly the design's names, and errors that pickle and say what to do."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import durably
import durably.aio
from durably import (
    DuplicateStep,
    DurablyError,
    ExecutionInProgress,
    Fatal,
    LeaseLost,
    NoIdentity,
    NotSerializable,
    OutOfTime,
    StepInterrupted,
    StoreError,
)

NAMES = {
    "durable", "execution", "step", "fan_out", "once", "current_execution", "current_step", "Retry", "Fatal", "NOT_DONE",
    "DurablyError", "ExecutionInProgress", "LeaseLost", "StepInterrupted", "DuplicateStep", "NotSerializable", "OutOfTime",
    "NoIdentity", "StoreError", "DynamoDBStore", "SQLiteStore", "MemoryStore",
}  # fmt: skip

ERRORS: list[DurablyError] = [
    DurablyError("what happened, and what to do"),
    ExecutionInProgress("reviewer/evt-1", 2, 17.0),
    LeaseLost("reviewer/evt-1", 2),
    StepInterrupted("reviewer/evt-1", "post"),
    DuplicateStep("reviewer/evt-1", "post"),
    NotSerializable("the result of step 'post'", "['a'][0]", "Opaque", "it has no JSON form"),
    OutOfTime("reviewer/evt-1", "post", 0.5, 1.0),
    OutOfTime("reviewer/evt-1", "post", 0.5, 1.0, True),
    NoIdentity("Nothing in the event identifies it.", ("detail.metadata.id", "id")),
    StoreError("table 'x' is missing"),
]


def test_the_top_level_exports_exactly_the_designs_names() -> None:
    assert set(durably.__all__) == NAMES
    assert len(durably.__all__) == len(NAMES)
    for name in NAMES:
        assert getattr(durably, name) is not None


def test_a_star_import_gives_exactly_these_names() -> None:
    space: dict[str, Any] = {}
    exec("from durably import *", space)
    assert set(space) - {"__builtins__"} == NAMES


def test_nothing_else_public_stands_at_the_top_level() -> None:
    code = (
        "import durably, types\n"
        "print(*(n for n, v in vars(durably).items() if n[0] != '_' and not isinstance(v, types.ModuleType)))"
    )
    import os

    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert set(shown.stdout.split()) - {"annotations", "Any", "TYPE_CHECKING"} <= NAMES


def test_aio_has_the_same_names() -> None:
    missing = NAMES - set(durably.aio.__all__)
    assert not missing


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = durably.nothing_like_it


def test_importing_durably_imports_no_boto3_and_no_third_party() -> None:
    code = "import sys, durably; print(*sorted({n.split('.')[0] for n in sys.modules} - set(sys.stdlib_module_names)))"
    import os

    env = {**os.environ, "PYTHONPATH": str(Path(durably.__file__).parents[1])}
    shown = subprocess.run(
        [sys.executable, "-S", "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert set(shown.stdout.split()) <= {"durably", "__main__"}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_pickles_and_copies_with_its_text_and_fields(error: DurablyError) -> None:
    for back in (*(pickle.loads(pickle.dumps(error, n)) for n in range(2, 6)), copy.copy(error), copy.deepcopy(error)):
        assert type(back) is type(error)
        assert str(back) == str(error)
        assert vars(back) == vars(error)
        assert back.args == error.args


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_is_a_durably_error_and_no_base_exception_of_another_kind(error: DurablyError) -> None:
    assert isinstance(error, DurablyError)
    assert isinstance(error, Exception)
    assert not isinstance(error, Fatal)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ERRORS[1], ["reviewer/evt-1", "wait=", "Nothing was run", "deliver"]),
        (ERRORS[2], ["reviewer/evt-1", "lease="]),
        (ERRORS[3], ["reviewer/evt-1", "'post'", "recover="]),
        (ERRORS[4], ["reviewer/evt-1", "'post'", "step(f'post/{"]),
        (ERRORS[5], ["step 'post'", "['a'][0]", "Opaque"]),
        (ERRORS[6], ["reviewer/evt-1", "'post'", "next attempt"]),
        (ERRORS[7], ["reviewer/evt-1", "'post'", "raise the timeout", "reserve"]),
        (ERRORS[8], ["detail.metadata.id", "@durable(id="]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_says_where_and_what_to_do(error: DurablyError, words: list[str]) -> None:
    for word in words:
        assert word in str(error)


def test_fatal_is_an_exception_of_the_users() -> None:
    assert issubclass(Fatal, Exception)
    assert not issubclass(Fatal, DurablyError)
    assert pickle.loads(pickle.dumps(Fatal("x", 1))).args == ("x", 1)


def test_not_done_is_one_object_that_survives_copying_and_pickling() -> None:
    for back in (
        copy.copy(durably.NOT_DONE),
        copy.deepcopy(durably.NOT_DONE),
        pickle.loads(pickle.dumps(durably.NOT_DONE)),
    ):
        assert back is durably.NOT_DONE
    assert "NOT_DONE" in repr(durably.NOT_DONE)


def test_every_public_name_has_a_docstring() -> None:
    for name in NAMES - {"NOT_DONE"}:
        assert (getattr(durably, name).__doc__ or "").strip(), name
