"""`make demo`: a reviewer on a big pull request, killed twice, delivered twice more; on ten lines, then on durably.

Real processes, real SIGKILL, real HTTP to the fakes beside this file, SQLite. Only the clock is helped: Lambda's waits
between attempts (1 and 2 minutes) and the lease (30 s) are divided by `--speed`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .fakes import PullRequest, pull_request
from .picture import aside, paint, row, say, title, verdict
from .processes import Attempt, DemoFailed, World

LAMBDA_WAITS_S = (60.0, 120.0)
LEASE_S = 30.0
IN_FLIGHT = 2 * 16
"""What a kill may cost: the 16 files at the model, and as many whose outcome was on its way to the disk."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the fakes counted in one story, and what its attempts said."""

    comments: int
    reviews: int
    findings: int
    analysed: dict[str, int]
    busy_duplicate: Attempt
    late_duplicate: Attempt
    last: Attempt

    @property
    def paid_again(self) -> int:
        """Model calls beyond the first for each file."""
        return sum(calls - 1 for calls in self.analysed.values())


def main() -> int:
    """Both stories and the verdict. Returns the exit code."""
    asked, began = arguments(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="code-reviewer-") as folder:
        try:
            is_met = tell(asked, pull_request(asked.files), Path(folder))
        except DemoFailed as failure:
            say(paint(f"\nThe demo itself failed: {failure}", "red"))
            return 2
    say(f"  {time.monotonic() - began:.0f} s in all.")
    return 0 if is_met else 1


def tell(asked: argparse.Namespace, pull: PullRequest, folder: Path) -> bool:
    """The ten lines' story, durably's, and which of the two kept its word."""
    introduce(asked, pull)
    title("1. The ten lines: look the id up; a result is there, return it; else run and store")
    ten_lines = story("ten_lines", asked, pull, folder / "ten-lines")
    title("2. The same with durably")
    return judge(pull, ten_lines, story("reviewer", asked, pull, folder / "durably"))


def arguments() -> argparse.Namespace:
    """What can be changed; the defaults are what is promised."""
    parser = argparse.ArgumentParser(prog="python -m examples.code_reviewer.demo", description=__doc__)
    parser.add_argument("--files", type=int, default=300, help="files in the pull request")
    parser.add_argument("--speed", type=float, default=10, help="how many times faster than Lambda the clock runs")
    parser.add_argument("--model-ms", type=float, default=250, help="the model's mean latency")
    return parser.parse_args()


def introduce(asked: argparse.Namespace, pull: PullRequest) -> None:
    """What is about to be seen."""
    say(paint(f"A code reviewer on a pull request of {len(pull.reviewable)} files, killed twice.", "bold"))
    say(f"  Lambda's waits between attempts and the lease are {asked.speed:g} times shorter here, nothing else is.")
    say(f"  {paint('█', 'green')} steps that ran   {paint('░', 'dim')} steps replayed from the journal")


def story(handler: str, asked: argparse.Namespace, pull: PullRequest, folder: Path) -> Told:
    """Three attempts, as many as Lambda makes (killed after an effect, in the fan-out, left alone), two duplicates."""
    total = len(pull.reviewable) + -(-len(pull.files) // 100) * (handler == "reviewer") + 4
    folder.mkdir()
    with World(asked.files, asked.model_ms, folder, lease_s=LEASE_S / asked.speed) as world:
        event = world.deliver_webhook(pull)
        show = Rows(total)
        first = kill_after_comment(world, handler, event)
        show.killed("attempt 1", first, "after the comment, before its checkpoint")
        wait_like_lambda(handler, asked.speed, 0)
        show.killed("attempt 2", kill_in_fan_out(world, handler, event, pull), "in the middle of the fan-out")
        wait_like_lambda(handler, asked.speed, 1)
        last, busy = run_beside_duplicate(world, handler, event)
        show.ended("attempt 3", last, "", is_good=last.ended == "completed")
        show.ended("duplicate", busy, "while attempt 3 ran: ", is_good=busy.ran == 0)
        late = world.attempt(handler)
        late.deliver(event, request_id="late-duplicate").wait()
        show.ended("duplicate", late, "after the end: ", is_good=late.ran == 0)
        return told(world, busy, late, last)


class Rows:
    """The rows of one story, as they happen."""

    def __init__(self, total: int) -> None:
        self._total = total

    def killed(self, name: str, attempt: Attempt, where: str) -> None:
        """An attempt that was killed."""
        row(name, attempt.replayed, attempt.ran, self._total, f"✗ SIGKILL {where}")
        if attempt.recovered:
            aside(f"{attempt.recovered}: found at GitHub by its marker, not made again")

    def ended(self, name: str, attempt: Attempt, when: str, *, is_good: bool) -> None:
        """An attempt that came to an end."""
        how = f"{'✓' if is_good else '✗'} {when}{attempt.ended}{'' if attempt.ran else ', nothing run'}"
        row(name, attempt.replayed, attempt.ran, self._total, how, is_good)


def kill_after_comment(world: World, handler: str, event: object) -> Attempt:
    """End the process when GitHub has done the comment and not yet said so: an effect without its checkpoint."""
    world.hold_next("POST /repos/.*/comments")
    attempt = world.attempt(handler).deliver(event)
    attempt.until(lambda: world.counts()["held"] == 1)
    attempt.kill()
    world.release()
    return attempt


def kill_in_fan_out(world: World, handler: str, event: object, pull: PullRequest) -> Attempt:
    """End the process when four in ten files have been sent to the model."""
    attempt = world.attempt(handler).deliver(event)
    attempt.until(lambda: len(world.counts()["model_calls"]) >= 0.4 * len(pull.reviewable))
    attempt.kill()
    return attempt


def run_beside_duplicate(world: World, handler: str, event: object) -> tuple[Attempt, Attempt]:
    """The third attempt, left alone, and the same event once more while it is at the model."""
    calls = sum(world.counts()["model_calls"].values())
    duplicate = world.attempt(handler)
    last = world.attempt(handler).deliver(event)
    last.until(lambda: sum(world.counts()["model_calls"].values()) > calls)
    duplicate.deliver(event, request_id="busy-duplicate")
    return last.wait(), duplicate.wait()


def wait_like_lambda(handler: str, speed: float, retry: int) -> None:
    """The wait before a retry. The ten lines know no lease, and gain nothing by waiting."""
    if handler == "reviewer":
        waited = LAMBDA_WAITS_S[retry]
        aside(f"Lambda waits {waited:.0f} s before it retries; here {waited / speed:.0f} s")
        time.sleep(waited / speed)


def told(world: World, busy: Attempt, late: Attempt, last: Attempt) -> Told:
    """The fakes' own counts at the end of a story."""
    counts = world.counts()
    found = sum(review["threads"] + review["body"].count("\n- `") for review in counts["reviews"])
    return Told(len(counts["comments"]), len(counts["reviews"]), found, counts["model_calls"], busy, late, last)


def judge(pull: PullRequest, ten_lines: Told, durably: Told) -> bool:
    """The table of both stories; True when durably kept what it promises and the ten lines lost what they must."""
    rows = [
        (what, str(of(ten_lines)), is_right(of(ten_lines)), str(of(durably)), is_right(of(durably)))
        for what, of, is_right in checks(pull)
    ]
    verdict(("what was counted", "ten lines", "durably"), rows)
    same_result = durably.late_duplicate.result == durably.last.result is not None
    is_met = all(right for *_, right in rows) and same_result and ten_lines.comments == 2
    kept = "Verdict: kept. One comment, one review, nothing lost; paid twice only what was in flight."
    say("\n  " + (paint(kept, "bold", "green") if is_met else paint("Verdict: NOT MET.", "bold", "red")))
    return is_met


def checks(pull: PullRequest) -> list[tuple[str, Callable[[Told], int], Callable[[int], bool]]]:
    """What is counted, and which figures are right."""
    files, findings = len(pull.reviewable), sum(len(file.smells()) for file in pull.reviewable)
    return [
        ("comments on the pull request (1)", lambda told: told.comments, lambda n: n == 1),
        ("reviews (1)", lambda told: told.reviews, lambda n: n == 1),
        (f"findings in reviews ({findings})", lambda told: told.findings, lambda n: n == findings),
        (f"files analysed ({files})", lambda told: len(told.analysed), lambda n: n == files),
        (
            f"model calls paid twice (in flight: {IN_FLIGHT} at most)",
            lambda told: told.paid_again,
            lambda n: n <= IN_FLIGHT,
        ),
        ("steps the busy duplicate ran (0)", lambda told: told.busy_duplicate.ran, lambda n: n == 0),
        ("steps the late duplicate ran (0)", lambda told: told.late_duplicate.ran, lambda n: n == 0),
    ]


if __name__ == "__main__":
    sys.exit(main())
