"""The example, against its fakes, over real HTTP: every effect once, whatever the answers; no secret in the journal."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")
pytest.importorskip("boto3")

from durably import NOT_DONE
from examples.code_reviewer import calls, github, model, reviewer, webhook
from examples.code_reviewer.fakes import (
    API_KEY,
    TOKEN,
    WEBHOOK_SECRET,
    Fakes,
    PullRequest,
    environment,
    pull_request,
    serving,
)

CLIENTS: tuple[Any, ...] = (github._client, model._bedrock, model._anthropic, webhook._events)

Start = Callable[..., Fakes]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the journal, which is on SQLite."""
    path = tmp_path / "journal"
    monkeypatch.setenv("DURABLY_STORE", f"sqlite:///{path / 'durably.db'}")
    return path


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    """`start(files)` starts the fakes with a pull request of so many files and points the application at them."""
    running: list[Any] = []

    def begin(files: int = 12, **options: Any) -> Fakes:
        fakes = Fakes(pull_request(files), **options)
        running.append(serving(fakes.app))
        for name, value in environment(running[-1].__enter__()).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("FINDINGS_DB", str(tmp_path / "findings.db"))
        return fakes

    forget_clients()
    yield begin
    forget_clients()
    for server in running:
        server.__exit__(None, None, None)


def forget_clients() -> None:
    """The application keeps a client a process; here every test has servers of its own."""
    for client in CLIENTS:
        client.close()


def delivery(pull: PullRequest, action: str = "opened", **headers: str) -> dict[str, Any]:
    """A webhook's request as a function URL hands it over."""
    body = json.dumps(pull.webhook(action)).encode()
    signature = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    sent = {
        "x-github-event": "pull_request",
        "x-github-delivery": str(uuid.uuid4()),
        "x-hub-signature-256": f"sha256={signature}",
        "content-type": "application/json",
    }
    return {
        "version": "2.0",
        "rawPath": "/",
        "headers": {**sent, **headers},
        "requestContext": {"http": {"method": "POST", "path": "/"}},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def event_of(fakes: Fakes) -> dict[str, Any]:
    """The event that a delivery puts on the bus."""
    assert webhook.handler(delivery(fakes.pull), None)["statusCode"] == 202
    return fakes.bus.events[-1]


def assert_reviewed_once(fakes: Fakes, result: dict[str, Any]) -> None:
    """One comment, one review with every finding, and the result says so."""
    [comment], [review] = fakes.github.comments, fakes.github.reviews
    expected = sum(len(file.smells()) for file in fakes.pull.reviewable)
    threads = fakes.github.threads[review["id"]]
    assert len(threads) + review["body"].count("\n- `") == expected
    assert comment["body"].startswith("Review done")
    assert result == {
        "comment": comment["id"],
        "review": review["id"],
        "files": len(fakes.pull.reviewable),
        "findings": expected,
    }
    assert set(fakes.models.calls) == {file.path for file in fakes.pull.reviewable}


@pytest.mark.parametrize("url", ["sqlite", "memory"])
@pytest.mark.parametrize("provider", ["bedrock", "anthropic"])
def test_a_pull_request_is_reviewed(
    start: Start, store: Path, provider: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url == "memory":
        monkeypatch.setenv("DURABLY_STORE", "memory://")
    monkeypatch.setenv("MODEL_PROVIDER", provider)
    fakes = start(12)
    result = reviewer.handler(event_of(fakes), None)
    assert_reviewed_once(fakes, result)
    assert json.loads(json.dumps(result)) == result
    assert set(fakes.models.calls.values()) == {1}
    path = "POST /v1/messages" if provider == "anthropic" else "POST /model/([^/]+)/converse"
    assert fakes.app.requests[path] == 12


def test_findings_are_in_the_applications_own_table(start: Start, store: Path, tmp_path: Path) -> None:
    fakes = start(12)
    result = reviewer.handler(event_of(fakes), None)
    with closing(sqlite3.connect(tmp_path / "findings.db")) as db:
        rows = db.execute("SELECT path, line FROM findings ORDER BY path, line").fetchall()
    assert rows == sorted((file.path, line) for file in fakes.pull.reviewable for line, *_ in file.smells())
    assert len(rows) == result["findings"]


def test_journal_and_findings_may_both_be_in_dynamodb(
    start: Start, dynamodb_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from durably import DynamoDBStore

    fakes = start(12)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_endpoint)
    journal, table = f"example-{uuid.uuid4()}", a_findings_table(dynamodb_endpoint)
    DynamoDBStore(journal).create_table()
    monkeypatch.setenv("DURABLY_STORE", f"dynamodb://{journal}")
    monkeypatch.setenv("FINDINGS_TABLE", table.name)
    event = event_of(fakes)
    result = reviewer.handler(event, None)
    assert_reviewed_once(fakes, result)
    assert reviewer.handler(event, None) == result
    assert table.scan(Select="COUNT")["Count"] == result["findings"]


def a_findings_table(endpoint: str) -> Any:
    """An empty table as the README says it must be."""
    import boto3

    return boto3.resource("dynamodb", endpoint_url=endpoint).create_table(
        TableName=f"findings-{uuid.uuid4()}",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def test_files_are_listed_page_by_page(start: Start, store: Path) -> None:
    fakes = start(230)
    assert_reviewed_once(fakes, reviewer.handler(event_of(fakes), None))
    assert fakes.app.requests["GET /repos/acme/shop/pulls/17/files"] == 3


def test_a_redelivery_finds_it_done(start: Start, store: Path) -> None:
    fakes = start(12)
    request = delivery(fakes.pull)
    for _ in range(2):
        assert webhook.handler(request, None)["statusCode"] == 202
    first, second = fakes.bus.events
    assert first["id"] != second["id"]
    result = reviewer.handler(first, None)
    asked = fakes.app.requests.copy()
    assert reviewer.handler(second, None) == result
    assert fakes.app.requests == asked


@pytest.mark.parametrize("lost", ["POST /repos/.*/comments", "POST /repos/.*/reviews", "PATCH /repos/.*"])
def test_an_answer_lost_after_the_effect_doubles_nothing(start: Start, store: Path, lost: str) -> None:
    fakes = start(12)
    event = event_of(fakes)
    fakes.inject(lost, when="after", status=502)
    assert_reviewed_once(fakes, reviewer.handler(event, None))


def test_the_comment_is_found_among_many(start: Start, store: Path) -> None:
    fakes = start(12)
    event = event_of(fakes)
    others = [{"id": number, "body": "Looks good", "user": {"login": "somebody"}} for number in range(130)]
    fakes.github.comments.extend(others)
    fakes.inject("POST /repos/.*/comments", when="after", status=502)
    result = reviewer.handler(event, None)
    assert len(fakes.github.comments) == 131
    assert result["comment"] == fakes.github.comments[-1]["id"]


def test_what_somebody_wrote_whose_account_is_gone_is_not_ours(start: Start) -> None:
    fakes = start(12)
    pull = github.PullRequest(fakes.pull.repo, fakes.pull.number, fakes.pull.head)
    fakes.github.comments.append({"id": 1, "body": "<!-- m -->", "user": None})
    assert github.find_comment(pull, "<!-- m -->") is NOT_DONE


def test_a_review_is_never_longer_than_github_takes(start: Start, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(path: str, text: str) -> list[model.Finding]:
        return [model.Finding(f"{path}{line}", path, line, "low", "x" * 1000) for line in range(90_001, 90_011)]

    monkeypatch.setattr(model, "find", find)
    fakes = start(12)
    reviewer.handler(event_of(fakes), None)
    [review] = fakes.github.reviews
    assert 50_000 < len(review["body"]) <= 65_536
    assert "Reviewed: 12 files, 120 findings." in review["body"]
    assert "\n… and 63 more.\n" in review["body"]


def test_a_marker_that_somebody_else_quotes_is_not_ours(start: Start) -> None:
    fakes = start(12)
    pull = github.PullRequest(fakes.pull.repo, fakes.pull.number, fakes.pull.head)
    fakes.github.comments.append({"id": 1, "body": "> <!-- m -->", "user": {"login": "somebody"}})
    ours = github.create_comment(pull, "<!-- m -->")
    assert github.find_comment(pull, "<!-- m -->") == ours


@pytest.mark.parametrize("provider", ["bedrock", "anthropic"])
def test_a_model_whose_answer_was_lost_is_asked_again_for_that_file_only(
    start: Start, store: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_PROVIDER", provider)
    fakes = start(12)
    event = event_of(fakes)
    fakes.inject("POST /(v1/messages|model/.*)", when="after", status=502, skip=3)
    assert_reviewed_once(fakes, reviewer.handler(event, None))
    assert sorted(fakes.models.calls.values()) == [1] * 11 + [2]


@pytest.mark.parametrize("provider", ["bedrock", "anthropic"])
def test_no_client_tries_anything_twice_by_itself(start: Start, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_PROVIDER", provider)
    fakes = start(12)
    pull = github.PullRequest(fakes.pull.repo, fakes.pull.number, fakes.pull.head)
    fakes.inject(".*", when="after", status=502, times=3)
    for call in (
        lambda: model.find("src/a.py", "eval(expression)\n"),
        lambda: github.create_comment(pull, "…"),
        lambda: webhook.handler(delivery(fakes.pull), None),
    ):
        with pytest.raises(Exception, match="502"):
            call()
    assert list(fakes.app.requests.values()) == [1, 1, 1]


@pytest.mark.parametrize(
    ("what", "status", "headers"),
    [
        ("POST /repos/.*/comments", 429, {"retry-after": "1"}),
        ("GET /repos/.*/contents/.*", 403, {"retry-after": "1"}),
        ("GET /repos/.*/files", 503, {}),
    ],
)
def test_a_refusal_that_may_pass_is_waited_out(
    start: Start, store: Path, what: str, status: int, headers: dict[str, str]
) -> None:
    fakes = start(12)
    event = event_of(fakes)
    fakes.inject(what, status=status, headers=headers)
    assert_reviewed_once(fakes, reviewer.handler(event, None))
    assert set(fakes.models.calls.values()) == {1}


def test_a_throttled_model_is_asked_again(start: Start, store: Path) -> None:
    fakes = start(12)
    event = event_of(fakes)
    throttled = {"x-amzn-errortype": "ThrottlingException"}
    fakes.inject("POST /model/.*", status=429, headers=throttled, body={"message": "Too many requests"}, times=2)
    assert_reviewed_once(fakes, reviewer.handler(event, None))
    assert set(fakes.models.calls.values()) == {1}


def test_a_refusal_for_good_is_not_tried_again_and_the_next_attempt_goes_on(start: Start, store: Path) -> None:
    fakes = start(12)
    event = event_of(fakes)
    fakes.github.token = "another one"
    with pytest.raises(calls.CallFailed, match="Bad credentials") as failure:
        reviewer.handler(event, None)
    assert failure.value.status == 401
    assert fakes.app.requests["POST /repos/acme/shop/issues/17/comments"] == 1
    fakes.github.token = TOKEN
    assert_reviewed_once(fakes, reviewer.handler(event, None))


def test_a_failure_in_the_fan_out_costs_no_file_that_was_done(start: Start, store: Path) -> None:
    fakes = start(40)
    event = event_of(fakes)
    fakes.inject("GET /repos/.*/contents/.*", status=404, skip=20, body={"message": "Not Found"})
    with pytest.raises(calls.CallFailed, match="Not Found"):
        reviewer.handler(event, None)
    assert 0 < len(fakes.models.calls) < 40
    assert_reviewed_once(fakes, reviewer.handler(event, None))
    assert set(fakes.models.calls.values()) == {1}


def test_an_answer_that_is_no_json_is_unreadable() -> None:
    with pytest.raises(calls.Unreadable, match=r"src/a\.py"):
        model._findings("src/a.py", "I'd rather not.")
    assert calls.may_pass(calls.Unreadable("…"))


def test_a_long_file_name_still_makes_a_step_name() -> None:
    paths = [f"{'ä' * 1000}/{number}.py" for number in range(2)]
    keys = [reviewer.step_key(github.ChangedFile(path, [])) for path in paths]
    assert len(set(keys)) == 2
    assert all(len(f"analyse[{key}]".encode()) <= 512 for key in keys)
    assert reviewer.step_key(github.ChangedFile("src/a.py", [])) == "src/a.py"


@pytest.mark.parametrize("provider", ["bedrock", "anthropic"])
def test_no_secret_is_ever_in_the_journal(
    start: Start, store: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_PROVIDER", provider)
    fakes = start(12)
    event = event_of(fakes)
    fakes.inject("POST /repos/.*/reviews", status=404, body={"message": "Not Found"})
    with pytest.raises(calls.CallFailed):
        reviewer.handler(event, None)
    kept = journal_bytes(store)
    reviewer.handler(event, None)
    kept += journal_bytes(store)
    assert (
        fakes.pull.reviewable[0].path.encode() in kept
    )  # The journal can be read as it is, so the search means something.
    for secret in (TOKEN, API_KEY, WEBHOOK_SECRET):
        assert secret.encode() not in kept


def journal_bytes(store: Path) -> bytes:
    """Everything SQLite wrote."""
    return b"".join(path.read_bytes() for path in store.iterdir())


@pytest.mark.parametrize("encoded", [True, False])
def test_the_webhook_puts_the_delivery_on_the_bus(start: Start, encoded: bool) -> None:
    fakes = start(12)
    request = delivery(fakes.pull)
    if not encoded:
        request |= {"body": base64.b64decode(request["body"]).decode(), "isBase64Encoded": False}
    answer = webhook.handler(request, None)
    [event] = fakes.bus.events
    metadata, data = event["detail"]["metadata"], event["detail"]["data"]
    assert answer == {"statusCode": 202, "body": metadata["id"]}
    assert metadata["id"] == request["headers"]["x-github-delivery"]
    assert set(metadata) == {"id", "timestamp", "domain", "service", "type"}
    assert data["pull_request"]["head"] == {"sha": fakes.pull.head}


@pytest.mark.parametrize("signature", ["", "sha256=", "sha256=" + "0" * 64, "sha256=größe", "sha1=abc"])
def test_a_wrong_signature_is_refused_and_nothing_is_claimed(start: Start, store: Path, signature: str) -> None:
    fakes = start(12)
    request = delivery(fakes.pull, **{"x-hub-signature-256": signature})
    assert webhook.handler(request, None)["statusCode"] == 401
    assert not fakes.app.requests
    assert not store.exists()


def test_an_empty_secret_is_none(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = start(12)
    calls.secret.cache_clear()
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", "")
    request = delivery(fakes.pull)
    body = base64.b64decode(request["body"])
    request["headers"]["x-hub-signature-256"] = "sha256=" + hmac.new(b"", body, hashlib.sha256).hexdigest()
    try:
        with pytest.raises(KeyError, match="GITHUB_WEBHOOK_SECRET_ARN"):
            webhook.handler(request, None)
    finally:
        calls.secret.cache_clear()
    assert not fakes.bus.events


def test_a_body_changed_on_its_way_is_refused(start: Start) -> None:
    fakes = start(12)
    request = delivery(fakes.pull)
    body = base64.b64decode(request["body"]).replace(b"acme/shop", b"acme/bank")
    request["body"] = base64.b64encode(body).decode()
    assert webhook.handler(request, None)["statusCode"] == 401
    assert not fakes.bus.events


def test_what_needs_no_review_is_ignored(start: Start) -> None:
    fakes = start(12)
    for request in (delivery(fakes.pull, "closed"), delivery(fakes.pull, **{"x-github-event": "ping"})):
        assert webhook.handler(request, None)["statusCode"] == 200
    assert not fakes.bus.events


def test_the_fakes_are_as_strict_as_what_they_stand_for(start: Start) -> None:
    fakes = start(12)
    pull = github.PullRequest(fakes.pull.repo, fakes.pull.number, fakes.pull.head)
    file = fakes.pull.reviewable[1]
    outside = {"path": file.path, "line": len(file.lines) + 1, "side": "RIGHT", "body": "…"}
    with pytest.raises(calls.CallFailed, match="Line could not be resolved"):
        github.create_review(pull, "…", [outside])
    with pytest.raises(calls.CallFailed, match="422"):
        github.create_comment(pull, "")
    assert not fakes.github.reviews
    assert not fakes.github.comments
