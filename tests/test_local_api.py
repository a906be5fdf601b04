"""`durably dev`, driven by real boto3 clients: Lambda's Invoke API and SQS's SendMessage."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from .test_local import beside_an_echo
from .test_local_cli import living_in

TESTS = Path(__file__).parent


class Dev:
    """`durably dev` in a process, its news as they come."""

    def __init__(self, folder: Path, *arguments: str, stderr=None) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "durably.cli", "dev", "--code", str(TESTS), "--folder", str(folder / "folder")]
        command += ["--port", "0", "--json", "--time-scale", "1000", *arguments]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True)
        self.news: Queue = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.until("Listens")["url"]
        self.port = int(self.url.rpartition(":")[2])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.news.put(json.loads(line))

    def until(self, what: str) -> dict:
        while (news := self.news.get(timeout=20))["what"] != what:
            pass
        return news

    def client(self, name: str):
        config = Config(retries={"total_max_attempts": 1}, read_timeout=30)
        return boto3.client(name, endpoint_url=self.url, region_name="us-east-1", config=config)

    def invoke(self, name: str, payload=b"{}", **options):
        return self.client("lambda").invoke(FunctionName=name, Payload=payload, **options)

    def stop(self, number: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(20)
        self._reader.join(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


FUNCTIONS = ("echo", "fail", "write", "count", "tell", "sleep", "large")


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    """One that serves many functions, for every test that leaves it standing."""
    named = [f"{name}=local_app.{name}" for name in FUNCTIONS]
    one = Dev(tmp_path_factory.mktemp("dev"), *named, "--sqs", "jobs=local_app.batch", "--timeout", "20s")
    yield one
    one.stop()


def test_request_response(dev) -> None:
    answer = dev.invoke("echo", b'{"a": "\xc3\xbc"}')
    assert answer["StatusCode"] == 200
    assert json.loads(answer["Payload"].read()) == {"a": "ü"}
    assert answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36


def test_no_payload_is_an_empty_object(dev) -> None:
    assert dev.client("lambda").invoke(FunctionName="echo")["Payload"].read() == b"{}"


def test_a_function_error(dev) -> None:
    answer = dev.invoke("fail")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.loads(answer["Payload"].read())["errorType"] == "ValueError"


def test_the_log_tail(dev) -> None:
    answer = dev.invoke("write", LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    assert log.startswith("START RequestId: " + answer["ResponseMetadata"]["RequestId"])
    assert "first line\n" in log
    assert "LogResult" not in dev.invoke("write")


def test_an_event_is_taken_at_once_and_retried(dev) -> None:
    answer = dev.invoke("fail", b'{"n": 1}', InvocationType="Event")
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    given_up = dev.until("GivenUp")
    assert (given_up["request_id"], given_up["attempt"]) == (answer["ResponseMetadata"]["RequestId"], 3)
    record = json.loads((dev.folder / "folder" / "on-failure" / f"{given_up['request_id']}.json").read_text())
    assert record["requestPayload"] == {"n": 1}


def test_a_dry_run_runs_nothing(dev) -> None:
    before = json.loads(dev.invoke("count")["Payload"].read())["calls"]
    assert dev.invoke("count", InvocationType="DryRun")["StatusCode"] == 204
    assert json.loads(dev.invoke("count")["Payload"].read())["calls"] == before + 1


@pytest.mark.parametrize("name", ["tell:$LATEST", "arn:aws:lambda:us-east-1:123456789012:function:tell"])
def test_a_function_by_its_arn_or_with_a_qualifier(dev, name) -> None:
    assert json.loads(dev.invoke(name)["Payload"].read())["function_name"] == "tell"


def test_the_client_context(dev) -> None:
    context = base64.b64encode(json.dumps({"custom": {"who": "me"}}).encode()).decode()
    assert json.loads(dev.invoke("tell", ClientContext=context)["Payload"].read())["client"] == {"who": "me"}


@pytest.mark.parametrize(
    ("name", "payload", "kind", "status"),
    [
        ("nobody", b"{}", "ResourceNotFoundException", 404),
        ("echo", b"{", "InvalidRequestContentException", 400),
        ("echo", "{}".encode("utf-16"), "InvalidRequestContentException", 400),
        ("echo", b'"' + b"x" * (6 * 1024 * 1024) + b'"', "RequestTooLargeException", 413),
    ],
)
def test_what_lambda_refuses(dev, name, payload, kind, status) -> None:
    with pytest.raises(ClientError) as refused:
        dev.invoke(name, payload)
    assert refused.value.response["Error"]["Code"] == kind
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_an_event_of_more_than_a_megabyte_is_refused(dev) -> None:
    with pytest.raises(ClientError, match="1048578 byte payload is too large for the Event"):
        dev.invoke("echo", b'"' + b"x" * 1024 * 1024 + b'"', InvocationType="Event")


def test_callers_at_once_get_sandboxes_of_their_own(dev) -> None:
    with ThreadPoolExecutor(4) as callers:
        began = time.monotonic()
        answers = list(callers.map(lambda _: dev.invoke("sleep", b'{"seconds": 0.5}'), range(4)))
    assert len({answer["Payload"].read() for answer in answers}) == 4
    assert time.monotonic() - began < 1.9


def test_a_warm_invocation_by_boto3_waits_for_no_delayed_packet(dev) -> None:
    """An answer in two pieces would wait 40 ms for the first to be acknowledged."""
    client = dev.client("lambda")
    took, echo = beside_an_echo(50, lambda: client.invoke(FunctionName="echo", Payload=b"{}")["Payload"].read())
    assert took < max(0.035, 60 * echo)


@pytest.mark.parametrize("headers", [{"Origin": "https://example.com"}, {"Host": "rebound.example.com"}])
def test_a_web_page_can_run_nothing(dev, headers) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", dev.port, timeout=10)
    connection.request("POST", "/2015-03-31/functions/echo/invocations", b"{}", headers)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("x-amzn-ErrorType")) == (403, "AccessDeniedException")
    connection.close()


def test_messages_sent_by_boto3_reach_the_function(dev) -> None:
    sqs = dev.client("sqs")
    url = sqs.get_queue_url(QueueName="jobs")["QueueUrl"]
    sent = sqs.send_message(QueueUrl=url, MessageBody='{"after": 2}')["MessageId"]
    assert dev.until("BatchEnds")["again"] == [sent]
    assert dev.until("BatchEnds")["done"] == [sent]
    entries = [{"Id": name, "MessageBody": "{}"} for name in "ab"]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert [one["Id"] for one in answer["Successful"]] == ["a", "b"]


def test_a_dead_letter(dev) -> None:
    url = f"{dev.url}/queue/jobs"
    sent = dev.client("sqs").send_message(QueueUrl=url, MessageBody='{"after": 9}')["MessageId"]
    assert dev.until("DeadLetter")["message"] == sent
    assert (dev.folder / "folder" / "dead-letters" / "jobs" / f"{sent}.json").exists()


def test_a_queue_that_is_not_there(dev) -> None:
    sqs = dev.client("sqs")
    with pytest.raises(sqs.exceptions.QueueDoesNotExist, match="there is no queue 'other' here, only: jobs") as raised:
        sqs.send_message(QueueUrl=f"{dev.url}/queue/other", MessageBody="x")
    assert raised.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    with pytest.raises(ClientError) as refused:
        sqs.receive_message(QueueUrl=f"{dev.url}/queue/jobs")
    assert refused.value.response["Error"]["Code"] == "UnsupportedOperation"


def test_what_is_not_served_is_said(dev) -> None:
    for call in ("list_functions", "get_account_settings"):
        with pytest.raises(ClientError, match="only Invoke is served here") as refused:
            getattr(dev.client("lambda"), call)()
        assert refused.value.response["Error"]["Code"] == "UnknownOperationException"


@pytest.mark.parametrize("body", ["no json", "[]", '{"QueueUrl": "jobs", "MessageBody": "x", "DelaySeconds": "soon"}'])
def test_a_message_that_can_not_be_read_is_refused(dev, body) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", dev.port, timeout=10)
    connection.request("POST", "/", body, {"X-Amz-Target": "AmazonSQS.SendMessage"})
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["__type"]) == (400, "SerializationException")
    connection.close()


def test_a_caller_that_goes_away_is_no_error_and_half_an_event_no_event(tmp_path) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        one = Dev(tmp_path, "echo=local_app.echo", stderr=stderr)
        invoke = b"POST /2015-03-31/functions/echo/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
        for half in (b"POS", invoke + b"5\r\n\r\n12"):
            with socket.create_connection(("127.0.0.1", one.port)) as caller:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
                caller.sendall(half)
        assert one.invoke("echo", b"3")["StatusCode"] == 200
        one.stop()
    assert [news["what"] for news in one.news.queue] == ["Begins", "Called", "Ends"]
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.parametrize("other", [("b.app.handler",), ("--sqs", "app=b.app.handler")])
def test_two_of_one_name_are_refused(tmp_path, other) -> None:
    command = [sys.executable, "-m", "durably.cli", "dev", "a.app.handler", *other, "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert "more than one is named app: write NAME=MODULE.FUNCTION" in done.stderr


def test_a_visibility_below_the_timeout_is_said(tmp_path) -> None:
    command = [sys.executable, "-m", "durably.cli", "dev", "--sqs", "jobs=local_app.batch", "--visibility", "1s"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert "--visibility is shorter than --timeout" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_nothing_behind(tmp_path, number, code) -> None:
    one = Dev(tmp_path, "echo=local_app.echo", "slow=local_app.sleep", "--sqs", "jobs=local_app.batch")
    group = os.getpgid(json.loads(one.invoke("slow", b'{"seconds": 0}')["Payload"].read()))
    one.invoke("slow", b'{"seconds": 60}', InvocationType="Event")
    one.client("sqs").send_message(QueueUrl=f"{one.url}/jobs", MessageBody="{}")
    assert one.stop(number) == code
    assert living_in(group) == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", one.port), timeout=1)


def test_a_port_that_is_taken_is_said(dev, tmp_path) -> None:
    command = [sys.executable, "-m", "durably.cli", "dev", "local_app.echo", "--port", str(dev.port)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert f"port {dev.port} can't be listened on" in done.stderr


def test_no_handler_is_said(tmp_path) -> None:
    command = [sys.executable, "-m", "durably.cli", "dev"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "name a handler: durably dev app.handler" in done.stderr
