"""Waterfall, graph, Mermaid, trace, HTML, costs: what they show is true, and hostile data stays data."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from durably import NOT_DONE, DynamoDBStore, durable, fan_out, step
from durably.entries import AttemptRecord, Entry, Head, Segment
from durably.history.costs import costs
from durably.history.graph import graph
from durably.history.html import html
from durably.history.mermaid import mermaid
from durably.history.model import ExecutionView
from durably.history.reading import read_execution, read_journal
from durably.history.rows import rows
from durably.history.spans import duration_text, size_text
from durably.history.telling import tell
from durably.history.trace import trace
from durably.history.waterfall import waterfall

from .clocks import FakeClock
from .contract import SessionAt, item_size
from .servers import client
from .servers.faults import FaultProxy
from .stores_for_tests import Attempt, Watched

pytest_plugins = ["tests.stores_for_tests"]

HOSTILE = "<script>alert(1)</script>\"'></pre><img src=x onerror=alert(2)>\u202egnp.\x1b[2J#;{}"


class Boom(Exception):
    pass


def told(entries: list[Entry], attempts: tuple[AttemptRecord, ...], status: str = "waiting") -> ExecutionView:
    head = Head("e", "g", status, len(attempts), "o", 0.0, "f", "m:f", 1000.0, 2000.0, attempts=attempts)  # type: ignore[arg-type]
    return tell(head, [Segment("e", "g", n, "o", (entry,)) for n, entry in enumerate(entries, 1)], 2000.0)


def record(number: int, began: float, ended: float | None, how: str = "Boom") -> AttemptRecord:
    return AttemptRecord(number, began, "o", "", ended, how)


def result(name: str, attempt: int, began: float, ended: float, within: str = "") -> Entry:
    return Entry("result", name, "1", attempt, began, ended, within=within)


@pytest.fixture
def retried() -> ExecutionView:
    """a, then b failing; a minute later b works, a long pause, then c."""
    error = Entry("error", "b", '{"class":"m:Boom","message":"no"}', 1, 1004.0, 1010.0)
    return told(
        [
            result("a", 1, 1000.0, 1004.0),
            error,
            Entry("taken_back", "b", attempt=1),
            result("b", 2, 1070.0, 1072.0),
            result("c", 2, 1972.0, 1974.0),
        ],
        (record(1, 1000.0, 1010.0), record(2, 1070.0, 1974.0, "completed")),
        "completed",
    )


def test_every_attempt_starts_at_the_left_edge_on_one_scale(retried: ExecutionView) -> None:
    first, second = waterfall(retried)
    assert [(b.step, b.state) for b in first.bars] == [("a", "done"), ("b", "failed")]
    assert (first.bars[0].at, first.bars[1].at + first.bars[1].width, first.width) == pytest.approx((0.0, 1.0, 1.0))
    assert [(b.step, b.state, b.is_hollow) for b in second.bars] == [
        ("a", "replayed", True),
        ("b", "done", False),
        ("c", "done", False),
    ]
    assert second.bars[1].at == 0.0
    assert second.bars[1].width == pytest.approx(2 / 10)  # two seconds of a scale of ten


def test_a_long_idle_gap_is_folded_and_says_how_long_it_was(retried: ExecutionView) -> None:
    _, second = waterfall(retried)
    assert [fold.took_s for fold in second.folds] == [900.0]
    assert second.width < 0.5
    assert second.bars[2].at >= second.folds[0].at + second.folds[0].width - 1e-9
    assert second.bars[2].at + second.bars[2].width == pytest.approx(second.width)


def test_an_announced_step_is_interrupted_in_its_attempt_and_done_in_the_next() -> None:
    view = told(
        [Entry("started", "pay", "", 1, 1001.0, 1001.0), result("pay", 2, 1060.0, 1061.0)],
        (record(1, 1000.0, None), record(2, 1060.0, 1061.0, "completed")),
        "completed",
    )
    assert [[(b.step, b.state) for b in track.bars] for track in waterfall(view)] == [
        [("pay", "interrupted")],
        [("pay", "done")],
    ]


def test_inside_a_replayed_step_nothing_is_replayed() -> None:
    view = told(
        [result("in", 1, 1000.0, 1001.0, "out"), result("out", 1, 1000.0, 1001.0), result("z", 2, 1060.0, 1061.0)],
        (record(1, 1000.0, 1001.0), record(2, 1060.0, 1061.0)),
    )
    assert [bar.step for bar in waterfall(view)[1].bars if bar.is_hollow] == ["out"]


def many(count: int) -> ExecutionView:
    entries = [result(f"s-{n}", 1, 1000.0 + n, 1000.9 + n) for n in range(count)]
    return told(entries, (record(1, 1000.0, 1000.0 + count),))


def test_ten_thousand_steps_stay_small_where_people_look() -> None:
    view = many(10_000)
    made = rows(waterfall(view)[0])
    assert len(made) == 101
    assert made[50].label == "9,900 more steps done"
    assert len(graph(view).nodes) <= 201
    assert "9,800 more steps" in mermaid(view)
    assert len(html(view)) < 2_000_000


def test_what_went_wrong_is_kept_in_a_shortened_list() -> None:
    entries = [result(f"s-{n}", 1, 1000.0 + n, 1000.9 + n) for n in range(500)]
    entries[250] = Entry("error", "s-250", '{"class":"m:Boom","message":"no"}', 1, 1250.0, 1250.5)
    made = rows(waterfall(told(entries, (record(1, 1000.0, 1500.0),)))[0])
    assert "s-250" in [row.label for row in made]


# ---- graph and Mermaid


def test_the_graph_has_order_nesting_and_one_node_for_a_fan_out(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    def tick(value: Any = None) -> Any:
        clock.advance(1)
        return value

    def review() -> None:
        step("read", tick)
        step("judge", tick)

    def body() -> None:
        step("fetch", tick)
        step("review", review)
        fan_out("thread", tick, list(range(5)), workers=1)
        step("save", tick)

    attempt(body)
    drawn = graph(read_execution(store.inner, store.execution))
    names = {node.id: node.label for node in drawn.nodes}
    assert sorted(names.values()) == ["fetch", "judge", "read", "review", "save", "thread"]
    assert [(names[e.before], names[e.after]) for e in drawn.edges] == [
        ("fetch", "review"),
        ("review", "thread"),
        ("thread", "save"),
        ("read", "judge"),
    ]
    thread = next(node for node in drawn.nodes if node.label == "thread")
    assert (thread.kind, thread.steps, thread.counts) == ("fan-out", 5, (("done", 5),))
    assert {names[n.parent] for n in drawn.nodes if n.label in ("read", "judge")} == {"review"}


def test_steps_that_ran_beside_each_other_are_not_one_after_the_other() -> None:
    entries = [
        result("a", 1, 1000.0, 1001.0),
        result("b", 1, 1001.0, 1005.0),
        result("c", 1, 1002.0, 1004.0),
        result("d", 1, 1005.0, 1006.0),
    ]
    drawn = graph(told(entries, (record(1, 1000.0, 1006.0),)))
    names = {node.id: node.label for node in drawn.nodes}
    assert {(names[e.before], names[e.after]) for e in drawn.edges} == {("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")}


def test_ids_of_nodes_are_their_own_even_where_a_row_was_shortened() -> None:
    entries = [result(f"s-{n}", 1, 1000.0 + n, 1000.9 + n) for n in range(400)]
    entries += [result(f"in-{n}", 1, 1000.0, 1000.1, "s-0") for n in range(300)]
    nodes = graph(told(entries, (record(1, 1000.0, 1400.0),))).nodes
    assert len({node.id for node in nodes}) == len(nodes)


def test_a_name_can_not_leave_its_label_in_mermaid() -> None:
    text = mermaid(told([result(HOSTILE, 1, 1000.0, 1001.0)], (record(1, 1000.0, 1001.0),)))
    label = re.search(r'n0\["(.*)"\]:::done', text)
    assert label is not None
    assert not set('<>"\x1b\u202e[]{}') & set(label[1].replace("<br/>", ""))
    assert len(text.splitlines()) == 8


# ---- trace


def test_a_trace_nests_on_every_lane(attempt: Attempt, store: Watched) -> None:
    def item(number: int) -> int:
        return step(f"inner-{number}", lambda: number)

    def body() -> None:
        step("first", lambda: step("in", lambda: 1))
        fan_out("thread", item, list(range(40)), workers=8)
        raise Boom

    with pytest.raises(Boom):
        attempt(body)
    events = json.loads(json.dumps(trace(read_execution(store.inner, store.execution))))["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert len(spans) == 1 + 2 + 80
    assert {event["name"] for event in events if event["ph"] == "M"} == {"process_name", "thread_name"}
    for lane in {(e["pid"], e["tid"]) for e in spans}:
        open_spans: list[tuple[int, int]] = []
        for event in sorted((e for e in spans if (e["pid"], e["tid"]) == lane), key=lambda e: (e["ts"], -e["dur"])):
            while open_spans and open_spans[-1][1] <= event["ts"]:
                open_spans.pop()
            end = event["ts"] + event["dur"]
            assert not open_spans or end <= open_spans[-1][1], event
            open_spans.append((event["ts"], end))


def test_a_rounded_end_does_not_reach_beyond_the_step_around_it() -> None:
    entries = [result("in", 1, 1000.0, 1001.001, "out"), result("out", 1, 1000.0, 1001.0)]
    events = trace(told(entries, (record(1, 1000.0, 1002.0),)))["traceEvents"]
    took = {event["name"]: event["dur"] for event in events if event["ph"] == "X"}
    assert took["in"] == took["out"] == 1_000_000


# ---- HTML


class Found(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_what_users_stored_is_never_markup(attempt: Attempt, store: Watched) -> None:
    def fail() -> None:
        raise Boom(HOSTILE)

    def body() -> None:
        step(f"title {HOSTILE}", lambda given: HOSTILE, HOSTILE, record_args=True)
        fan_out(f"all {HOSTILE}", lambda x: x, [HOSTILE])
        step("fails", fail)

    with pytest.raises(Boom):
        attempt(body)
    page = html(read_execution(store.inner, store.execution))
    found = Found()
    found.feed(page)
    assert not {"script", "img", "iframe", "a", "form", "link"} & found.tags
    assert not {name for name in found.attributes if name.startswith("on") or name in ("src", "href")}
    assert "default-src 'none'" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page


def test_a_result_of_five_megabytes_is_cut_and_counted(attempt: Attempt, store: Watched) -> None:
    attempt(lambda: step("big", lambda: "x" * 5_000_000) and None)
    page = html(read_execution(store.inner, store.execution))
    assert len(page) < 100_000
    assert "4,980,002 more characters" in page


# ---- costs


def test_the_requests_of_a_cost_are_those_that_were_made(
    dynamodb_local: str, fault_proxy: Callable[[str], FaultProxy]
) -> None:
    name, clock = f"cost-{uuid.uuid4().hex[:8]}", FakeClock()
    DynamoDBStore(name, client=client(dynamodb_local)).create_table()
    proxy = fault_proxy(dynamodb_local)
    store = DynamoDBStore(name, session=SessionAt(proxy.endpoint), clock=clock)
    store.read("nothing", until=1e12)
    proxy.reset()
    failing = [True, False]

    @durable(store=store, name="f", id=lambda event, context: "1")
    def handler(event: Any, context: Any) -> int:
        step("small", lambda: 1)
        step("large", lambda: [str(uuid.uuid4()) for _ in range(300)])
        fan_out("t", lambda x: x, [1, 2, 3], workers=1)
        if failing.pop(0):
            raise Boom
        return step("pay", lambda: 1, recover=lambda: NOT_DONE)

    with pytest.raises(Boom):
        handler({}, None)
    handler({}, None)
    made = list(proxy.requests)
    found = costs(*read_journal(store, "f/1"), clock.now())
    assert sum(line.requests for line in found.lines) == len(made)
    by_name = {line.what: line for line in found.lines}
    puts = [item_size(request.body["Item"]) for request in made if request.operation == "PutItem"]
    assert by_name["appends"].write_units == sum(-(-size // 1024) for size in puts)
    assert by_name["journal read by later attempts"].read_units == -(-sum(puts[:-2]) // 4096)
    assert found.transitions == 6 + 1
    assert found.operations == 1 + 6 + 1
    assert found.dollars == pytest.approx((found.write_units * 0.625 + found.read_units * 0.125) / 1e6)


def test_an_execution_is_counted_as_cheap_as_the_figures_say(
    attempt: Attempt, store: Watched, clock: FakeClock
) -> None:
    attempt(lambda: [step(f"s-{n}", lambda: "x" * 500) for n in range(20)] and None)
    found = costs(*read_journal(store.inner, store.execution), clock.now())
    # 20 appends of one unit, claim and end of one each and one each in the index.
    assert found.write_units == 24
    assert found.step_functions_dollars / found.dollars > 30
    assert found.lambda_durable_dollars / found.dollars > 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.34, "340 ms"),
        (0.9999, "1.0 s"),
        (2.34, "2.3 s"),
        (59.96, "1 min"),
        (252, "4 min 12 s"),
        (3599.9, "1 h"),
        (12_000, "3 h 20 min"),
        (440_000, "5 d 2 h"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_sizes() -> None:
    assert [size_text(n) for n in (0, 1023, 1024, 5 * 1024 * 1024)] == ["0 B", "1023 B", "1.0 KB", "5.0 MB"]
