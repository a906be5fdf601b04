"""The reviewer: one execution a delivery. Killed anywhere and run again, it goes on where it was."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import accumulate, chain
from typing import Any

from durably import current_execution, durable, fan_out, step

from . import findings, github, model
from .calls import AGAIN
from .github import ChangedFile, Page, PullRequest
from .model import Finding

LEASE = timedelta(seconds=float(os.environ.get("REVIEWER_LEASE_SECONDS", "30")))
WORKERS = 16
TEXT_MAX = 60_000
"""GitHub takes 65,536 characters of text, and refuses a review with more for good (422)."""


@durable(lease=LEASE)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Review the pull request of the event: comment, read, ask, save, review, and say that it is done."""
    pull, start, end = pull_request(event), marker("start"), marker("review")

    begun = f"Review started.\n\n{start}"
    find_comment = partial(github.find_comment, pull, start)
    comment = step("start-comment", github.create_comment, pull, begun, recover=find_comment, retry=AGAIN)

    files = changed_files(partial(list_page, pull))
    each = fan_out("analyse", partial(analyse, pull), files, key=step_key, workers=WORKERS, retry=AGAIN)
    found = list(chain.from_iterable(each))
    step("save-findings", findings.save, pull, found, retry=AGAIN)

    threads, text = review_of(files, found)
    find_review = partial(github.find_review, pull, end)
    review = step("review", github.create_review, pull, f"{text}\n\n{end}", threads, recover=find_review, retry=AGAIN)

    done = f"Review done: {summary(files, found)}\n\n{start}"
    step("done-comment", github.edit_comment, pull, comment, done, retry=AGAIN)
    return {"comment": comment, "review": review, "files": len(files), "findings": len(found)}


def pull_request(event: dict[str, Any]) -> PullRequest:
    """The pull request an event is about."""
    data = event["detail"]["data"]
    pull = data["pull_request"]
    return PullRequest(data["repository"]["full_name"], pull["number"], pull["head"]["sha"])


def marker(name: str) -> str:
    """What tells this execution's comment and review from all others; Markdown doesn't show it."""
    execution = current_execution()
    return f"<!-- durably:{execution.id if execution else uuid.uuid4()}:{name} -->"


def changed_files(page_of: Callable[[int], Page]) -> list[ChangedFile]:
    """All the files, page by page."""
    page = page_of(1)
    files = list(page.files)
    while page.next is not None:
        page = page_of(page.next)
        files += page.files
    return files


def list_page(pull: PullRequest, number: int) -> Page:
    """One page, remembered: which files are reviewed must not change between attempts. It may be read twice, though."""
    return step(f"files/page-{number}", github.list_files, pull, number, repeatable=True, retry=AGAIN)


def analyse(pull: PullRequest, file: ChangedFile) -> list[Finding]:
    """Read a file and ask the model. One step: what was found is remembered, the text (300 files of it) need not be."""
    return model.find(file.path, github.read_file(pull, file.path))


def step_key(file: ChangedFile) -> str:
    """A file's name, cut where it is too long for a step's (512 bytes; git allows 4,096)."""
    name = file.path.encode()
    return file.path if len(name) <= 400 else f"{name[:300].decode(errors='ignore')}…{hashlib.sha256(name).hexdigest()}"


def review_of(files: list[ChangedFile], found: list[Finding]) -> tuple[list[dict[str, Any]], str]:
    """The review's threads and its text, which tells what the model said of lines that take no thread."""
    by_path = {file.path: file for file in files}
    inside = [one for one in found if by_path[one.path].takes_thread(one.line)]
    outside = [f"- `{one.path}:{one.line}` {words(one)}" for one in found if one not in inside]
    threads = [{"path": one.path, "line": one.line, "side": "RIGHT", "body": words(one)} for one in inside]
    return threads, text_of([f"Reviewed: {summary(files, found)}", *outside])


def text_of(lines: list[str]) -> str:
    """The lines that GitHub takes; all findings are in the application's own table."""
    ends = accumulate(len(line) + 1 for line in lines)
    taken = [line for line, end in zip(lines, ends, strict=True) if end <= TEXT_MAX]
    left = len(lines) - len(taken)
    return "\n".join([*taken, f"… and {left} more."] if left else taken)


def words(finding: Finding) -> str:
    """A finding as its reader sees it."""
    return f"**{finding.severity}**: {finding.text}"


def summary(files: list[ChangedFile], found: list[Finding]) -> str:
    """One line on it all."""
    return f"{len(files)} files, {len(found)} findings."
