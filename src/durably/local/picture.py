"""News as a picture: attempts, and what became of each step in them. A fold over news; nothing of how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .news import News
from .stops import PLACES, Stop

StepState = Literal["running", "ran", "replayed", "recovered", "failed", "killed", "timed out", "stopped"]
_CUT_SHORT: dict[str, StepState] = {"killed": "killed", "exited": "killed", "timed out": "timed out"}


@dataclass(slots=True)
class StepPicture:
    """One step in one attempt."""

    name: str
    state: StepState = "running"
    began: float = 0.0
    took_s: float = 0.0
    tries: int = 1
    error: str = ""
    stop: str = ""
    """`crash` or `pause`: done here on purpose."""


@dataclass(slots=True)
class AttemptPicture:
    """One attempt of Lambda's at one event."""

    function: str
    request_id: str
    number: int
    delivery: str
    timeout_s: float = 0.0
    called_at: float | None = None
    init_s: float | None = None
    state: str = "starting"
    """`starting`, `running`, then an outcome's `how`; `stopped` for an execution that another attempt held."""
    took_s: float = 0.0
    error: str = ""
    execution: str = ""
    waits_s: tuple[float, float] | None = None
    """Until the next attempt: on Lambda, and here."""
    zombie: str = ""
    """`lives` after it was reported as timed out, and then how it ended."""
    steps: dict[str, StepPicture] = field(default_factory=dict)

    def left_s(self, now: float) -> float | None:
        """Of its timeout, None unless the handler runs."""
        if self.called_at is None or self.state != "running":
            return None
        return max(0.0, self.called_at + self.timeout_s - now)


class Picture:
    """What is known so far."""

    def __init__(self) -> None:
        self.attempts: dict[tuple[str, str, int], AttemptPicture] = {}
        self.given_up: tuple[str, tuple[str, ...]] | None = None
        """The condition, and the records written."""
        self._stopped_at: list[tuple[str, str, int]] = []

    def take(self, news: News) -> AttemptPicture:
        """Take the news in. Returns the attempt that it is of."""
        key = (news.request_id, news.delivery, news.attempt)
        attempt = self.attempts.get(key)
        if attempt is None:
            attempt = self.attempts[key] = AttemptPicture(news.function, news.request_id, news.attempt, news.delivery)
        said = news.said
        if "step" in said:
            self._take_step(attempt, news)
        elif news.what == "GivenUp":
            self.given_up = (said["condition"], tuple(said["written"]))
        else:
            _take_attempt(attempt, news)
        return attempt

    def came_by(self, stop: Stop) -> bool:
        """Whether what was to be done there on purpose was done."""
        return any(
            what == PLACES[stop.place]
            and (step == stop.step or step.startswith(f"{stop.step}["))
            and stop.attempt in (None, attempt)
            for what, step, attempt in self._stopped_at
        )

    def _take_step(self, attempt: AttemptPicture, news: News) -> None:
        said: Any = news.said
        step = attempt.steps.get(said["step"])
        if step is None or news.what in ("StepBegan", "StepReplayed"):  # of a batch's next record it is another step
            step = attempt.steps[said["step"]] = StepPicture(said["step"], began=news.at)
        step.tries = said.get("tries", step.tries)
        if "stop" in said:
            step.stop = said["stop"]
            self._stopped_at.append((news.what, step.name, news.attempt))
        if news.what == "StepReplayed":
            step.state = "replayed"
        elif news.what == "TryEnded" and said["recover"] and "error" not in said:
            step.state = "recovered"
        elif news.what == "TryBegan":
            step.state = "running"
        elif news.what == "StepEnded":
            step.took_s, step.error = news.at - step.began, said.get("error", "")
            step.state = _state_at_end(step, said.get("kind"))


def _state_at_end(step: StepPicture, kind: str | None) -> StepState:
    if kind == "error":
        return "failed"
    if kind is None:
        return "stopped"
    return "recovered" if step.state == "recovered" else "ran"


def _take_attempt(attempt: AttemptPicture, news: News) -> None:
    said = news.said
    if news.what == "Begins":
        attempt.timeout_s = said["timeout_s"]
    elif news.what == "Called":
        attempt.state, attempt.called_at, attempt.init_s = "running", news.at, said["init_s"]
    elif news.what == "AttemptBegan":
        attempt.execution = said["execution"]
    elif news.what == "Waits":
        attempt.waits_s = (said["seconds"], said["really_s"])
    elif news.what == "ZombieEnds":
        attempt.zombie = said["how"]
    elif news.what == "Ends":
        attempt.state, attempt.took_s, attempt.error = said["how"], said["took_s"], said["error"]
        attempt.zombie = "lives" if said["spared"] else ""
        _cut_short(attempt, news.at)


def _cut_short(attempt: AttemptPicture, at: float) -> None:
    """Steps that were running when the attempt ended, ended with it; in a zombie they run on."""
    state = _CUT_SHORT.get(attempt.state)
    if state is None or attempt.zombie:
        return
    for step in attempt.steps.values():
        if step.state == "running":
            step.state, step.took_s = state, at - step.began
