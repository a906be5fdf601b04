"""What was found of one effect, and of one story: the lines of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .stories import Story


@dataclass(frozen=True, slots=True)
class EffectReport:
    """One effect over all stories. `least` and `most` are of its worst key, where it is counted by key."""

    name: str
    undisturbed: Mapping[str, int]
    least: int
    most: int
    may_repeat: bool
    repeated: tuple[Story, ...]
    lost: tuple[Story, ...]
    place: str
    """The step it happens in."""
    cure: str
    """What would close its window; empty when it never happened too often."""

    @property
    def is_right(self) -> bool:
        """As often as undisturbed in every story, but for what it may repeat."""
        return not self.lost and (not self.repeated or self.may_repeat)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A story that ended wrong, and in which ways."""

    story: Story
    why: tuple[str, ...]

    def __str__(self) -> str:
        held = f", the other held {self.story.second}" if self.story.second is not None else ""
        rival = f"{self.story.rival} at: " if self.story.rival else ""
        return f"{rival}{self.story.point}{held}: {'; '.join(self.why)}"
