"""Sandboxes and threads tell the same: real processes, real SIGKILL, calls through the tap."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("awslambdaric")

from durably.testing import Report, crash_everywhere
from durably.testing.processes import named

from . import kit_app

EVENT = {"id": "evt-1", "who": "ada"}
EFFECTS = {"charge": "POST /charges", "parcel": "POST /parcels/*"}


class Shop:
    """A service on loopback that takes charges and parcels."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self._ids = itertools.count(1)
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler: Any) -> None:
                handler.rfile.read(int(handler.headers["content-length"]))
                with lock:
                    self.requests.append((handler.path, handler.headers.get("idempotency-key", "")))
                answer = json.dumps({"id": handler.path}).encode()
                handler.send_response(200)
                handler.send_header("content-length", str(len(answer)))
                handler.end_headers()
                handler.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    server = Shop()
    monkeypatch.setenv("SHOP_URL", f"http://127.0.0.1:{server.server.server_address[1]}")
    yield server
    server.close()


def verdict(report: Report) -> dict[str, Any]:
    return {
        # How many items of a fan-out are in flight at a death differs from run to run; whether any is does not.
        name: (dict(effect.undisturbed), effect.least, effect.place, bool(effect.repeated))
        for name, effect in report.effects.items()
    }


@pytest.mark.parametrize("handler", [kit_app.shop, kit_app.plain], ids=["shop", "plain"])
def test_both_modes_come_to_the_same_verdict(shop: Shop, handler: Any) -> None:
    threads, processes = [
        crash_everywhere(handler, EVENT, effects=EFFECTS, tap=["SHOP_URL"], mode=mode) for mode in ("thread", "process")
    ]
    assert verdict(threads) == verdict(processes)
    assert not threads.differing
    assert not processes.differing
    assert threads.effects["charge"].repeated
    if handler is kit_app.shop:
        # The tip went out twice under one key, which is one charge: what remains is the unguarded one.
        assert {str(story.point) for story in threads.effects["charge"].repeated} == {
            "after POST /charges",
            "before append result charge",
        }
        assert threads.effects["parcel"].place == "parcel[…]"


def test_a_trivial_handler_dies_at_the_same_points_in_both_modes() -> None:
    threads = crash_everywhere(kit_app.trivial, EVENT)
    processes = crash_everywhere(kit_app.trivial, EVENT, mode="process")
    assert verdict(threads) == verdict(processes)
    assert [str(wrong) for wrong in threads.wrong] == [str(wrong) for wrong in processes.wrong]
    assert [story.point for story in threads.stories] == [story.point for story in processes.stories]


def test_a_handler_may_be_given_by_name_and_a_store_by_a_function_that_makes_it(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())

    @contextmanager
    def world() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KIT_STORE_FOLDER", str(next(folders)))
            yield

    report = crash_everywhere(
        "tests.kit_app.trivial", EVENT, world=world, mode="process", store=kit_app.store_of, may_repeat=["mail"]
    )
    report.assert_nothing_wrong()
    assert len(list(tmp_path.glob("*/own.db"))) == len(report.stories) + 1


def test_no_process_and_no_file_is_left() -> None:
    before = set(Path("/dev/shm").glob("durably-*")) if Path("/dev/shm").is_dir() else set()
    crash_everywhere(kit_app.trivial, EVENT, mode="process")
    after = set(Path("/dev/shm").glob("durably-*")) if Path("/dev/shm").is_dir() else set()
    assert after <= before
    assert children() == set()


def children() -> set[str]:
    listed = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True)
    return {line for line in listed.stdout.splitlines() if "runtime.py" in line}


def test_a_function_that_no_other_process_can_find_is_refused() -> None:
    with pytest.raises(TypeError, match="can't be imported by another process"):
        crash_everywhere(lambda event, context: 1, EVENT, mode="process")
    assert named(kit_app.trivial, ".") == "tests.kit_app.trivial"


def test_a_handler_that_fails_undisturbed_says_what_lambda_was_told() -> None:
    with pytest.raises(RuntimeError, match=r"fails undisturbed.*KeyError: 'who'"):
        crash_everywhere(kit_app.trivial, {"id": "evt-1"}, mode="process")


# ---- the tap


def test_the_tap_passes_calls_on_whole_and_counts_a_key_once(shop: Shop) -> None:
    seen: list[Any] = []

    def handler(event: Any, context: Any) -> str:
        kit_app.post("/charges", {"order": 1}, **{"Idempotency-Key": "one"})
        kit_app.post("/charges", {"order": 1}, **{"Idempotency-Key": "one"})
        seen.append(os.environ["SHOP_URL"])
        return "done"

    address = os.environ["SHOP_URL"]
    report = crash_everywhere(handler, EVENT, effects=EFFECTS, tap=["SHOP_URL"])
    assert report.effects["charge"].undisturbed == {"": 1}
    report.assert_exactly_once("charge")
    assert address not in seen
    assert os.environ["SHOP_URL"] == address


def test_the_tap_serves_as_a_proxy_too(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    def handler(event: Any, context: Any) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": os.environ["HTTP_PROXY"]}))
        with opener.open(urllib.request.Request(os.environ["SHOP_URL"] + "/charges", b"{}"), timeout=20) as answer:
            return str(json.load(answer)["id"])

    report = crash_everywhere(handler, EVENT, effects=EFFECTS, tap=["HTTP_PROXY"])
    assert [str(story.point) for story in report.stories] == ["before POST /charges", "after POST /charges"]
    assert "HTTP_PROXY" not in os.environ


def test_a_service_that_is_away_is_the_handlers_failure_and_not_the_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", "http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match=r"fails undisturbed.*502"):
        crash_everywhere(kit_app.plain, EVENT, tap=["SHOP_URL"])


def test_the_death_is_a_sigkill(tmp_path: Path) -> None:
    """The victim's own words: its finally clause would have written a file."""
    (tmp_path / "noisy.py").write_text(
        "import os, pathlib\n"
        "from durably import durable, step\n"
        "from durably.testing import counted\n"
        "hit = counted('hit', lambda: None)\n"
        "@durable(id=lambda event, context: 'one', name='noisy')\n"
        "def handler(event, context):\n"
        "    try:\n"
        "        return step('hit', hit)\n"
        "    finally:\n"
        f"        with open({str(tmp_path / 'finally')!r}, 'a') as file: file.write('x')\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        report = crash_everywhere("noisy.handler", EVENT, mode="process", may_repeat=["hit"])
    finally:
        sys.path.remove(str(tmp_path))
    report.assert_nothing_wrong()
    ends = sum(story.point is not None and story.point.what.startswith("end ") for story in report.stories)
    # One for each attempt that lived to leave the handler: the undisturbed one, each retry, the deaths after the handler.
    retries = sum(len([run for run in story.runs if run.number > 1 and run.steps.asked]) for story in report.stories)
    assert len((tmp_path / "finally").read_text()) == 1 + retries + ends
    assert (retries, ends) == (7, 2)


@contextmanager
def reviewer_world() -> Iterator[Any]:
    """The example's fakes, in an environment of their own."""
    from examples.code_reviewer.fakes import Fakes, environment, pull_request, serving

    fakes = Fakes(pull_request(4))
    with serving(fakes.app) as url, tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        files = {"FINDINGS_DB": f"{folder}/findings.db", "CHECKPOINTS_DB": f"{folder}/checkpoints.db"}
        for name, value in {**environment(url), **files}.items():
            patch.setenv(name, value)
        yield fakes


def review(handler: Any, **options: Any) -> Report:
    from examples.code_reviewer import github, model, webhook
    from examples.code_reviewer.fakes import pull_request

    # The application keeps a client a process, and each report has a tap with an address of its own.
    clients: tuple[Any, ...] = (github._client, model._bedrock)
    for client in clients:
        client.close()

    delivery = "11111111-1111-4111-8111-111111111111"
    event = {
        "id": "1",
        "source": "code-review",
        "detail": webhook.envelope(delivery, pull_request(4).webhook("opened")),
    }
    return crash_everywhere(
        handler,
        event,
        world=reviewer_world,
        tap=["GITHUB_API_URL", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"],
        effects={
            "comment": "POST /repos/*/issues/*/comments",
            "review": lambda fakes: fakes.github.reviews,
            "model call": lambda fakes: fakes.models.calls,
        },
        **options,
    )


def assert_the_reviewer_survives(report: Report) -> None:
    report.assert_nothing_wrong()
    report.assert_exactly_once("comment", "review")
    report.assert_same_result()
    assert len(report.stories) >= 40
    assert report.effects["model call"].most <= 2


def assert_the_ten_lines_break(report: Report) -> None:
    assert len(report.stories) == 24
    assert len(report.wrong) >= 6
    assert {name for name, effect in report.effects.items() if effect.repeated} == {"comment", "review", "model call"}


def test_the_reviewer_survives_every_crash_on_threads_and_the_ten_lines_do_not() -> None:
    pytest.importorskip("httpx")
    pytest.importorskip("boto3")
    from examples.code_reviewer import reviewer, ten_lines

    # A model call in flight may be paid again, once: nothing can look it up, and Bedrock takes no key.
    assert_the_reviewer_survives(review(reviewer.handler, may_repeat=["model call"]))
    assert_the_ten_lines_break(review(ten_lines.handler))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_reviewer_survives_every_sigkill_and_the_ten_lines_do_not() -> None:
    pytest.importorskip("httpx")
    pytest.importorskip("boto3")
    from examples.code_reviewer import reviewer, ten_lines

    assert_the_reviewer_survives(review(reviewer.handler, may_repeat=["model call"], mode="process"))
    assert_the_ten_lines_break(review(ten_lines.handler, mode="process"))
