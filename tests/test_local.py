"""One invocation of the local Lambda: what a handler sees, what its caller gets, and what is left of it."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from durably.local import LocalLambda, Mischief, Outcome, Refused, Sandbox, attempts, stop_at
from durably.local.runtime_api import RuntimeApi

TESTS = Path(__file__).parent


@pytest.fixture
def local(tmp_path):
    """`local("echo", …)`: that function of local_app, closed after the test."""
    opened = []

    def open_one(function, **options):
        options = {"code": TESTS, "folder": tmp_path / "folder", "time_scale": 1000.0, **options}
        opened.append(LocalLambda(f"local_app.{function}", **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def error(outcome: Outcome) -> tuple[str, str]:
    return outcome.result["errorType"], outcome.result["errorMessage"]


def is_alive(pid: int) -> bool:
    """Whether it runs, a moment after it was killed; the dead may wait for init to take them away."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return False
        except OSError:
            return False
        time.sleep(0.005)
    return True


def test_the_result_is_the_handlers(local) -> None:
    outcome = local("echo").invoke({"a": [1, None, "ü"]})
    assert (outcome.how, outcome.result, outcome.failed) == ("returned", {"a": [1, None, "ü"]}, False)


def test_a_handler_sees_what_lambda_shows_it(local, tmp_path) -> None:
    outcome = local("tell", name="told", timeout=timedelta(seconds=20), environment={"MINE": "1"}).invoke({})
    told = outcome.result
    environment = told["environment"]
    assert told["function_name"] == environment["AWS_LAMBDA_FUNCTION_NAME"] == "told"
    assert told["arn"].startswith("arn:aws:lambda:")
    assert told["arn"].endswith(":function:told")
    assert told["memory"] == environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "128"
    assert told["request_id"] == outcome.request_id
    assert 18_000 < told["remaining"] <= 20_000
    assert environment["_HANDLER"] == "local_app.tell"
    assert environment["LAMBDA_TASK_ROOT"] == told["cwd"] == told["path"] == str(TESTS)
    assert environment["AWS_EXECUTION_ENV"] == f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}"
    assert environment["AWS_LAMBDA_LOG_GROUP_NAME"] == "/aws/lambda/told"
    assert environment["_X_AMZN_TRACE_ID"].startswith("Root=1-")
    assert not [name for name in environment if "LOCAL_LAMBDA" in name]


def test_a_plain_handlers_process_has_nothing_of_durably(local) -> None:
    assert local("modules").invoke({}).result == []


def test_a_sandbox_stays_warm(local) -> None:
    function = local("count")
    cold, warm = function.invoke({}), function.invoke({})
    assert (cold.result["calls"], warm.result["calls"]) == (1, 2)
    assert cold.result["pid"] == warm.result["pid"]
    assert cold.result["request_id"] != warm.result["request_id"]
    assert cold.init_s is not None
    assert warm.init_s is None


def test_a_handlers_error_is_worded_as_lambdas(local) -> None:
    outcome = local("fail").invoke({})
    assert outcome.how == "raised"
    assert list(outcome.result) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert error(outcome) == ("ValueError", "no such thing")
    assert outcome.result["requestId"] == outcome.request_id
    assert 'raise ValueError("no such thing")' in outcome.result["stackTrace"][-1]


def test_an_error_keeps_the_sandbox_warm(local) -> None:
    function = local("fail")
    function.invoke({})
    assert function.invoke({}).init_s is None


@pytest.mark.parametrize("escapes", [False, True])
def test_the_timeout_is_a_sigkill_to_all_that_was_started(local, tmp_path, escapes) -> None:
    function = local("parent", timeout=timedelta(seconds=0.5))
    outcome = function.invoke({"file": str(tmp_path / "pid"), "escapes": escapes})
    assert outcome.how == "timed out"
    said = f"RequestId: {outcome.request_id} Error: Task timed out after 0.50 seconds"
    assert error(outcome) == ("Sandbox.Timedout", said)
    assert not is_alive(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("ends", [False, True])
def test_a_daemon_does_not_outlive_its_sandbox(local, tmp_path, ends) -> None:
    function = local("daemon")
    assert function.invoke({"file": str(tmp_path / "pid"), "ends": ends}).how == ("exited" if ends else "returned")
    function.close()
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_after_a_kill_comes_a_fresh_process(local) -> None:
    function = local("sleep", timeout=timedelta(seconds=0.3))
    first = function.invoke({"seconds": 0})
    function.invoke({"seconds": 5})
    after = function.invoke({"seconds": 0})
    assert after.init_s is not None
    assert after.result != first.result


@pytest.mark.parametrize(
    ("handler", "event", "said"),
    [
        ("exit", {"code": 3}, "Runtime exited with error: exit status 3"),
        ("exit", {"code": 0}, "Runtime exited without providing a reason"),
        ("kill", {}, "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_a_process_that_ends_is_a_function_error(local, handler, event, said) -> None:
    outcome = local(handler).invoke(event)
    assert outcome.how == "exited"
    assert error(outcome) == ("Runtime.ExitError", f"RequestId: {outcome.request_id} Error: {said}")


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        ("local_app.nowhere", "Runtime.HandlerNotFound"),
        ("no_such_module.handler", "Runtime.ImportModuleError"),
        ("handler", "Runtime.MalformedHandlerName"),
    ],
)
def test_a_failed_initialisation_is_the_invocations_error(tmp_path, handler, kind) -> None:
    with LocalLambda(handler, code=TESTS, folder=tmp_path) as function:
        outcome = function.invoke({})
        again = function.invoke({})
    assert outcome.how == again.how == "init failed"
    assert outcome.result["errorType"] == kind


def test_a_slow_initialisation_gets_a_second_chance_within_the_timeout(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(attempts, "INIT_MAX_S", 0.3)
    (tmp_path / "slow_app.py").write_text(
        "import time\nopen('inits', 'a').write('i')\ntime.sleep(0.6)\ndef handler(event, context): return 'up'\n"
    )
    with LocalLambda(
        "slow_app.handler", code=tmp_path, folder=tmp_path / "f", timeout=timedelta(seconds=5)
    ) as function:
        assert function.invoke({}).result == "up"
    assert (tmp_path / "inits").read_text() == "ii"


def test_a_result_that_is_no_json(local) -> None:
    outcome = local("no_json").invoke({})
    assert outcome.result["errorType"] == "Runtime.MarshalError"


def test_bytes_are_passed_on_as_they_are(local) -> None:
    assert local("some_bytes").invoke({}).payload == b"\x00\x01"


def test_a_result_of_six_megabytes_and_no_more(local) -> None:
    function = local("large", timeout=timedelta(seconds=20))
    assert len(function.invoke({"bytes": 6 * 1024 * 1024}).result) == 6 * 1024 * 1024
    outcome = function.invoke({"bytes": 6 * 1024 * 1024 + 200})
    said = "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
    assert (outcome.how, error(outcome)) == ("too large", ("Function.ResponseSizeTooLarge", said))
    assert function.invoke({"bytes": 1}).result == "x"


def test_events_of_six_megabytes_when_the_caller_waits_and_one_when_not(local) -> None:
    function = local("echo", timeout=timedelta(seconds=20))
    whole = "x" * (6 * 1024 * 1024 - 2)
    assert function.invoke(whole).result == whole
    with pytest.raises(Refused, match=r"6291457 byte payload is too large for the RequestResponse .* \(limit 6291456"):
        function.invoke(whole + "x")
    with pytest.raises(Refused, match=r"1048577 byte payload is too large for the Event .* \(limit 1048576"):
        function.send("x" * (1024 * 1024 - 1))


def test_an_event_that_is_no_json_is_refused(local) -> None:
    with pytest.raises(Refused, match="Could not parse request body into json"):
        local("echo").invoke(b"{")


def test_the_memory_ceiling(local) -> None:
    function = local("memory", memory_mb=128)
    assert function.invoke({"mb": 60}).result == 60 * 1024 * 1024
    assert error(function.invoke({"mb": 200}))[0] == "MemoryError"


def test_the_log_has_the_functions_lines_between_lambdas(local) -> None:
    outcome = local("write").invoke({})
    lines = outcome.log.splitlines()
    assert lines[0] == f"START RequestId: {outcome.request_id} Version: $LATEST"
    assert lines[1] == "first line"
    assert lines[2].startswith("[WARNING]")
    assert outcome.request_id in lines[2]
    assert "a warning" in lines[2]
    assert lines[3:5] == ["to stderr", f"END RequestId: {outcome.request_id}"]
    assert "\tMemory Size: 128 MB\tMax Memory Used: " in lines[5]
    assert "\tInit Duration: " in lines[5]


def test_nothing_is_left_behind(tmp_path) -> None:
    with LocalLambda("local_app.count", code=TESTS, folder=tmp_path / "folder") as function:
        pid = function.invoke({}).result["pid"]
        (sandbox,) = function.pool._warm
        port = int(sandbox._api.address.rpartition(":")[2])
    assert not is_alive(pid)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    assert list(tmp_path.iterdir()) == []


def test_close_ends_what_is_running(local) -> None:
    function = local("sleep", timeout=timedelta(seconds=60))
    sent = function.send({"seconds": 60})
    while not function.pool._busy or next(iter(function.pool._busy)).pid is None:
        time.sleep(0.005)
    (busy,) = function.pool._busy
    began = time.monotonic()
    function.close()
    assert time.monotonic() - began < 5
    assert not is_alive(busy.pid)
    with pytest.raises(Refused, match="was closed"):
        sent.wait(1)


def test_a_sandbox_whose_caller_was_interrupted_serves_nobody_again(local) -> None:
    function = local("sleep", timeout=timedelta(seconds=20))
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(KeyboardInterrupt):
        function.invoke({"seconds": 15})
    assert function.invoke({"seconds": 0}).init_s is not None


def test_a_sandbox_whose_parent_was_killed_ends_by_itself() -> None:
    code = (
        "from durably.local import Sandbox; s = Sandbox('local_app.echo'); s.start(); print(s.pid, flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    assert not is_alive(pid)


def test_more_callers_than_the_concurrency_are_throttled(local) -> None:
    function = local("sleep", concurrency=1, timeout=timedelta(seconds=20))
    sent = function.send({"seconds": 0.5})
    while not function.pool._busy:
        time.sleep(0.005)
    with pytest.raises(Refused, match="TooManyRequestsException"):
        function.invoke({"seconds": 0})
    assert not sent.wait(10).failed


def test_a_warm_invocation_takes_less_than_two_milliseconds() -> None:
    with_sandbox = Sandbox("local_app.echo", code=TESTS)
    try:
        took, echo = beside_an_echo(200, lambda: with_sandbox.invoke(b"{}", request_id="1"))
    finally:
        with_sandbox.close()
    assert took < max(0.002, 10 * echo)


def test_a_cold_start_is_within_a_tenth_of_a_second_of_bare_awslambdaric() -> None:
    ours, bare = [], []
    for _ in range(5):
        bare.append(timed(start_bare))
        ours.append(timed(start_ours))
    assert statistics.median(ours) - statistics.median(bare) < 0.1


def beside_an_echo(times, work) -> tuple[float, float]:
    """Medians of the work, and of a byte to another process and back: what this machine asks for that, right now."""
    code = "import os\nwhile one := os.read(0, 1): os.write(1, one)"
    took, echoed = [], []
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as echo:
        assert echo.stdin is not None
        assert echo.stdout is not None

        def ping() -> None:
            echo.stdin.write(b"x")
            assert echo.stdout.read(1) == b"x"

        for _ in range(times):
            took.append(timed(work))
            echoed.append(timed(ping))
    return statistics.median(took), statistics.median(echoed)


def timed(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def start_ours() -> None:
    sandbox = Sandbox("local_app.echo", code=TESTS)
    assert sandbox.start()
    sandbox.close()


def start_bare() -> None:
    """`python -m awslambdaric` until it asks for its first event."""
    import selectors

    with selectors.DefaultSelector() as selector:
        api = RuntimeApi(selector)
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", "local_app.echo"],
            cwd=TESTS,
            env={**os.environ, "AWS_LAMBDA_RUNTIME_API": api.address},
        )
        while not api.is_idle:
            for key, events in selector.select(5):
                key.data(events)
        process.kill()
        process.wait()
        api.close()


def crash_and_retry(function: LocalLambda, file: str) -> None:
    event = {"id": str(uuid.uuid4()), "file": file}
    outcome = function.send(event, mischief=Mischief(stops=(stop_at("after:second"),))).wait(20)
    assert outcome.result == "done"


def main() -> None:
    """`python -m tests.test_local` prints the figures of docs/local.md."""
    pairs = [(timed(start_bare), timed(start_ours)) for _ in range(15)]
    bare, ours = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
    sandbox = Sandbox("local_app.echo", code=TESTS)
    warm = statistics.median(timed(lambda: sandbox.invoke(b"{}", request_id="1")) for _ in range(500)) * 1000
    sandbox.close()
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalLambda("local_durable.handler", code=TESTS, folder=folder, time_scale=1e6) as function,
    ):
        retry = (
            statistics.median(timed(lambda: crash_and_retry(function, f"{folder}/effects")) for _ in range(15)) * 1000
        )
    print(f"cold start, bare awslambdaric: {bare:.0f} ms; here: {ours:.0f} ms")
    print(f"warm invocation: {warm:.2f} ms; a crash and its retry: {retry:.0f} ms")


if __name__ == "__main__":
    main()
