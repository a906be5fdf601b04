"""What the stories of one handler come to: how often each effect happened, which crash points end wrong, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .advice import ON_A_RETRY, UNFORESEEN, cure, place_of
from .effects import Counts
from .stories import Story
from .table import table
from .verdicts import EffectReport, Wrong


@dataclass(frozen=True, slots=True)
class Report:
    """What `crash_everywhere` and `race_everywhere` found. Printed, it is a table; its `assert_…` are for tests."""

    kind: Literal["crash", "race"]
    handler: str
    undisturbed: Story
    stories: tuple[Story, ...]
    effects: Mapping[str, EffectReport]
    wrong: tuple[Wrong, ...]
    differing: tuple[Story, ...]
    """Stories whose result was another than undisturbed, or that never came to one."""
    took_s: float = 0.0

    @classmethod
    def of(
        cls,
        kind: Literal["crash", "race"],
        handler: object,
        clean: Story,
        stories: Sequence[Story],
        seen: Mapping[str, tuple[str, ...]],
        may_repeat: Sequence[str],
        result: Callable[[Any], Any],
        took_s: float = 0.0,
    ) -> Report:
        """Judge the stories by the undisturbed one."""
        names = dict.fromkeys(name for story in (clean, *stories) for name in story.counts)
        unknown = set(may_repeat) - set(names)
        if unknown:
            raise ValueError(
                f"may_repeat={sorted(unknown)} names no effect that was counted; there are {sorted(names)}."
            )
        effects = {name: _judged(name, clean, stories, seen.get(name), name in may_repeat) for name in names}
        differing = tuple(story for story in stories if _differs(story, clean, result))
        wrong = [Wrong(story, why) for story in stories if (why := _why(story, clean, may_repeat, story in differing))]
        told = handler if isinstance(handler, str) else getattr(handler, "__qualname__", repr(handler))
        return cls(kind, str(told), clean, tuple(stories), effects, tuple(wrong), differing, took_s)

    @property
    def unmet(self) -> tuple[Story, ...]:
        """Stories whose attempt did not come by the point again: in a fan-out, appends are packed anew each time."""
        return tuple(story for story in self.stories if not story.met)

    def assert_exactly_once(self, *effects: str) -> None:
        """Raise AssertionError unless each of them happened in every story as often as undisturbed.

        Without names: all but those of `may_repeat`.
        """
        names = effects or [name for name, effect in self.effects.items() if not effect.may_repeat]
        self._assert(names, lambda effect: not effect.lost and not effect.repeated, "did not happen exactly once")

    def assert_at_most_once(self, *effects: str) -> None:
        """Raise AssertionError if one of them happened in some story more often than undisturbed.

        Without names: all but those of `may_repeat`.
        """
        names = effects or [name for name, effect in self.effects.items() if not effect.may_repeat]
        self._assert(names, lambda effect: not effect.repeated, "happened more than once")

    def assert_same_result(self) -> None:
        """Raise AssertionError unless every story came to the undisturbed result, and its duplicate got the same."""
        if self.differing:
            raise AssertionError(f"the result was not always the same.\n\n{self}")

    def assert_nothing_wrong(self) -> None:
        """Raise AssertionError unless every story ended right: effects (but for `may_repeat`), result and duplicate."""
        if self.wrong:
            raise AssertionError(f"{len(self.wrong)} of {len(self.stories)} stories ended wrong.\n\n{self}")

    def _assert(self, names: Sequence[str], is_right: Callable[[EffectReport], bool], what: str) -> None:
        unknown = [name for name in names if name not in self.effects]
        if unknown:
            raise KeyError(f"no effect {unknown[0]!r} was counted; there are {sorted(self.effects)}.")
        bad = [name for name in names if not is_right(self.effects[name])]
        if bad:
            raise AssertionError(f"{', '.join(bad)} {what}.\n\n{self}")

    def __str__(self) -> str:
        many = len(self.stories)
        kind = "crash points" if self.kind == "crash" else "races"
        each = f" · {1000 * self.took_s / many:.1f} ms each" if self.took_s and many else ""
        unmet = f" · {len(self.unmet)} not met again" if self.unmet else ""
        headline = f"{self.handler}: {many} {kind}, {len(self.wrong)} end wrong{unmet}{each}"
        return table(headline, self.stories, self.effects.values(), self.differing, self.wrong)


def _judged(
    name: str, clean: Story, stories: Sequence[Story], seen: tuple[str, ...] | None, may_repeat: bool
) -> EffectReport:
    expected = clean.counts.get(name, {})
    repeated = tuple(story for story in stories if _more(story.counts, name, expected))
    lost = tuple(story for story in stories if _fewer(story.counts, name, expected))
    counted = [
        story.counts.get(name, {}).get(key, 0)
        for story in (clean, *stories)
        for key in expected or story.counts.get(name, {})
    ]
    steps = seen if seen is not None else _steps_at(repeated)
    is_new = bool(repeated) and not any(expected.values())
    return EffectReport(
        name=name,
        undisturbed=expected,
        least=min(counted, default=0),
        most=max(counted, default=0),
        may_repeat=may_repeat,
        repeated=repeated,
        lost=lost,
        place=ON_A_RETRY if is_new else place_of(steps),
        cure=UNFORESEEN if is_new else cure(steps, repeated) if repeated else "",
    )


def _steps_at(stories: Sequence[Story]) -> tuple[str, ...]:
    return next((story.moment.steps for story in stories if story.moment is not None), ())


def _more(counts: Counts, name: str, expected: Mapping[str, int], by: int = 0) -> bool:
    return any(count > expected.get(key, 0) + by for key, count in counts.get(name, {}).items())


def _fewer(counts: Counts, name: str, expected: Mapping[str, int]) -> bool:
    return any(counts.get(name, {}).get(key, 0) < count for key, count in expected.items())


def _differs(story: Story, clean: Story, result: Callable[[Any], Any]) -> bool:
    wanted = result(clean.ended.value) if clean.ended.how == "returned" else clean.ended
    given = [result(one.value) if one.how == "returned" else one for one in (story.ended, story.late)]
    return any(one != wanted for one in given)


def _why(story: Story, clean: Story, may_repeat: Sequence[str], differs: bool) -> tuple[str, ...]:
    why = []
    for name in dict.fromkeys([*clean.counts, *story.counts]):
        expected = clean.counts.get(name, {})
        # What may repeat may do so once for the one death there was, not as often as it likes.
        if _more(story.counts, name, expected, by=1 if name in may_repeat else 0):
            why.append(f"{name} happened {_times(story.counts, name, expected)}")
        elif _fewer(story.counts, name, expected):
            why.append(f"{name} did not happen")
    if story.late_counts != story.counts:
        why.append("a duplicate after the end did it again")
    if story.lost_appends:
        why.append(f"the store acknowledged and lost: {', '.join(story.lost_appends)}")
    if differs:
        why.append(_told_result(story, clean))
    return tuple(why)


def _times(counts: Counts, name: str, expected: Mapping[str, int]) -> str:
    worst = max(counts[name], key=lambda key: counts[name][key] - expected.get(key, 0))
    more = f"{counts[name][worst]} times instead of {expected.get(worst, 0)}"
    return f"{more} ({worst})" if worst else more


def _told_result(story: Story, clean: Story) -> str:
    if story.ended.how != "returned":
        return f"never finished: {story.ended.told or story.ended.how}"
    if story.ended.value != story.late.value:
        late = _short(story.late.value) if story.late.how == "returned" else story.late.told
        return f"returned {_short(story.ended.value)}, and a duplicate was given {late}"
    return f"returned {_short(story.ended.value)} instead of {_short(clean.ended.value)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
