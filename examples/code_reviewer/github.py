"""The few GitHub calls the reviewer makes, over httpx, which tries nothing twice: that is the step's to decide."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from durably import NOT_DONE

from .calls import TIMEOUT, OnePerProcess, checked, secret

HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What the reviewer has to know of a pull request."""

    repo: str
    number: int
    head: str


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file with a diff, and the line ranges of it that GitHub takes a review's thread for."""

    path: str
    ranges: list[tuple[int, int]]

    def takes_thread(self, line: int) -> bool:
        """GitHub refuses a whole review for one thread on a line outside the diff (422)."""
        return any(first <= line <= last for first, last in self.ranges)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a pull request's files, and the number of the next one."""

    files: list[ChangedFile]
    next: int | None


def create_comment(pull: PullRequest, body: str) -> int:
    """Comment on the pull request; returns the comment's id."""
    return int(_call("POST", f"{_issues(pull)}/{pull.number}/comments", json={"body": body})["id"])


def find_comment(pull: PullRequest, marker: str) -> object:
    """The id of our comment with this marker in it, or NOT_DONE."""
    return _find(f"{_issues(pull)}/{pull.number}/comments", marker)


def edit_comment(pull: PullRequest, comment: int, body: str) -> None:
    """Replace a comment's text: done twice it is done once."""
    _call("PATCH", f"{_issues(pull)}/comments/{comment}", json={"body": body})


def list_files(pull: PullRequest, page: int) -> Page:
    """One page of the files that can be reviewed: no removed ones, and none without a diff (images, huge ones)."""
    response = _get(f"{_pulls(pull)}/files", per_page=100, page=page)
    listed = [file for file in response.json() if file["status"] != "removed" and "patch" in file]
    files = [ChangedFile(file["filename"], _ranges(file["patch"])) for file in listed]
    return Page(files, page + 1 if "next" in response.links else None)


def read_file(pull: PullRequest, path: str) -> str:
    """A file's text at the pull request's head."""
    url, raw = f"/repos/{pull.repo}/contents/{quote(path)}", {"accept": "application/vnd.github.raw+json"}
    return checked(_client().get(url, params={"ref": pull.head}, headers=raw)).text


def create_review(pull: PullRequest, body: str, threads: list[dict[str, Any]]) -> int:
    """One review with all its threads; returns its id. GitHub allows 80 new pieces of content a minute: this is one."""
    review = {"commit_id": pull.head, "event": "COMMENT", "body": body, "comments": threads}
    return int(_call("POST", f"{_pulls(pull)}/reviews", json=review)["id"])


def find_review(pull: PullRequest, marker: str) -> object:
    """The id of our review with this marker in its body, or NOT_DONE."""
    return _find(f"{_pulls(pull)}/reviews", marker)


@OnePerProcess
def _client() -> httpx.Client:
    headers = {"authorization": f"Bearer {secret('GITHUB_TOKEN')}", "x-github-api-version": "2022-11-28"}
    url = os.environ.get("GITHUB_API_URL", "https://api.github.com")
    return httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT.total_seconds())


def _issues(pull: PullRequest) -> str:
    return f"/repos/{pull.repo}/issues"


def _pulls(pull: PullRequest) -> str:
    return f"/repos/{pull.repo}/pulls/{pull.number}"


def _get(url: str, **params: int) -> httpx.Response:
    return checked(_client().get(url, params=params or None))


def _call(method: str, url: str, json: dict[str, Any]) -> Any:
    return checked(_client().request(method, url, json=json)).json()


def _find(url: str, marker: str) -> object:
    # Only what we wrote ourselves counts: anyone who can read a marker can quote it.
    login = os.environ.get("GITHUB_LOGIN", "code-reviewer[bot]")
    ours = (one["id"] for one in _everything(url) if _author(one) == login and marker in (one["body"] or ""))
    return next(ours, NOT_DONE)


def _author(one: dict[str, Any]) -> str:
    # GitHub has no user for what somebody wrote whose account is gone.
    return str((one["user"] or {}).get("login", ""))


def _everything(url: str) -> Iterator[dict[str, Any]]:
    response = _get(url, per_page=100)
    yield from response.json()
    while "next" in response.links:
        response = _get(response.links["next"]["url"])
        yield from response.json()


def _ranges(patch: str) -> list[tuple[int, int]]:
    hunks = ((int(first), int(count or 1)) for first, count in HUNK.findall(patch))
    return [(first, first + count - 1) for first, count in hunks if count]
