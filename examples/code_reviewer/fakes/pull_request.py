"""The pull request of the fakes: as many files as asked for, each one made from its name, the same on every machine."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any

AREAS = ("billing", "checkout", "catalog", "search", "accounts", "shipping", "reports", "notify")
NOUNS = ("invoice", "basket", "ledger", "session", "address", "parcel", "coupon", "webhook", "report", "index")

SMELLS = {
    'password = "hunter2"': ("high", "A password in the source: take it from the environment."),
    "except Exception: pass": ("medium", "An error swallowed here is an error found by a customer."),
    "time.sleep(5)": ("low", "A fixed sleep: wait for what you wait for."),
    "eval(expression)": ("high", "eval on input runs whatever the input says."),
}
"""Lines that the fake model complains about, and what it says. The application knows none of them."""

PLAIN = ("total += item.price", "items.append(row)", "log.debug('row %s', row)", "return total", "row = next(rows)")

FIRST_CHANGED = 5


@dataclass(frozen=True)
class SourceFile:
    """One changed file at the pull request's head."""

    path: str
    status: str = "modified"
    has_patch: bool = True

    @cached_property
    def lines(self) -> list[str]:
        """The file's text; one to three of its lines are smells in some of the files."""
        chance = random.Random(self.path)
        lines = [f"# {self.path}", "import time", "", "def work(rows, total, items, log, expression):"]
        lines += [f"    {chance.choice(PLAIN)}" for _ in range(chance.randint(30, 90))]
        for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
            lines[chance.randrange(FIRST_CHANGED - 1, len(lines))] = f"    {chance.choice(list(SMELLS))}"
        return lines

    @property
    def text(self) -> str:
        """The whole file."""
        return "\n".join(self.lines) + "\n"

    @property
    def changed(self) -> range:
        """The lines of the one hunk, counted from 1. The last two lines of a longer file are not in it."""
        last = len(self.lines) if self.status == "added" else len(self.lines) - 2
        return range(1 if self.status == "added" else FIRST_CHANGED, last + 1)

    @property
    def patch(self) -> str:
        """The unified diff GitHub would show: every line of the hunk is new."""
        lines, count = self.lines, len(self.changed)
        hunk = "\n".join(f"+{lines[number - 1]}" for number in self.changed)
        return f"@@ -{self.changed.start - 1},0 +{self.changed.start},{count} @@\n{hunk}"

    def listed(self, url: str, repo: str, head: str) -> dict[str, Any]:
        """The file as GitHub lists it."""
        listed: dict[str, Any] = {
            "sha": hashlib.sha1(self.text.encode()).hexdigest(),
            "filename": self.path,
            "status": self.status,
            "additions": len(self.changed),
            "deletions": 0,
            "changes": len(self.changed),
            "contents_url": f"{url}/repos/{repo}/contents/{self.path}?ref={head}",
        }
        # GitHub leaves the patch out for binary files and for very large ones.
        return {**listed, "patch": self.patch} if self.has_patch else listed

    def smells(self) -> list[tuple[int, str, str]]:
        """What the fake model finds: line, severity, words."""
        found = ((number, SMELLS.get(line.strip())) for number, line in enumerate(self.lines, 1))
        return [(number, *smell) for number, smell in found if smell]


@dataclass(frozen=True)
class PullRequest:
    """The one pull request the fakes know."""

    files: tuple[SourceFile, ...]
    repo: str = "acme/shop"
    number: int = 17
    head: str = hashlib.sha1(b"head").hexdigest()

    @cached_property
    def by_path(self) -> dict[str, SourceFile]:
        """Its files by name."""
        return {file.path: file for file in self.files}

    @property
    def reviewable(self) -> list[SourceFile]:
        """The files a reviewer can comment on: still there, and with a diff."""
        return [file for file in self.files if file.has_patch and file.status != "removed"]

    def webhook(self, action: str) -> dict[str, Any]:
        """The body of GitHub's `pull_request` event, as far as anybody here reads it."""
        return {
            "action": action,
            "number": self.number,
            "pull_request": {
                "number": self.number,
                "title": "Rework everything",
                "html_url": f"https://github.com/{self.repo}/pull/{self.number}",
                "head": {"sha": self.head},
                "changed_files": len(self.files),
            },
            "repository": {"full_name": self.repo},
        }


def pull_request(files: int) -> PullRequest:
    """A pull request with that many files to review and, from ten on, an image and a removed file beside them."""
    paths = (f"src/{AREAS[n % len(AREAS)]}/{NOUNS[n % len(NOUNS)]}_{n:03}.py" for n in range(files))
    made = [SourceFile(path, "added" if n % 3 == 0 else "modified") for n, path in enumerate(paths)]
    if files >= 10:
        made[3] = SourceFile("docs/größer & kleiner.md")  # A name that has to be quoted in a URL.
        made.insert(7, SourceFile("assets/logo.png", "added", has_patch=False))
        made.insert(8, SourceFile("src/legacy/importer.py", "removed"))
    return PullRequest(tuple(made))
