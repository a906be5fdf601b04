"""From raw figures to the report: medians, ratios, fits, goals and pictures, and the counting layer they rest on."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import goals, machine, numbers, pictures, report, servers
from benchmarks.counting import CountingProxy
from durably import DynamoDBStore

from .servers import client

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results.json"


@pytest.fixture
def results() -> dict:
    return json.loads(RESULTS.read_text())


@pytest.fixture
def proxy(dynamodb_local: str) -> Iterator[CountingProxy]:
    made = CountingProxy(dynamodb_local)
    yield made
    made.close()


def test_a_ratio_is_the_median_of_the_rounds_not_of_the_medians() -> None:
    ours = [{"ms": 1.0}, {"ms": 10.0}, {"ms": 3.0}]
    theirs = [{"ms": 2.0}, {"ms": 20.0}, {"ms": 4.0}]
    assert numbers.ratio(ours, theirs, "ms") == 0.5
    assert numbers.ratio(ours, [], "ms") is None


def test_an_exponent_tells_flat_from_growing() -> None:
    sizes = [10, 100, 1000]
    assert numbers.exponent(sizes, [5, 5, 5]) == (0.0, 0.0)
    assert numbers.exponent(sizes, [1, 10, 100]) == (pytest.approx(1.0), pytest.approx(900.0))


def test_dollars_are_units_times_prices() -> None:
    assert numbers.dollars({"write_units": 100, "read_units": 50}) == 68.75


def test_a_missed_goal_says_no_and_an_unmeasured_one_says_so() -> None:
    assert goals.at_most("x", 0.3, 0.31).verdict == "**no**"
    assert goals.at_most("x", 0.3, 0.3).verdict == "yes"
    assert {goal.verdict for goal in goals.all_goals({})} == {"not measured"}


def test_the_report_in_the_repository_is_the_one_of_its_results(results: dict, tmp_path: Path) -> None:
    report.write(results, tmp_path / "RESULTS.md")
    assert (tmp_path / "RESULTS.md").read_text() == RESULTS.with_name("RESULTS.md").read_text()


def test_every_run_did_the_steps_that_it_was_to_do(results: dict) -> None:
    for section, expected in (("first_run", None), ("replay", 0), ("fan_out", None), ("fan_out_slow", None)):
        for by_count in results["sections"][section]["samples"].values():
            for count, rows in by_count.items():
                assert {row["ran"] for row in rows} == {int(count) if expected is None else expected}


def test_pictures_are_svg_for_light_and_dark_with_our_bars_in_them(results: dict, tmp_path: Path) -> None:
    pictures.write(results, tmp_path)
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == ["cost.svg", "fan-out.svg", "growth.svg", "replay.svg", "steps.svg"]
    for path in tmp_path.iterdir():
        text = path.read_text()
        ElementTree.fromstring(text)
        assert "prefers-color-scheme: dark" in text
        assert 'class="ours' in text
        assert text == (RESULTS.parent / "pictures" / path.name).read_text()


def test_the_counting_layer_tells_requests_bytes_and_units(proxy: CountingProxy) -> None:
    table, through = f"counted-{uuid.uuid4().hex[:8]}", client(proxy.endpoint)
    DynamoDBStore(table, client=through).create_table()
    proxy.restart()
    through.put_item(TableName=table, Item={"pk": {"S": "a"}, "sk": {"S": "b"}, "text": {"S": "x" * 1500}})
    through.get_item(TableName=table, Key={"pk": {"S": "a"}, "sk": {"S": "b"}}, ConsistentRead=True)
    counted = proxy.counted.as_dict()
    assert counted["operations"] == {"GetItem": 1, "PutItem": 1}
    assert (counted["write_units"], counted["read_units"]) == (2.0, 1.0)
    assert counted["bytes_sent"] > 1500
    assert counted["bytes_received"] > 1500


def test_a_refused_write_is_counted_as_what_it_costs(proxy: CountingProxy) -> None:
    table, through = f"counted-{uuid.uuid4().hex[:8]}", client(proxy.endpoint)
    DynamoDBStore(table, client=through).create_table()
    item = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    through.put_item(TableName=table, Item=item)
    proxy.restart()
    with pytest.raises(through.exceptions.ConditionalCheckFailedException):
        through.put_item(TableName=table, Item=item, ConditionExpression="attribute_not_exists(pk)")
    assert proxy.counted.as_dict()["write_units"] == 1.0


def test_a_server_far_away_answers_late_whatever_it_is_asked_by() -> None:
    """By raw sockets: a delay that hooks one HTTP library leaves out whoever uses another."""

    def echo(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        with servers.far(f"http://127.0.0.1:{server.getsockname()[1]}", 100) as endpoint:
            port = int(endpoint.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as client_socket:
                began = time.monotonic()
                client_socket.sendall(b"are you there")
                assert client_socket.recv(100) == b"are you there"
                assert time.monotonic() - began >= 0.1


def test_the_machine_knows_whether_the_tree_has_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    (repository / "src").mkdir(parents=True)
    (repository / "benchmarks").mkdir()
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    monkeypatch.setattr(machine, "__file__", str(repository / "benchmarks" / "machine.py"))
    assert machine.describe()["changed"] is False
    (repository / "src" / "new.py").write_text("")
    assert machine.describe()["changed"] is True
