"""One story: an event delivered until it is done, with a death on the way or two attempts at once, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple, Protocol

from .effects import Counts, Effect, Ledger, grown
from .points import Moment, Point
from .runs import Ended, Named, Run
from .tap import Tap

LAMBDA_WAITS_S = (60.0, 120.0)
"""Before the first and the second retry of an asynchronous invocation."""


class Stage(Protocol):
    """Where deliveries run: on threads of this process, or in processes of their own."""

    ledger: Ledger

    def story(self) -> Any: ...
    def begin(self, run: Run, event: object) -> None: ...
    def wait(self, run: Run) -> None: ...
    def resume(self, run: Run) -> None: ...
    def pass_time(self, seconds: float) -> None: ...
    def lost_appends(self) -> tuple[str, ...]: ...


class Story(NamedTuple):
    """What came of one event."""

    point: Point | None
    """Where its first attempt died, or was held while another ran; None: nothing happened to it."""
    met: bool
    """Whether the attempt came to that point at all: in a fan-out not every run comes by the same ones."""
    moment: Moment | None
    attempts: int
    ended: Ended
    counts: Counts
    late: Ended
    """A duplicate after the end: it must answer the same, and do nothing."""
    late_counts: Counts
    runs: tuple[Run, ...]
    lost_appends: tuple[str, ...] = ()
    """What the store acknowledged and does not have: it broke a promise."""
    rival: str = ""
    """In a race, what the second attempt made of the two."""
    second: Point | None = None
    """In a race, where the second attempt was held."""

    @property
    def forgotten(self) -> frozenset[str]:
        """Recorded outcomes that the attempt which went to the end never asked for: their steps' names have changed.

        Not those of an execution that it found finished, nor those inside of a step that was replayed as a whole.
        """
        asked, replayed = self.asked, set().union(*(run.steps.replayed for run in self._done))
        ran = {execution for execution, _ in asked}
        recorded: set[Named] = set().union(*(run.steps.recorded for run in self.runs))
        parents = dict(chain.from_iterable(run.steps.parents.items() for run in self.runs))
        left = [one for one in recorded - asked if one[0] in ran and not replayed.intersection(_above(one, parents))]
        return frozenset(step for _, step in left)

    @property
    def asked(self) -> frozenset[Named]:
        """The steps that the attempt which went to the end came by; of two that did, both's."""
        return frozenset().union(*(run.steps.asked for run in self._done))

    @property
    def _done(self) -> list[Run]:
        return [run for run in self.runs if run.ended is not None and run.ended.how == "returned"]


def _above(one: Named, parents: Mapping[Named, Named]) -> Iterator[Named]:
    """The steps that one was called in, the innermost first."""
    while one in parents:
        one = parents[one]
        yield one


class Teller:
    """Tells stories of one handler and one event, each in a fresh world."""

    def __init__(
        self, stage: Stage, event: object, effects: Mapping[str, Effect], world: Callable[[], Any] | None, tap: Tap
    ) -> None:
        self.stage, self.event, self.effects, self._make_world, self._tap = stage, event, effects, world, tap
        self.world: Any = None

    def undisturbed(self) -> tuple[Story, dict[str, tuple[str, ...]]]:
        """The story in which nothing happens, and the steps that were running as each effect was first seen."""
        seen: dict[str, tuple[str, ...]] = {}
        last: list[Counts] = [{}]

        def look(running: tuple[str, ...]) -> None:
            now = self.counts()
            for effect in grown(last[0], now):
                seen.setdefault(effect, running)
            last[0] = now

        with self.story():
            last[0] = self.counts()
            first = Run(1, on_moment=look)
            self.deliver(first)
            return self.end(None, [first]), seen

    def killed_at(self, point: Point, number: int, retries: int) -> Story:
        """The first attempt dies at the point, and the event is delivered again as Lambda does.

        Where it does not come by the point, because a step's name is another each time or a fan-out's appends were packed
        otherwise, it dies at the so-manieth instead.
        """
        story = self._killed(point, point, retries)
        return story if story.met else self._killed(point, number, retries)

    def _killed(self, point: Point, dies_at: Point | int, retries: int) -> Story:
        with self.story():
            runs = [Run(1, dies_at=dies_at)]
            self.deliver(runs[0])
            while (runs[-1].ended is None or runs[-1].ended.how != "returned") and len(runs) <= retries:
                self.stage.pass_time(LAMBDA_WAITS_S[min(len(runs), 2) - 1])
                runs.append(Run(len(runs) + 1))
                self.deliver(runs[-1])
            return self.end(point, runs)

    def counts(self) -> Counts:
        """Every effect's count as of now."""
        return self.stage.ledger.counts(self.effects, self.world)

    def deliver(self, run: Run) -> None:
        """Deliver the event, and return when that has ended or died."""
        self.stage.begin(run, self.event)
        self.stage.wait(run)

    def end(self, point: Point | None, runs: list[Run], *, rival: str = "", second: Point | None = None) -> Story:
        """The story of these deliveries; a last one, a duplicate, tells how the event stands."""
        counts = self.counts()
        late = Run(len(runs) + 1)
        self.deliver(late)
        returned = [run.ended for run in runs if run.ended is not None and run.ended.how == "returned"]
        last = next((run.ended for run in reversed(runs) if run.ended is not None), Ended("died"))
        moment = runs[0].died_at or runs[0].held_at
        if moment is not None and point not in moment.points:
            point = moment.points[0]
        return Story(
            point=point,
            met=moment is not None,
            moment=moment,
            attempts=len(runs),
            ended=returned[-1] if returned else last,
            counts=counts,
            late=late.ended or Ended("died"),
            late_counts=self.counts(),
            runs=tuple(runs),
            lost_appends=self.stage.lost_appends(),
            rival=rival,
            second=second,
        )

    @contextmanager
    def story(self) -> Iterator[None]:
        """Inside, one story is told."""
        with self._fresh_world(), self._tap.opened(), self.stage.story():
            yield

    @contextmanager
    def _fresh_world(self) -> Iterator[None]:
        """A world for one story: what the factory makes, entered where it is a context."""
        made: Any = None if self._make_world is None else self._make_world()
        if hasattr(made, "__enter__"):
            with made as self.world:
                yield
        else:
            self.world = made
            yield
