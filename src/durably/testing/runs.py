"""One delivery of the event: what it came by, where it dies or is held, and what it told of its steps."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from .points import Kind, Moment, Point, Side


class Ended(NamedTuple):
    """How a delivery ended. `told` is the exception's class and text."""

    how: Literal["returned", "raised", "died"]
    value: Any = None
    told: str = ""


class Buried(BaseException):
    """Unwinds what is left of a dead attempt once its story is over."""


class Run:
    """The n-th delivery of a story's event. Every point of it is a call of `come_by`, which says whether it goes on."""

    def __init__(
        self,
        number: int,
        *,
        dies_at: Point | int | None = None,
        holds_at: Point | None = None,
        on_death: Callable[[], object] = lambda: None,
        on_moment: Callable[[tuple[str, ...]], object] | None = None,
    ) -> None:
        self.number = number
        self.dies_at = dies_at
        """A point by its name, or the so-manieth one whatever its name."""
        self.holds_at = holds_at
        self.on_death = on_death
        self.on_moment = on_moment
        """Called at each point, and around each step's function, with the steps that are running."""
        self.moments: list[Moment] = []
        self.died_at: Moment | None = None
        self.held_at: Moment | None = None
        self.ended: Ended | None = None
        self.paused = threading.Event()
        """Set when it has ended, died or is held: whoever drives it may look."""
        self.go = threading.Event()
        self.buried = threading.Event()
        self.steps = Steps()
        self._seen: Counter[tuple[Side, str]] = Counter()
        self._lock = threading.Lock()

    @property
    def is_dead(self) -> bool:
        """Nothing of it reaches the store or the world any more."""
        return self.died_at is not None

    def come_by(self, kind: Kind, side: Side, *whats: str) -> bool:
        """Pass a point, known by one name or several. False: it is dead, and what called must never return."""
        with self._lock:
            if self.died_at is not None:
                return False
            moment = Moment(kind, tuple([self._point(side, what) for what in whats]), self._steps_at(whats))
            self.moments.append(moment)
            if self.dies_at is not None and (self.dies_at in moment.points or self.dies_at == len(self.moments)):
                self.died_at = moment
        if self.died_at is not None:
            self.on_death()
            self.paused.set()
            return False
        self._look()
        if self.holds_at is not None and self.holds_at in moment.points:
            self.held_at = moment
            self.paused.set()
            self.go.wait()
        return self.died_at is None

    def end(self, ended: Ended) -> None:
        """It has come to its end, if it did not die before."""
        with self._lock:
            if self.died_at is not None:
                return
            self.ended = ended
        self.paused.set()

    def let_go(self) -> None:
        """Let it go on from where it is held."""
        self.paused.clear()
        self.go.set()

    def step_told(self, execution: str, what: str, step: str, *, within: str = "", recover: bool = False) -> None:
        """One of durably's events, by its class's name."""
        if what in ("TryBegan", "TryEnded"):
            self._look()
        self.steps.told(execution, what, step, within=within, recover=recover)

    def _look(self) -> None:
        if self.on_moment is not None:
            self.on_moment(self.steps.running())

    def _point(self, side: Side, what: str) -> Point:
        self._seen[side, what] += 1
        return Point(side, what, self._seen[side, what])

    def _steps_at(self, whats: tuple[str, ...]) -> tuple[str, ...]:
        """The steps an append is about, or those that are running."""
        named = [step for what in whats if what.startswith("append") for step in what.split(" ")[2:3]]
        return tuple(dict.fromkeys(named)) or self.steps.running()


Named = tuple[str, str]
"""An execution's id and a step's name: a handler may run executions of its own."""


class Steps:
    """What a run's steps told of themselves, in whatever thread they run."""

    def __init__(self) -> None:
        self.asked: set[Named] = set()
        """Steps that the handler came by, replayed or run."""
        self.replayed: set[Named] = set()
        self.recorded: set[Named] = set()
        self.parents: dict[Named, Named] = {}
        """The step that one was called in."""
        self.announced: set[str] = set()
        self.recovering: set[str] = set()
        """Steps whose `recover` was asked."""
        self._running: list[str] = []
        self._lock = threading.Lock()

    def running(self) -> tuple[str, ...]:
        """The steps whose function is being called now."""
        with self._lock:
            return tuple(self._running)

    def told(self, execution: str, what: str, step: str, *, within: str = "", recover: bool = False) -> None:
        """One of durably's events, by its class's name."""
        with self._lock:
            if what in ("StepBegan", "StepReplayed"):
                self.asked.add((execution, step))
            if what == "StepReplayed":
                self.replayed.add((execution, step))
            elif what == "StepBegan" and within:
                self.parents[execution, step] = (execution, within)
            elif what == "TryBegan":
                self._running.append(step)
                if recover:
                    self.recovering.add(step)
            elif what == "TryEnded" and step in self._running:
                self._running.remove(step)

    def appended(self, execution: str, kind: str, step: str) -> None:
        """An entry is in the store."""
        with self._lock:
            if kind == "result":
                self.recorded.add((execution, step))
            elif kind == "started":
                self.announced.add(step)
