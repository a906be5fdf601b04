"""A fake GitHub: the calls of REST API 2022-11-28 that the reviewer makes, checked as GitHub checks them."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from typing import Any

from .pull_request import PullRequest
from .server import App, Request, Response, wait

LOGIN = "code-reviewer[bot]"
TEXT_MAX = 65_536
SECONDARY_LIMIT = {
    "message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
    "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits",
}


class GitHub:
    """One repository with one pull request; its comments and reviews are kept in lists to be looked at."""

    def __init__(self, app: App, pull: PullRequest, token: str, latency: float = 0.0, limit_every: int = 0) -> None:
        """`limit_every`: each so many reads of a content are refused with a secondary rate limit of one second."""
        self.pull, self.token, self.latency, self.limit_every = pull, token, latency, limit_every
        self.comments: list[dict[str, Any]] = []
        self.reviews: list[dict[str, Any]] = []
        self.threads: dict[int, list[dict[str, Any]]] = {}
        self.reads: Counter[str] = Counter()
        self._lock = threading.Lock()
        repo, number = f"/repos/{pull.repo}", pull.number
        for method, path, route in (
            ("GET", f"{repo}/issues/{number}/comments", self._list_comments),
            ("POST", f"{repo}/issues/{number}/comments", self._create_comment),
            ("PATCH", f"{repo}/issues/comments/(\\d+)", self._edit_comment),
            ("GET", f"{repo}/pulls/{number}/files", self._list_files),
            ("GET", f"{repo}/contents/(.+)", self._read_content),
            ("GET", f"{repo}/pulls/{number}/reviews", self._list_reviews),
            ("POST", f"{repo}/pulls/{number}/reviews", self._create_review),
        ):
            app.add(method, path, self._guarded(route))

    def _guarded(self, route: Any) -> Any:
        def guarded(request: Request, *groups: str) -> Response:
            wait(self.latency)
            if "user-agent" not in request.headers:
                return Response(403, {"message": "Request forbidden by administrative rules."})
            if request.headers.get("authorization") != f"Bearer {self.token}":
                return Response(401, {"message": "Bad credentials"})
            response: Response = route(request, *groups)
            return response

        return guarded

    def _list_comments(self, request: Request) -> Response:
        with self._lock:
            return _page(request, list(self.comments))

    def _create_comment(self, request: Request) -> Response:
        body = json.loads(request.body).get("body")
        if len(body or "") > TEXT_MAX:
            return _invalid({"resource": "IssueComment", "code": "too_long", "field": "body"})
        if not body:
            return _invalid({"resource": "IssueComment", "code": "missing_field", "field": "body"})
        with self._lock:
            comment = {"id": 1000 + len(self.comments), "body": body, "user": {"login": LOGIN}}
            self.comments.append(comment)
        return Response(201, comment)

    def _edit_comment(self, request: Request, number: str) -> Response:
        with self._lock:
            for comment in self.comments:
                if comment["id"] == int(number):
                    comment["body"] = json.loads(request.body)["body"]
                    return Response(200, comment)
        return Response(404, {"message": "Not Found"})

    def _list_files(self, request: Request) -> Response:
        pull = self.pull
        return _page(request, [file.listed(request.url, pull.repo, pull.head) for file in pull.files])

    def _read_content(self, request: Request, path: str) -> Response:
        file = self.pull.by_path.get(path)
        if file is None or file.status == "removed" or request.query.get("ref") != self.pull.head:
            return Response(404, {"message": "Not Found"})
        with self._lock:
            self.reads[path] += 1
            count = self.reads.total()
        if self.limit_every and count % self.limit_every == 0:
            return Response(403, SECONDARY_LIMIT, {"retry-after": "1"})
        if "application/vnd.github.raw" in request.headers.get("accept", ""):
            return Response(200, file.text.encode(), {"content-type": "application/vnd.github.raw+json"})
        content = base64.encodebytes(file.text.encode()).decode()
        return Response(200, {"type": "file", "path": path, "encoding": "base64", "content": content})

    def _list_reviews(self, request: Request) -> Response:
        with self._lock:
            return _page(request, list(self.reviews))

    def _create_review(self, request: Request) -> Response:
        asked = json.loads(request.body)
        if asked.get("event") != "COMMENT" or not asked.get("body"):
            return _invalid("the fake knows reviews with a body and the event COMMENT")
        if len(asked["body"]) > TEXT_MAX:
            return _invalid({"resource": "PullRequestReview", "code": "too_long", "field": "body"})
        if asked.get("commit_id") != self.pull.head:
            return _invalid("No commit found for SHA")
        for comment in asked.get("comments", []):
            if refusal := self._refusal(comment):
                return _invalid(refusal)
        return Response(200, self._keep_review(asked))

    def _keep_review(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            number = 8000 + len(self.reviews)
            review = {"id": number, "body": asked["body"], "state": "COMMENTED", "user": {"login": LOGIN}}
            self.reviews.append(review)
            self.threads[review["id"]] = asked.get("comments", [])
        return review

    def _refusal(self, comment: dict[str, Any]) -> str | None:
        """Why GitHub would refuse the whole review because of this thread."""
        file = self.pull.by_path.get(comment.get("path", ""))
        if file is None or not file.has_patch:
            return "Path could not be resolved"
        if comment.get("side") != "RIGHT" or comment.get("line") not in file.changed:
            return "Line could not be resolved"
        return None if comment.get("body") else "Body can't be blank"


def _page(request: Request, everything: list[Any]) -> Response:
    size = min(int(request.query.get("per_page", "30")), 100)
    number = max(int(request.query.get("page", "1")), 1)
    last = max(-(-len(everything) // size), 1)
    links = {"next": number + 1, "last": last} if number < last else {}
    links |= {"prev": number - 1, "first": 1} if number > 1 else {}
    url = f"{request.url}{request.path}?per_page={size}&page="
    header = {"link": ", ".join(f'<{url}{page}>; rel="{rel}"' for rel, page in links.items())} if links else {}
    return Response(200, everything[(number - 1) * size : number * size], header)


def _invalid(error: Any) -> Response:
    return Response(422, {"message": "Unprocessable Entity", "errors": [error]})
