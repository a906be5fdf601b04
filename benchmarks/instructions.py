"""Instructions as they can be counted on any machine: Python's own opcodes, and calls into C, of one thread.

Processor counters need a machine that has them and valgrind has to be installed; these two need neither, and are the
same on every machine for one version of Python. What C code does inside a call is not seen: requests are counted apart.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def count(work: Callable[[], object]) -> int:
    """How many opcodes and C calls this thread takes for it."""
    counter = _Counter()
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a finalizer that runs in between would be counted
    before = sys.gettrace(), sys.getprofile()
    sys.setprofile(counter.on_call)
    sys.settrace(counter.on_frame)
    try:
        work()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
        if collecting:
            gc.enable()
    return counter.total


class _Counter:
    def __init__(self) -> None:
        self.total = 0

    def on_frame(self, frame: FrameType, event: str, arg: Any) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self.on_opcode

    def on_opcode(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            self.total += 1
        return self.on_opcode

    def on_call(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            self.total += 1
