"""Call something later, for all attempts of a process, on one sleeping thread that ends when nothing is left to wait for.

It does no I/O and is not joined: an attempt that ends early only takes its call off the list. (It is a bare thread, since
`threading.Thread` costs a handshake at its start and this one must cost a quick handler nothing.)
"""

from __future__ import annotations

import _thread
import logging
import os
import time
from collections.abc import Callable
from itertools import count

log = logging.getLogger("durably")

_lock = _thread.allocate_lock()
_due: dict[int, tuple[float, Callable[[], None]]] = {}
_ids = count()
_thread_of = 0
"""The process whose timer thread is running; a forked child has none."""
_wakes_at = 0.0
_wake = _thread.allocate_lock()


def after(seconds: float, call: Callable[[], None]) -> Callable[[], None]:
    """Call once when that many seconds have passed. Returns what takes it back."""
    global _thread_of, _wakes_at
    due, key = time.monotonic() + seconds, next(_ids)
    with _lock:
        _due[key] = (due, call)
        if _thread_of != os.getpid():
            _thread_of, _wakes_at = os.getpid(), due
            _thread.start_new_thread(_run, ())
        elif due < _wakes_at and _wake.locked():
            _wakes_at = due
            _wake.release()

    def cancel() -> None:
        with _lock:
            _due.pop(key, None)

    return cancel


def _run() -> None:
    global _thread_of, _wakes_at
    while True:
        with _lock:
            now = time.monotonic()
            ready = [key for key, (due, _) in _due.items() if due <= now]
            calls = [_due.pop(key)[1] for key in ready]
            if not calls and not _due:
                _thread_of = 0
                return
            _wakes_at = min((due for due, _ in _due.values()), default=now)
            _wake.acquire(False)
        for call in calls:
            try:
                call()
            except Exception:
                # The timer serves other attempts too; one that got no heartbeat finds its lease run out by its own clock.
                log.exception("a heartbeat could not be started")
        if not calls:
            _wake.acquire(True, max(0.0, _wakes_at - time.monotonic()))


def _forget() -> None:
    """In a forked child: the parent's thread and its calls are not here, and its locks may have been held."""
    global _lock, _wake, _thread_of
    _lock, _wake, _thread_of = _thread.allocate_lock(), _thread.allocate_lock(), 0
    _due.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
