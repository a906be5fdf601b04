"""Events that nobody waits for: retries, age, records, and what is done to an event on purpose."""

from __future__ import annotations

import json
import time
import uuid
from datetime import timedelta
from pathlib import Path

import boto3
import pytest

from durably import DynamoDBStore
from durably.local import LocalLambda, Mischief, stop_at
from durably.local.records import dead_letter

from .test_local import start_bare, timed

TESTS = Path(__file__).parent


class Desk:
    """A function, its news, and the file with its effects."""

    def __init__(self, folder: Path, handler: str, **options) -> None:
        self.news: list = []
        self.file = folder / "effects"
        self.folder = folder / "folder"
        usual = {"code": TESTS, "folder": self.folder, "time_scale": 1000.0, "on_news": self.news.append}
        self.function = LocalLambda(handler, **{**usual, **options})

    def send(self, event=None, *, stops=(), **mischief):
        event = {"file": str(self.file), "id": str(uuid.uuid4()), **(event or {})}
        return self.function.send(event, mischief=Mischief(tuple(stops), **mischief))

    @property
    def effects(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []

    def told(self, what: str, **fields) -> list:
        return [
            news
            for news in self.news
            if news.what == what and all(news.as_json().get(name) == value for name, value in fields.items())
        ]

    def steps(self, what: str, attempt: int) -> list[str]:
        return [news.said["step"] for news in self.told(what, attempt=attempt)]


@pytest.fixture
def desk(tmp_path):
    opened = []

    def open_one(handler, **options):
        opened.append(Desk(tmp_path, handler, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.function.close()


def test_all_three_attempts_have_the_same_request_id(desk) -> None:
    it = desk("local_app.fail")
    sent = it.send()
    assert sent.wait(20).failed
    assert it.effects == [sent.request_id] * 3


def test_the_retries_wait_one_and_two_minutes(desk) -> None:
    it = desk("local_app.fail", time_scale=600.0)
    began = time.monotonic()
    it.send().wait(20)
    assert time.monotonic() - began >= 180 / 600
    assert [(news.said["seconds"], news.said["really_s"]) for news in it.told("Waits")] == [(60, 0.1), (120, 0.2)]


@pytest.mark.parametrize("retries", [0, 1])
def test_fewer_retries(desk, retries) -> None:
    it = desk("local_app.fail", retries=retries)
    it.send().wait(20)
    assert len(it.effects) == retries + 1


def test_a_success_ends_the_retries_and_leaves_no_record(desk) -> None:
    it = desk("local_app.fail_until")
    assert it.send({"times": 2}).wait(20).result == "at last"
    assert len(it.effects) == 2
    assert not it.folder.exists()


def test_a_failed_event_leaves_an_on_failure_record(desk) -> None:
    it = desk("local_app.fail", name="failing")
    sent = it.send({"id": "e"})
    sent.wait(20)
    record = json.loads((it.folder / "on-failure" / f"{sent.request_id}.json").read_text())
    assert list(record) == [
        "version",
        "timestamp",
        "requestContext",
        "requestPayload",
        "responseContext",
        "responsePayload",
    ]
    assert record["version"] == "1.0"
    assert record["timestamp"].endswith("Z")
    assert record["requestContext"]["requestId"] == sent.request_id
    assert record["requestContext"]["functionArn"].endswith(":function:failing:$LATEST")
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["requestPayload"] == {"file": str(it.file), "id": "e"}
    assert record["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert record["responsePayload"]["errorMessage"] == "no such thing"


def test_a_failed_event_leaves_a_dead_letter(desk) -> None:
    it = desk("local_app.fail")
    sent = it.send({"id": "e"})
    sent.wait(20)
    letter = json.loads((it.folder / "dead-letters" / f"{sent.request_id}.json").read_text())
    assert json.loads(letter["Body"]) == {"file": str(it.file), "id": "e"}
    assert letter["MessageAttributes"] == {
        "RequestID": {"DataType": "String", "StringValue": sent.request_id},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "no such thing"},
    }


def test_a_dead_letter_keeps_a_kilobyte_of_the_message(desk) -> None:
    outcome = desk("local_app.fail").send().wait(20)
    long = outcome._replace(payload=json.dumps({"errorMessage": "x" * 5000}).encode())
    assert len(dead_letter(b"{}", long, "id")["MessageAttributes"]["ErrorMessage"]["StringValue"]) == 1024


def test_an_event_that_grew_too_old_is_given_up(desk) -> None:
    it = desk("local_app.fail", max_age=timedelta(seconds=90))
    sent = it.send()
    sent.wait(20)
    record = json.loads((it.folder / "on-failure" / f"{sent.request_id}.json").read_text())
    assert (record["requestContext"]["condition"], len(it.effects)) == ("EventAgeExceeded", 2)


def test_a_crash_after_the_effect_and_before_its_record(desk) -> None:
    it = desk("local_durable.handler")
    assert it.send(stops=[stop_at("after:second")]).wait(20).result == "done"
    assert it.effects[:3] == ["first", "second", "second"]
    assert it.steps("StepReplayed", 2) == ["first"]
    assert [news.said["how"] for news in it.told("Ends")] == ["killed", "returned"]


def test_a_crash_before_a_step(desk) -> None:
    it = desk("local_durable.handler")
    it.send(stops=[stop_at("before:second")]).wait(20)
    assert sorted(it.effects) == ["a", "b", "first", "second"]


def test_recover_makes_it_once(desk) -> None:
    it = desk("local_durable.recovering")
    it.send(stops=[stop_at("after:first"), stop_at("after:second@2")]).wait(20)
    assert it.effects == ["first", "second"]
    assert [news.said["step"] for news in it.told("TryEnded", recover=True)] == ["first", "second"]
    assert [news.said["how"] for news in it.told("Ends")] == ["killed", "killed", "returned"]


def test_a_crash_in_every_attempt_ends_in_a_record(desk) -> None:
    it = desk("local_durable.handler")
    outcome = it.send(stops=[stop_at("before:second@every")]).wait(20)
    assert (outcome.how, len(it.told("GivenUp"))) == ("killed", 1)
    assert it.effects == ["first"]


def test_a_fan_outs_name_stands_for_any_of_its_items(desk) -> None:
    it = desk("local_durable.handler")
    it.send(stops=[stop_at("before:item")]).wait(20)
    assert it.told("TryBegan", stop="crash")[0].said["step"] in ("item[a]", "item[b]")


@pytest.mark.parametrize("text", ["second", "during:second", "before:", ":second", "after"])
def test_a_place_that_is_none_is_refused(text) -> None:
    with pytest.raises(ValueError, match=r"write before:STEP or after:STEP"):
        stop_at(text)


def test_a_place_with_a_colon_or_an_at_sign_in_the_steps_name() -> None:
    assert stop_at("before:thread[a@b:2]").step == "thread[a@b:2]"
    assert (stop_at("after:x@y@3").step, stop_at("after:x@y@3").attempt) == ("x@y", 3)


def test_kill_after_kills_the_first_attempt_only(desk) -> None:
    it = desk("local_app.sleep", timeout=timedelta(seconds=10))
    sent = it.send({"seconds": 0.4}, kill_after_s=0.2)
    assert not sent.wait(20).failed
    assert it.effects == [sent.request_id, sent.request_id, "slept"]
    assert [news.said["how"] for news in it.told("Ends")] == ["killed", "returned"]


def test_an_answer_that_was_on_its_way_does_not_save_a_killed_attempt(desk, tmp_path) -> None:
    ends, until = [], tmp_path / "until"

    def hear_late(news) -> None:
        if news.what == "Output" and news.attempt == 1:
            until.touch()
            time.sleep(0.2)  # The process answers now, and nobody reads it before it is to be killed.
        if news.what == "Ends":
            ends.append(news.said["how"])

    it = desk("local_app.wait_for", on_news=hear_late)
    assert not it.send({"until": str(until)}, kill_after_s=0.1).wait(20).failed
    assert ends == ["killed", "returned"]


def test_the_executions_times_are_as_if_lambda_had_waited(desk) -> None:
    from durably import SQLiteStore

    it = desk("local_durable.handler")
    it.send({"id": "timed"}, stops=[stop_at("after:first")]).wait(20)
    store = SQLiteStore(it.folder / "durably.db")
    head = store.read("plain/timed", until=store.clock.monotonic() + 10)
    assert head is not None
    first, second = head.attempts[-2:]
    assert 59 < second.began - first.began < 65


def test_a_dynamodb_stores_clock_is_set_ahead_too(desk, dynamodb_local) -> None:
    table = f"local-{uuid.uuid4().hex}"
    client = boto3.client("dynamodb", endpoint_url=dynamodb_local, region_name="us-east-1")
    DynamoDBStore(table, client=client).create_table()
    environment = {"DURABLY_STORE": f"dynamodb://{table}", "AWS_ENDPOINT_URL_DYNAMODB": dynamodb_local}
    it = desk("local_durable.handler", environment=environment, timeout=timedelta(seconds=20))
    assert it.send(stops=[stop_at("after:second")]).wait(50).result == "done"
    assert [news.said["how"] for news in it.told("Ends")] == ["killed", "returned"]


def test_a_duplicate_runs_beside_the_first_with_its_request_id(desk) -> None:
    it = desk("local_app.sleep", timeout=timedelta(seconds=10))
    sent = it.send({"seconds": 0.2}, duplicate=True)
    first = sent.wait(20)
    assert sent.duplicate is not None
    assert sent.duplicate.outcomes[0].result != first.result
    assert it.effects[:2] == [sent.request_id] * 2


def test_a_duplicate_of_a_durable_event_finds_it_in_progress(desk) -> None:
    it = desk("local_durable.slow", timeout=timedelta(seconds=20))
    sent = it.send({"seconds": 0.3}, duplicate=True)
    sent.wait(20)
    assert it.effects == ["began", "ended"]
    first_ends = [news.said["error"].partition(":")[0] for news in it.told("Ends", attempt=1)]
    assert sorted(first_ends) == ["", "ExecutionInProgress"]


def test_a_duplicate_needs_room_for_two(desk) -> None:
    with pytest.raises(ValueError, match="a second sandbox"):
        desk("local_app.echo", concurrency=1).send(duplicate=True)


def test_a_zombie_lives_on_after_its_attempt_timed_out(desk) -> None:
    it = desk("local_app.sleep", timeout=timedelta(seconds=0.4))
    sent = it.send({"seconds": 0.6}, zombie=True)
    sent.wait(20)
    it.function.settle()
    assert [news.said["how"] for news in it.told("Ends")] == ["timed out"] * 3
    assert [news.said["how"] for news in it.told("ZombieEnds")] == ["returned"]
    assert it.effects.count("slept") == 1


def test_a_zombie_that_stands_still_in_a_step_can_record_nothing_when_it_goes_on(desk) -> None:
    it = desk("local_durable.handler")
    it.send(stops=[stop_at("after:first", "pause")], zombie=True).wait(20)
    it.function.settle()
    (append,) = it.told("Appended", attempt=1)
    assert append.said["error"].startswith("LeaseLost")
    assert it.told("AttemptEnded", attempt=1)[0].said["status"] == "lost"
    assert it.effects.count("first") == 2


def test_close_ends_a_zombie(desk) -> None:
    it = desk("local_app.sleep", timeout=timedelta(seconds=0.2))
    it.send({"seconds": 60}, zombie=True).wait(20)
    began = time.monotonic()
    it.function.close()
    assert time.monotonic() - began < 5
    assert it.told("ZombieEnds")[0].said["how"] == "killed"


def test_a_fatal_error_is_remembered_over_lambdas_retries(desk) -> None:
    it = desk("local_durable.fatal")
    it.send().wait(20)
    assert [news.said["error"] for news in it.told("Ends")] == ["Fatal: never again"] * 3
    assert len(it.told("AttemptBegan")) == 1


def test_a_crash_and_a_retry_take_a_quarter_of_a_second(desk) -> None:
    it = desk("local_durable.handler")
    took, bare = [], []
    for _ in range(5):
        bare.append(timed(start_bare))
        took.append(timed(lambda: it.send(stops=[stop_at("after:second")]).wait(20)))
    # Two processes and a journal: where a bare runtime is slow to start, because others want the machine, so may this be.
    assert sorted(took)[2] < max(0.4, 8 * sorted(bare)[2])
