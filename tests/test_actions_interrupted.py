"""An operator's process that dies between an action's claim and its end: what was closed stays closed, and nothing runs again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from durably import DurablyError, Fatal, SQLiteStore, durable, step
from durably.history import actions
from durably.history.actions_lease import read_head

from .clocks import FakeClock

DIES = """
import os, signal, sys
from durably import SQLiteStore
from durably.history import actions

class Dying(SQLiteStore):
    def {method}(self, *given, **more):
        {first}
        os.kill(os.getpid(), signal.SIGKILL)

actions.{action}
"""
ACTIONS = {
    "redrive": "redrive(Dying(sys.argv[1]), 'shop/a', lambda function, payload: None, function='shop')",
    "resolve": "resolve(Dying(sys.argv[1]), 'shop/a', 'charge', run_again=True)",
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("method", ["append", "append, written", "end"])
def test_what_failed_for_good_stays_so_when_the_operators_process_is_killed(
    action: str, method: str, tmp_path: Path
) -> None:
    path, ran = tmp_path / "d.db", []
    clock = FakeClock()
    store = SQLiteStore(path, clock=clock)

    def charge() -> object:
        ran.append("charge")
        return object()

    @durable(name="shop", store=store)
    def handler(event: Any, context: Any) -> None:
        try:
            step("charge", charge)
        except DurablyError as error:  # it can't be stored, and never will be
            raise Fatal("out of stock") from error

    event = {"id": "a", "detail-type": "order", "source": "shop", "detail": {}}
    with pytest.raises(Fatal, match="out of stock"):
        handler(event, None)
    program = DIES.format(
        method=method.split(",")[0],
        first="super().append(*given, **more)" if "written" in method else "pass",
        action=ACTIONS[action],
    )
    died = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=50)
    assert died.returncode == -signal.SIGKILL, died.stderr
    for _ in ("while its lease runs", "and when it is out"):
        assert read_head(store, "shop/a").status == "failed"
        with pytest.raises(Fatal, match="out of stock"):
            handler(event, None)
        clock.advance(60)
    assert ran == ["charge"]
    # The next operator goes on from there, and the event then runs what was opened.
    actions.redrive(store, "shop/a", lambda function, payload: None, function="shop")
    assert read_head(store, "shop/a").status == "waiting"
