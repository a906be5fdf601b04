"""A sandbox's process: started with its pipes, watched for its end, killed with everything it started."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from . import runtime

END_POLL_S = 0.02
"""How often a process's end is looked for where the system has no descriptor for it."""


class Process:
    """The runtime in a process group of its own: Ctrl-C at the terminal is its parent's to handle, and one kill ends all."""

    def __init__(self, handler: str, *, environment: Mapping[str, str], code: Path, api: str) -> None:
        self._mark = f"\0AWS_LAMBDA_RUNTIME_API={api}\0".encode()
        self.control, theirs = socket.socketpair()
        output, their_output = os.pipe()
        self.output = output
        # -P: this package's folder is not on the path. -B: no file is left beside the function's, as Lambda can't write there.
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-B", runtime.__file__, handler],
                cwd=code,
                env={**environment, "AWS_LAMBDA_RUNTIME_API": api, runtime.CONTROL: str(theirs.fileno())},
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=their_output,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            self.control.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            os.close(their_output)
        self.pid = self._popen.pid
        self.control.setblocking(False)
        os.set_blocking(output, False)
        self.end = _descriptor_of_end(self.pid)
        """Readable once the process has ended; None where the system has no such thing."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when one ended it."""
        if self._popen.returncode is not None or not hasattr(os, "waitid"):
            return self._popen.poll()
        # Looked at and not taken away: until it is waited for its id, and so its group's, can be nobody else's.
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    @property
    def peak_mb(self) -> int | None:
        """The most memory it used so far, None where the system does not say, or it has ended."""
        try:
            with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as status:
                peak = next((line for line in status if line.startswith("VmHWM:")), None)
        except OSError:
            return None
        return None if peak is None else math.ceil(int(peak.split()[1]) / 1024)

    def kill(self) -> None:
        """SIGKILL to the process and whatever it started. Any thread may call it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill it, wait for its end, and give its descriptors back. What left its group (a browser, a daemon) ends too."""
        self.kill()
        self._popen.wait()
        kill_all_with(self._mark)
        self.control.close()
        os.close(self.output)
        if self.end is not None:
            os.close(self.end)


def kill_all_with(mark: bytes) -> None:
    """SIGKILL to every process that was started with this in its environment; nothing where the system does not say."""
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if mark in b"\0" + environ.read_bytes() + b"\0":
                os.kill(int(environ.parent.name), signal.SIGKILL)


def _descriptor_of_end(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
