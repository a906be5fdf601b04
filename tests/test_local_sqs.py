"""A queue before a function: partial batch responses, visibility on the scaled clock, dead letters."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from queue import Queue

import pytest

from durably.local import LocalLambda, Mischief, QueueMapping, stop_at
from durably.local.batches import named_failures

TESTS = Path(__file__).parent


@pytest.fixture
def mapping(tmp_path):
    """`mapping("batch", …)`: that function of local_app behind a queue of its own."""
    opened = []

    def open_one(handler="local_app.batch", *, on_news=lambda news: None, **options):
        opened.append(LocalLambda(handler, code=TESTS, folder=tmp_path / "folder", time_scale=1000.0, on_news=on_news))
        return QueueMapping(opened[-1], **options)

    yield open_one
    for one in opened:
        one.close()


def send(mapping, *bodies):
    return [mapping.queue.send(json.dumps(body)).id for body in bodies]


def test_a_batch_is_one_invocation(mapping) -> None:
    it = mapping(batch_size=5)
    ids = send(it, *[{} for _ in range(7)])
    drained = it.drain()
    assert (list(drained.done), drained.dead, drained.invocations) == (ids, (), 2)


def test_what_a_message_looks_like_to_a_function(mapping) -> None:
    it = mapping("local_app.echo", name="jobs")
    seal = {"DataType": "Binary", "BinaryValue": "AAE="}
    it.queue.send("hello", {"kind": {"DataType": "String", "StringValue": "greeting"}, "seal": seal})
    (message,), _ = it.queue.receive(10)
    record = message.record(it.queue.arn)
    assert list(record) == [
        "messageId",
        "receiptHandle",
        "body",
        "attributes",
        "messageAttributes",
        "md5OfBody",
        "eventSource",
        "eventSourceARN",
        "awsRegion",
    ]
    assert record["messageId"] == message.id
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert abs(int(record["attributes"]["SentTimestamp"]) / 1000 - it.queue.now()) < 5
    lists = {"stringListValues": [], "binaryListValues": []}
    assert record["messageAttributes"] == {
        "kind": {"stringValue": "greeting", **lists, "dataType": "String"},
        "seal": {"binaryValue": "AAE=", **lists, "dataType": "Binary"},
    }
    assert record["md5OfBody"] == hashlib.md5(b"hello").hexdigest()
    assert (record["eventSource"], record["eventSourceARN"]) == ("aws:sqs", "arn:aws:sqs:us-east-1:000000000000:jobs")


def test_only_the_messages_named_come_again(mapping) -> None:
    news = []
    it = mapping(on_news=news.append)
    good, late = send(it, {}, {"after": 2})
    drained = it.drain()
    assert (drained.done, drained.invocations) == ((good, late), 2)
    assert [one.said["messages"] for one in news if one.what == "Batch"] == [[good, late], [late]]


def test_without_partial_responses_the_answer_counts_for_nothing(mapping) -> None:
    it = mapping(report_failures=False)
    (late,) = send(it, {"after": 2})
    assert it.drain().done == (late,)


def test_an_error_brings_the_whole_batch_again_and_then_to_the_dead_letters(mapping, tmp_path) -> None:
    it = mapping(name="jobs", max_receive_count=2)
    ids = send(it, {"raise": True}, {})
    drained = it.drain()
    assert (drained.done, sorted(drained.dead), drained.invocations) == ((), sorted(ids), 2)
    letter = json.loads((tmp_path / "folder" / "dead-letters" / "jobs" / f"{ids[0]}.json").read_text())
    assert (letter["MessageId"], json.loads(letter["Body"])) == (ids[0], {"raise": True})
    assert letter["Attributes"]["ApproximateReceiveCount"] == "2"


def test_a_failed_message_is_hidden_for_the_visibility_timeout_on_the_queues_clock(mapping) -> None:
    it = mapping(visibility=timedelta(minutes=5))
    send(it, {"after": 2})
    began = it.queue.now()
    it.run_batch()
    assert not it.run_batch()
    it.drain()
    assert 300 <= it.queue.now() - began < 310


def test_a_hidden_message_does_not_keep_the_others_waiting(tmp_path) -> None:
    ends: Queue = Queue()

    def listen(news) -> None:
        if news.what == "BatchEnds":
            ends.put(news.said)

    with LocalLambda(
        "local_app.batch", code=TESTS, folder=tmp_path, time_scale=1.0, timeout=timedelta(minutes=2), on_news=listen
    ) as function:
        it = QueueMapping(function)
        function.attempts.beside(it.serve)
        (hidden,) = send(it, {"after": 9})  # for twelve minutes
        assert ends.get(timeout=30)["again"] == [hidden]
        (other,) = send(it, {})
        assert ends.get(timeout=30)["done"] == [other]


def test_the_default_visibility_is_six_timeouts(mapping) -> None:
    it = mapping()
    send(it, {"after": 2})
    it.run_batch()
    visible_at = it.queue.next_visible_at()
    assert visible_at is not None
    assert 17 < visible_at - it.queue.now() <= 18


def test_a_visibility_shorter_than_the_timeout_is_refused(mapping) -> None:
    with pytest.raises(ValueError, match="shorter than the function's timeout"):
        mapping(visibility=timedelta(seconds=1))


def test_a_killed_batch_comes_again_in_a_fresh_process(mapping) -> None:
    it = mapping(mischief=Mischief(kill_after_s=0.0))
    (one,) = send(it, {})
    drained = it.drain()
    assert (drained.done, drained.invocations) == ((one,), 2)


def test_messages_as_executions_of_their_own_are_once_each_whatever_dies(mapping, tmp_path) -> None:
    it = mapping("local_durable.messages", mischief=Mischief(stops=(stop_at("after:effect"),)))
    file = tmp_path / "effects"
    ids = send(it, *[{"file": str(file), "name": name} for name in "abc"])
    drained = it.drain()
    assert (sorted(drained.done), drained.invocations) == (sorted(ids), 2)
    assert sorted(file.read_text().split()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        ("null", set()),
        ("{}", set()),
        ('{"batchItemFailures": []}', set()),
        ('{"batchItemFailures": null}', set()),
        ('{"batchItemFailures": [{"itemIdentifier": "a"}]}', {"a"}),
        ('{"batchItemFailures": [{"itemIdentifier": "other"}]}', {"a", "b"}),
        ('{"batchItemFailures": [{"itemIdentifier": ""}]}', {"a", "b"}),
        ('{"batchItemFailures": [{"itemIdentifier": null}]}', {"a", "b"}),
        ('{"batchItemFailures": [{"itemIdentifier": ["a"]}]}', {"a", "b"}),
        ('{"batchItemFailures": [{"itemIdentifier": 1}]}', {"a", "b"}),
        ('{"batchItemFailures": [{"wrongKey": "a"}]}', {"a", "b"}),
        ('{"batchItemFailures": "a"}', {"a", "b"}),
        ("no json", {"a", "b"}),
    ],
)
def test_what_a_partial_batch_response_means(answer, failed) -> None:
    assert named_failures(answer.encode(), {"a", "b"}) == failed
