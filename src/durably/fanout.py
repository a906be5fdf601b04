"""`fan_out` in plain Python: items on threads that live as long as the call.

Items' outcomes gather while one append is under way and go out together; the call returns when all are durable. No thread
does only the writing: the item that finds nobody writing writes until nothing is left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, Literal, TypeVar, Unpack, overload

from .current import Running, refuse_lost_context, running
from .fan import FanOut, Items
from .options import Options, StepOptions
from .program import Answer
from .steps import perform, refuse_async

T = TypeVar("T")
R = TypeVar("R")


@overload
def fan_out(
    name: str,
    fn: Callable[[T], R],
    items: Iterable[T],
    /,
    *,
    key: Callable[[T], str | int] | None = None,
    workers: int = 16,
    return_exceptions: Literal[False] = False,
    **options: Unpack[StepOptions],
) -> list[R]: ...


@overload
def fan_out(
    name: str,
    fn: Callable[[T], R],
    items: Iterable[T],
    /,
    *,
    key: Callable[[T], str | int] | None = None,
    workers: int = 16,
    return_exceptions: Literal[True],
    **options: Unpack[StepOptions],
) -> list[R | Exception]: ...


def fan_out(
    name: str,
    fn: Callable[[T], R],
    items: Iterable[T],
    /,
    *,
    key: Callable[[T], str | int] | None = None,
    workers: int = 16,
    return_exceptions: bool = False,
    **options: Unpack[StepOptions],
) -> Any:
    """Run `fn(item)` for every item as the step `name[key]`, up to `workers` at once; results in the order of items.

    `key` names an item by something of its own, and defaults to the item itself for str and int. The other options are
    those of a step; `recover` is given the item. When an item fails, no further one is begun, those that run are waited
    for, and the first failure is raised, with a note that counts the others. With `return_exceptions` every item
    runs, and what `fn` raised stands in its place.

    Raises TypeError for an item without a key, DuplicateStep for two alike, both before any item runs; a stop signal.
    """
    work = Items(name, items, key, workers)
    refuse_async(name, fn)
    refuse_async(name, options.get("recover"))
    here = running.get()
    work.refuse_twins(here.attempt.head.id if here is not None else "(none)")
    made = work.options(options)
    if here is None:
        refuse_lost_context(name)
        alone = [partial(_run_alone, fn, item) for item in work.all]
        answers = run_crew(alone, workers, stop_at_failure=not return_exceptions)
        failures = [answer.error for answer in answers if answer is not None and answer.error is not None]
    else:
        answers, failures = _run_items(here, fn, work, made, stop_at_failure=not return_exceptions)
    return work.outcome(answers, failures, give_exceptions=return_exceptions)


def _run_items(
    here: Running, fn: Callable[[Any], Any], work: Items, options: Sequence[Options], *, stop_at_failure: bool
) -> tuple[list[Answer | None], list[BaseException]]:
    """Each item's answer, None for one not begun, and the failures in the journal's order."""
    attempt = here.attempt
    fan = FanOut(attempt, here.frame, work, stop_at_failure=stop_at_failure)

    def run_item(index: int) -> Answer:
        item = work.all[index]
        call = partial(fn, item)
        return fan.refuse_stop(
            perform(attempt, fan.frames[index], fn, call, options[index], (item,), behind=fan.behind)
        )

    answers: list[Answer | None] = [None] * len(work.all)
    for index in fan.known:
        answers[index] = run_item(index)
    todo = fan.todo(answers)
    try:
        new = run_crew([partial(run_item, index) for index in todo], work.workers, stop_at_failure=stop_at_failure)
        attempt.settle(attempt.appender.last_mark)
    except BaseException:
        fan.abandon()
        raise
    for index, answer in zip(todo, new, strict=True):
        answers[index] = answer
    return answers, fan.close(answers)


def run_crew(tasks: Sequence[Callable[[], Answer]], workers: int, *, stop_at_failure: bool) -> list[Answer | None]:
    """Run the tasks on up to that many threads; None for one not begun. Raises what a task raised, when all have ended.

    An interrupt of this thread (Ctrl-C) is raised at once, without waiting for the tasks that run.
    """
    crew = _Crew(tasks, stop_at_failure)
    if workers == 1 or len(tasks) == 1:
        crew.work()
    else:
        crew.work_on_threads(workers)
    if crew.raised is not None:
        raise crew.raised
    return crew.answers


class _Crew:
    """The threads of one fan-out and what they have left to do."""

    def __init__(self, tasks: Sequence[Callable[[], Answer]], stop_at_failure: bool) -> None:
        self.answers: list[Answer | None] = [None] * len(tasks)
        self.raised: BaseException | None = None
        self._tasks = tasks
        self._stop_at_failure = stop_at_failure
        self._next = 0
        self._closed = False
        self._lock = threading.Lock()
        self._context = copy_context()

    def work_on_threads(self, workers: int) -> None:
        threads: list[threading.Thread] = []
        try:
            # Quick items are often done before the next thread is up: then it is not started.
            most = min(workers, len(self._tasks))
            while len(threads) < most and self._next < len(self._tasks) and not self._closed:
                threads.append(threading.Thread(target=self.work, name="durably-fan-out", daemon=True))
                threads[-1].start()
            for thread in threads:
                thread.join()
        except BaseException:
            self._closed = True
            raise

    def work(self) -> None:
        while (index := self._take()) is not None:
            try:
                answer = self._context.copy().run(self._tasks[index])
            except BaseException as error:
                self.raised = self.raised or error
                self._closed = True
                return
            self.answers[index] = answer
            if answer.error is not None and self._stop_at_failure:
                self._closed = True

    def _take(self) -> int | None:
        with self._lock:
            if self._closed or self._next == len(self._tasks):
                return None
            self._next += 1
            return self._next - 1


def _run_alone(fn: Callable[[Any], Any], item: Any) -> Answer:
    try:
        return Answer(fn(item))
    except Exception as error:
        return Answer(None, error)
