"""What an operator types in place of a result or an event: real types come back, secrets and codecs are not spoiled."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from durably import DurablyError, MemoryStore, StepInterrupted, durable, step
from durably.cli.app import durably
from durably.codec import JSON
from durably.history import actions
from durably.history.actions_given import outcome_payload
from durably.history.reading import read_execution
from durably.redaction import HIDDEN


@dataclasses.dataclass
class Charge:
    id: str
    amount: Decimal
    at: datetime


CHARGE = Charge("ch_1", Decimal("9.99"), datetime(2026, 11, 24, tzinfo=UTC))


class Shop:
    """One step that died after its effect, and a handler that goes on with what it came to."""

    def __init__(self, codec: Any = JSON) -> None:
        self.store = MemoryStore()
        self.got: list[Any] = []
        self.dies = True

        @durable(id=lambda event, context: "a", name="shop", store=self.store, codec=codec)
        def handler(event: Any, context: Any) -> str:
            step("first", lambda: 1)
            self.got.append(step("charge", self.charge, at_most_once=True, redact="id"))
            return "done"

        self.handler = handler

    def charge(self) -> Charge:
        if self.dies:
            raise KeyboardInterrupt
        return CHARGE

    def die(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            self.handler({"id": "a", "token": "t"}, None)
        with pytest.raises(StepInterrupted):
            self.handler({"id": "a", "token": "t"}, None)


def test_a_dataclass_is_resolved_as_show_prints_it() -> None:
    shop = Shop()
    shop.die()
    actions.resolve(shop.store, "shop/a", "charge", result=JSON.encode(CHARGE))
    assert shop.handler({"id": "a"}, None) == "done"
    assert shop.got == [CHARGE]


def test_an_edited_outcome_of_a_fork_may_be_a_dataclass_too() -> None:
    shop = Shop()
    shop.dies = False
    shop.handler({"id": "a"}, None)
    made = actions.fork(
        shop.store,
        "shop/a",
        "charge",
        event={"id": "b"},
        event_id="b",
        outcomes={"charge": json.loads(JSON.encode(CHARGE))},
    )
    (outcome,) = [one for one in read_execution(shop.store, made.head.id).steps if one.name == "charge"]
    assert outcome.result is not None
    assert "$dataclass" in outcome.result
    assert '"id":"' + HIDDEN in outcome.result, "the step's own redact= holds for what was given"


def test_plain_data_stays_plain_and_a_strange_mark_is_the_users_own_key() -> None:
    shop = Shop()
    shop.die()
    actions.resolve(shop.store, "shop/a", "charge", result='{"$ref": "x", "n": [1, 2.5, null]}')
    shop.handler({"id": "a"}, None)
    assert shop.got == [{"$ref": "x", "n": [1, 2.5, None]}]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ('{"token": "•••"}', "stands for a hidden value"),
        ('{"$tuple": [1, {"$no": 1}]}', r"\$no, which is none"),
        ("[" * 100_000, "is no JSON"),
        ("{", "is no JSON"),
    ],
)
def test_what_would_do_harm_is_refused(given: str, told: str) -> None:
    shop = Shop()
    shop.die()
    with pytest.raises(DurablyError, match=told):
        actions.resolve(shop.store, "shop/a", "charge", result=given)
    with pytest.raises(StepInterrupted):
        shop.handler({"id": "a"}, None)


def test_a_hidden_value_is_no_event() -> None:
    shop = Shop()
    shop.dies = False
    shop.handler({"id": "a"}, None)
    with pytest.raises(DurablyError, match="hidden value"):
        actions.fork(shop.store, "shop/a", "charge", event={"id": "b", "token": HIDDEN}, event_id="b")


class Reversed:
    """A codec of the user's own."""

    def encode(self, value: object) -> str:
        return JSON.encode(value)[::-1]

    def decode(self, text: str, returns: object = None) -> object:
        return JSON.decode(text[::-1], returns)


def test_a_journal_of_another_codec_is_not_written_into() -> None:
    class Marked(Reversed):
        def encode(self, value: object) -> str:
            return "x" + super().encode(value)

        def decode(self, text: str, returns: object = None) -> object:
            return super().decode(text[1:], returns)

    shop = Shop(Marked())
    shop.die()
    with pytest.raises(DurablyError, match="codec= of its function's own"):
        actions.resolve(shop.store, "shop/a", "charge", result="1")
    actions.resolve(shop.store, "shop/a", "charge", run_again=True)
    shop.dies = False
    assert shop.handler({"id": "a"}, None) == "done"


@pytest.mark.parametrize("source", ["aws:sqs", "aws:kinesis", "aws:dynamodb", "aws:s3"])
def test_one_record_is_redriven_in_a_batch_of_its_own(source: str) -> None:
    from durably.history.actions_redrive import as_delivered

    record = {"messageId": "m-1", "eventSource": source, "body": "{}"}
    assert as_delivered(record) == {"Records": [record]}
    assert as_delivered({"Records": [record]}) == {"Records": [record]}
    assert as_delivered({"detail": {}}) == {"detail": {}}
    message = {"EventSource": "aws:sns", "Sns": {"MessageId": "m-1"}}
    assert as_delivered(message) == {"Records": [message]}


@pytest.mark.parametrize(
    "given",
    [
        '{"$decimal": "nine"}',
        '{"$tuple": 5}',
        '{"$dataclass": 5}',
        '{"$dataclass": "shop:Charge", "fields": {"amount": {"$decimal": []}}}',
        '{"$set": [{"$dataclass": "shop:Charge"}]}',
        '{"$enum": "shop:Colour"}',
        '{"$tuple": [NaN]}',
        '{"$tuple": ["\\ud800"]}',
        '{"$tuple": ' * 60 + "1" + "}" * 60 + "]",
        '{"$tuple": [' * 60 + "1" + "]}" * 60,
        "[" * 120 + "]" * 120,
    ],
)
def test_a_mark_that_no_attempt_could_read_is_refused(given: str) -> None:
    shop = Shop()
    shop.die()
    with pytest.raises(DurablyError):
        actions.resolve(shop.store, "shop/a", "charge", result=given)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ('{"$tuple": [1, {"$decimal": "9.99"}]}', (1, Decimal("9.99"))),
        ('{"$dict": [["$decimal", "9.99"]]}', {"$decimal": "9.99"}),
        ("null", None),
        ("[]", []),
    ],
)
def test_marks_and_their_escaped_form_come_back_as_they_are_meant(given: str, meant: Any) -> None:
    shop = Shop()
    shop.die()
    actions.resolve(shop.store, "shop/a", "charge", result=given)
    shop.handler({"id": "a"}, None)
    assert shop.got == [meant]


@pytest.mark.parametrize(
    "value",
    [
        {"body": json.dumps({"token": HIDDEN})},
        {"body": json.dumps({"token": HIDDEN}, ensure_ascii=False)},
        {"body": json.dumps(json.dumps({"token": HIDDEN}))},
        json.loads(JSON.encode({"body": json.dumps({"token": HIDDEN}).encode()})),
        [[HIDDEN]],
    ],
)
def test_a_hidden_value_is_found_wherever_redaction_hides(value: Any) -> None:
    shop = Shop()
    shop.dies = False
    shop.handler({"id": "a"}, None)
    with pytest.raises(DurablyError, match="hidden value"):
        actions.fork(shop.store, "shop/a", "charge", outcomes={"charge": value}, event={"id": "b"}, event_id="b")
    with pytest.raises(DurablyError, match="hidden value"):
        actions.fork(shop.store, "shop/a", "charge", event={"id": "b", "given": value}, event_id="b")


def test_raw_text_is_stored_as_it_is_for_another_codec() -> None:
    class Marked(Reversed):
        def encode(self, value: object) -> str:
            return "x" + super().encode(value)

        def decode(self, text: str, returns: object = None) -> object:
            return super().decode(text[1:], returns)

    shop = Shop(Marked())
    shop.die()
    for wrong in ("", "a\tb", "a\nb", HIDDEN, f'"{HIDDEN}"'):
        with pytest.raises(DurablyError):
            actions.resolve(shop.store, "shop/a", "charge", result=wrong, raw=True)
    actions.resolve(shop.store, "shop/a", "charge", result="x" + '"paid"'[::-1], raw=True)
    shop.handler({"id": "a"}, None)
    assert shop.got == ["paid"]
    made = actions.fork(
        shop.store, "shop/a", "charge", outcomes={"first": "x7"}, event={"id": "b"}, event_id="b", raw=True
    )
    segments = shop.store.load(made.head.id, made.head.generation, until=1e12)
    assert [entry.payload for segment in segments for entry in segment.entries] == ["x7"]


def test_a_resolved_result_is_hidden_by_the_steps_own_redact_and_stays_where_it_was() -> None:
    store = MemoryStore()

    def die() -> str:
        raise KeyboardInterrupt

    @durable(id=lambda event, context: "a", name="shop", store=store)
    def handler(event: Any, context: Any) -> Any:
        return step("outer", lambda: step("inner", die, at_most_once=True, redact="token"))

    for error in (KeyboardInterrupt, StepInterrupted):
        with pytest.raises(error):
            handler({}, None)
    actions.resolve(store, "shop/a", "inner", result='{"token": "t-1"}')
    (inner,) = [one for one in read_execution(store, "shop/a").steps if one.name == "inner"]
    assert (inner.result, inner.within) == ('{"token":"' + HIDDEN + '"}', "outer")


def test_a_fork_tells_whose_outcome_has_become_plain_data() -> None:
    shop = Shop()
    shop.dies = False
    shop.handler({"id": "a"}, None)
    given: Any = [{"id": "ch_2"}, json.loads(JSON.encode(CHARGE))]
    made = [
        actions.fork(
            shop.store, "shop/a", "charge", event={"id": id}, event_id=id, outcomes={"charge": value, "first": 2}
        )
        for id, value in zip("bc", given, strict=True)
    ]
    assert [fork.plain for fork in made] == [("charge",), ()]


def test_the_command_line_takes_marks_and_says_when_they_are_missing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/d.db"

    @durable(id=lambda event, context: event["id"], name="shop", store=url)
    def handler(event: Any, context: Any) -> None:
        step("price", lambda: Decimal("9.99"))
        step("charge", lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        handler({"id": "evt-1"}, None)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(durably, [*arguments, "--store", url], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    event = tmp_path / "event.json"
    event.write_text('{"id": "evt-2"}')
    fork = ("fork", "evt-1", "--from", "charge", "--event", str(event))
    assert "'price' returned more than plain data" in run(*fork, "--event-id", "a", "--outcome", "price=9.99")
    given = """price={"$decimal": "9.98"}"""
    assert "plain data" not in run(*fork, "--event-id", "b", "--outcome", given)
    assert json.loads(run(*fork, "--event-id", "c", "--outcome", "price=1", "--json"))["plain"] == ["price"]
    run(*fork, "--event-id", "d", "--outcome", 'price={"$decimal":"1"}', "--raw")
    run("resolve", "shop/evt-1", "charge", "--result", '"paid"', "--raw")
    assert "9.98" in run("show", "shop/b", "--json")


class Colour(enum.Enum):
    RED = 1
    BOTH = (1, 2)


@pytest.mark.parametrize(
    "value",
    [
        {Colour.RED: CHARGE},
        {Colour.BOTH, Colour.RED},
        collections.Counter({Colour.RED: 2}),
        collections.deque([(CHARGE,)], 3),
        collections.defaultdict(list, a=[CHARGE]),
        {"$ref": 1},
        (float("nan"), "\ud800", 2**3000, b"x"),
    ],
)
def test_what_the_codec_writes_of_a_value_is_taken_as_it_is(value: Any) -> None:
    text = JSON.encode(value)
    assert outcome_payload(json.loads(text), "the result") == text
