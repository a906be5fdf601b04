"""PURE: what an execution's entries mean, and what this attempt may do next. No clock, no I/O, no thread.

It takes the journal so far and answers, for each step: replay this outcome, run, ask `recover`, or refuse; and when an
exception leaves the handler, which failures it takes back. The caller holds a lock around each call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from .entries import Entry, Segment, damaged_journal
from .errors import DuplicateStep


class Frame:
    """One step that is running: what was begun inside it belongs to its current try."""

    __slots__ = ("error", "is_item", "names", "outcome", "parent", "redact", "step", "stopped", "tries")

    def __init__(self, step: str, parent: Frame | None = None, *, is_item: bool = False) -> None:
        self.step = step
        self.parent = parent
        self.is_item = is_item
        """An item of a fan-out: a line of control of its own."""
        self.tries = 0
        self.names: list[str] = []
        """Steps begun inside this try, at any depth."""
        self.stopped = False
        """A step inside it was refused by a stop signal, so whatever it returns is built on a hole."""
        self.redact: tuple[str, ...] = ()
        """What history hides of it."""
        self.outcome: Entry | None = None
        self.error: BaseException | None = None

    def named(self) -> Frame | None:
        """This step, or the nearest around it: an asyncio task's line of control is a frame without a name."""
        frame: Frame | None = self
        while frame is not None and not frame.step:
            frame = frame.parent
        return frame

    @property
    def lane(self) -> Frame | None:
        """The nearest item of a fan-out that this step belongs to."""
        frame: Frame | None = self
        while frame is not None and not frame.is_item:
            frame = frame.parent
        return frame

    def lanes(self) -> Sequence[Frame | None]:
        """Every line of control whose failures this step's code has gone on from, the handler's own first."""
        if self.parent is None and not self.is_item:
            return _HANDLERS_OWN
        found: list[Frame | None] = [None]
        lane = self.lane
        while lane is not None:
            found.append(lane)
            lane = lane.parent.lane if lane.parent is not None else None
        return found


_HANDLERS_OWN = (None,)
"""The one line of control of a handler's own steps, which most are."""


class Failure:
    """A step's exception as this attempt saw it, raised anew or replayed."""

    __slots__ = ("begun", "error", "group", "lane", "permanent", "step")

    def __init__(
        self, step: str, error: BaseException, lane: Frame | None, begun: int, group: object, permanent: bool
    ) -> None:
        self.step = step
        self.error = error
        self.lane = lane
        """The line of control that was handed it."""
        self.begun = begun
        """How many steps that line had begun when it was raised: more than that since means that the code went on."""
        self.group = group
        """The failures of one fan-out share one, and so one fate."""
        self.permanent = permanent


class Journal:
    """The outcomes remembered so far, and what this attempt did with them."""

    def __init__(self, execution: str, attempt: int, segments: Iterable[Segment] = ()) -> None:
        self.execution = execution
        self.attempt = attempt
        self.replayed = 0
        self._begun: defaultdict[Frame | None, int] = defaultdict(int)
        """Steps replayed or run, by line of control. One that a stop signal refused has not begun."""
        self._outcomes: dict[str, Entry] = {}
        self._started: set[str] = set()
        self._used: set[str] = set()
        self._failures: list[Failure] = []
        for segment in segments:
            for entry in segment.entries:
                self.remember(entry)
        # What ran inside a step that has an outcome is never asked for again.
        self._loaded = sum(outcome.within not in self._outcomes for outcome in self._outcomes.values())

    def remember(self, entry: Entry) -> None:
        """Take in one entry, of the store's or of this attempt's own making, in the journal's order."""
        if entry.kind in ("result", "error"):
            # The first outcome is the outcome, for ever (P1).
            self._outcomes.setdefault(entry.step, entry)
        elif entry.kind == "started":
            self._started.add(entry.step)
        elif entry.kind == "taken_back":
            self._outcomes.pop(entry.step, None)
        elif entry.kind == "forgotten":
            self._outcomes.pop(entry.step, None)
            self._started.discard(entry.step)

    def begin(self, frame: Frame) -> Entry | None:
        """Use a step's name in this attempt: its remembered outcome, or None. Raises DuplicateStep on a second use."""
        step, parent = frame.step, frame.parent
        if step in self._used:
            raise DuplicateStep(self.execution, step)
        self._used.add(step)
        while parent is not None:
            parent.names.append(step)
            parent = parent.parent
        outcome = self._outcomes.get(step)
        if outcome is not None:
            self.replayed += 1
            self.count_begun(frame)
        return outcome

    def count_begun(self, frame: Frame) -> None:
        """The step is replayed or will run, so the code of its line of control, and of those around it, has gone on."""
        self._begun[None] += 1
        if frame.parent is not None or frame.is_item:
            for lane in frame.lanes()[1:]:
                self._begun[lane] += 1

    def has_outcome(self, step: str) -> bool:
        """Whether the step is remembered, without using its name."""
        return step in self._outcomes

    @property
    def replaying(self) -> bool:
        """Whether outcomes of earlier attempts are left that this one has not asked for."""
        return self.replayed < self._loaded

    def was_started(self, step: str) -> bool:
        """Whether some attempt announced this step: with no outcome, its effect may have happened."""
        return step in self._started

    def refuse_used(self, steps: Iterable[str]) -> None:
        """Raise DuplicateStep if one of the names was used in this attempt, before any of them is."""
        for step in steps:
            if step in self._used:
                raise DuplicateStep(self.execution, step)

    def remembered_failures(self, steps: Iterable[str]) -> list[str]:
        """Those of the steps whose outcome is a failure, in the order in which they failed."""
        wanted = set(steps)
        return [name for name, entry in self._outcomes.items() if name in wanted and entry.kind == "error"]

    def raised(self, step: str, error: BaseException, lane: Frame | None = None, *, permanent: bool = False) -> None:
        """Note that the user's code is being handed this failure, on that line of control."""
        self._failures.append(Failure(step, error, lane, self._begun.get(lane, 0), object(), permanent))

    def join(self, lanes: Collection[Frame | None], into: Frame | None) -> None:
        """These lines of control are over: their failures are now the affair of the one they came from."""
        for failure in self._failures:
            if failure.lane in lanes:
                failure.begun = -1 if self._went_on(failure) else self._begun.get(into, 0)
                failure.lane = into
        for lane in lanes:
            self._begun.pop(lane, None)

    def regroup(self, steps: Iterable[str]) -> None:
        """Let the failures of these steps share one fate, as raised now: their fan-out hands them on together."""
        members, group = set(steps), object()
        for failure in self._failures:
            if failure.step in members:
                failure.group, failure.begun = group, self._begun.get(failure.lane, 0)

    def retry(self, frame: Frame) -> list[Entry]:
        """Free the names used in the last try of this step; its failures are taken back, its results are kept."""
        names = set(frame.names)
        frame.names.clear()
        self._used -= names
        lost = [failure for failure in self._failures if failure.step in names]
        self._failures = [failure for failure in self._failures if failure.step not in names]
        return self._take_back(lost)

    def never_handed_over(self, steps: Iterable[str]) -> list[Entry]:
        """Take back the failures of these steps, and what they came from: a stop signal came before the code saw them."""
        unseen = set(steps)
        gone = [failure for failure in self._failures if failure.step in unseen]
        return self._take_back([*gone, *self._came_from(gone)])

    def left(self, error: BaseException | None, beside: Collection[BaseException] = ()) -> list[Entry]:
        """The entries that take back what left the handler with this exception, and with those that ended tasks beside it.

        None is an answer that counts as a failure without an exception (an HTTP status of 400 or more): it takes back
        the failures after which no step has begun.
        """
        certain, likely = reached([error, *beside])
        gone = [failure for failure in self._failures if self._has_left(failure, certain, likely, error)]
        return self._take_back([*gone, *self._came_from(gone)])

    def _came_from(self, gone: Sequence[Failure]) -> list[Failure]:
        """The failures that share the fate of these: of their fan-outs, and of the steps inside that these came from."""
        found: list[Failure] = []
        seen = {id(failure) for failure in gone}
        while gone:
            groups = {id(failure.group) for failure in gone}
            certain, likely = reached([failure.error for failure in gone])
            gone = [
                failure
                for failure in self._failures
                if id(failure) not in seen
                and (id(failure.group) in groups or self._has_left(failure, certain, likely, failure.error))
            ]
            seen.update(id(failure) for failure in gone)
            found.extend(gone)
        return found

    def _has_left(self, failure: Failure, certain: set[int], likely: set[int], error: BaseException | None) -> bool:
        if id(failure.error) in certain:
            return True
        return not self._went_on(failure) and (error is None or id(failure.error) in likely)

    def _went_on(self, failure: Failure) -> bool:
        # Steps of other lines tell nothing: the items beside this one begin theirs whatever becomes of it.
        return self._begun.get(failure.lane, 0) > failure.begun

    def _take_back(self, failures: Sequence[Failure]) -> list[Entry]:
        entries = []
        for step in dict.fromkeys(failure.step for failure in failures if not failure.permanent):
            outcome = self._outcomes.get(step)
            if outcome is not None and outcome.kind == "error":
                entry = Entry("taken_back", step, attempt=self.attempt)
                self.remember(entry)
                entries.append(entry)
        return entries


def reached(errors: Iterable[BaseException | None]) -> tuple[set[int], set[int]]:
    """The ids of the exceptions that `errors` carry out for certain, and those they only reach by `__context__`.

    `raise … from` and ExceptionGroup say so in the code; `__context__` is set by Python on any raise in an `except`.
    """
    certain: dict[int, BaseException] = {}
    likely: dict[int, BaseException] = {}
    _walk(errors, certain, by_context=False)
    _walk(certain.values(), likely, by_context=True)
    return set(certain), set(likely)


def _walk(errors: Iterable[BaseException | None], found: dict[int, BaseException], *, by_context: bool) -> None:
    todo = list(errors)
    while todo:
        exc = todo.pop()
        if exc is None or id(exc) in found:
            continue
        found[id(exc)] = exc
        todo.append(exc.__cause__)
        if by_context:
            todo.append(exc.__context__)
        if isinstance(exc, BaseExceptionGroup):
            todo.extend(exc.exceptions)


def refuse_gaps(execution: str, segments: Sequence[Segment]) -> None:
    """Raise StoreError unless the numbers run from 1 without a gap: a journal with a hole would run a step again."""
    for expected, segment in enumerate(segments, start=1):
        if segment.number != expected:
            raise damaged_journal(execution, f"segment {expected} is missing and {segment.number} is there")
