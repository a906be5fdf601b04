"""Where the store's blocking calls run: on threads of our own, never behind the user's, that end soon after the last call.

The loop's own executor has six threads in a Lambda. An append that queued there behind slow `asyncio.to_thread` calls would
leave outcomes undurable for as long as those take; and duplicates that wait for a holder would keep it from finishing.
"""

from __future__ import annotations

import _thread
import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TypeVar, TypeVarTuple

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

LINGER_S = 0.1
"""How long a thread with nothing to do stays for the next call: starting one for each append of a quick handler is felt."""

Work = Callable[[], None]


class _Worker:
    """A thread, and the work it has or waits for."""

    __slots__ = ("wake", "work")

    def __init__(self) -> None:
        self.wake = _thread.allocate_lock()
        self.wake.acquire()
        self.work: Work | None = None


class Threads:
    """Up to that many threads, over all attempts and loops of the process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Begin anew: in a forked child the parent's threads are not here, and its lock may have been held."""
        self._lock = _thread.allocate_lock()
        self._todo: deque[Work] = deque()
        self._idle: list[_Worker] = []
        self._count = 0

    def call(self, function: Callable[[*Ts], R], *args: *Ts) -> asyncio.Future[R]:
        """Call it in this context. A future that is cancelled does not stop the call."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._add(partial(_answer, loop, future, partial(copy_context().run, function, *args)))
        return future

    def _add(self, work: Work) -> None:
        with self._lock:
            if self._idle:
                thread = self._idle.pop()
                thread.work = work
                thread.wake.release()
            elif self._count < self._most:
                thread = _Worker()
                thread.work = work
                _thread.start_new_thread(self._run, (thread,))
                self._count += 1
            else:
                self._todo.append(work)

    def _run(self, me: _Worker) -> None:
        while me.work is not None:
            me.work()
            me.work = None  # or what it holds would live on while this thread lingers
            with self._lock:
                if self._todo:
                    me.work = self._todo.popleft()
                    continue
                self._idle.append(me)
            self._linger(me)

    def _linger(self, me: _Worker) -> None:
        if me.wake.acquire(True, LINGER_S):
            return
        with self._lock:
            if me in self._idle:
                self._idle.remove(me)
                self._count -= 1
                return
        me.wake.acquire()  # work came in this very moment


def _answer(loop: asyncio.AbstractEventLoop, future: asyncio.Future[R], call: Callable[[], R]) -> None:
    tell: Work
    try:
        tell = partial(future.set_result, call())
    except BaseException as error:
        tell = partial(future.set_exception, error)

    def tell_whoever_waits() -> None:
        if not future.done():
            tell()

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(tell_whoever_waits)


_calls = Threads(32)
_waits = Threads(256)

on_thread = _calls.call
on_waiting_thread = _waits.call
"""For what may sleep for long: a duplicate that waits for its holder."""


def _forget() -> None:
    _calls.forget()
    _waits.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
