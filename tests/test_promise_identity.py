"""Identity as @durable wires it: whose execution an event belongs to, and when it may not run at all."""

from __future__ import annotations

import copy
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durably import DurablyError, NoIdentity, current_execution, durable, execution, once, step

from .clocks import Context
from .stores_for_tests import Watched

pytest_plugins = ["tests.stores_for_tests"]

EVENTS = Path(__file__).parent / "events"


def event_of(name: str) -> dict[str, Any]:
    return json.loads((EVENTS / f"{name}.json").read_text())  # type: ignore[no-any-return]


def http_event(key: str = "k-1", body: str = "{}", path: str = "/orders") -> dict[str, Any]:
    event = event_of("http_api")
    event["headers"] = {
        name: value
        for name, value in event["headers"].items()
        if name.lower() not in ("idempotency-key", "x-github-delivery", "webhook-id", "ce-id", "ce-source")
    }
    event["headers"]["idempotency-key"] = key
    event["headers"]["authorization"] = "Bearer secret-token"
    event["headers"]["cookie"] = "session=secret-cookie"
    event["headers"]["x-api-key"] = "secret-key"
    event["body"] = body
    event["isBase64Encoded"] = False
    event["rawPath"] = path
    event["requestContext"]["http"]["path"] = path
    return event


class Boom(Exception):
    pass


def in_a_fresh_lambda(*names: str | None) -> str:
    """What comes of decorating these functions in a Lambda where nothing was decorated before: "" or the error's text."""
    decorators = [f"durable(name={name!r})" if name else "durable" for name in names]
    code = "import durably\nfrom durably import durable\ntry:\n"
    for number, decorator in enumerate(decorators):
        code += f"    @{decorator}\n    def handler_{number}(event, context): ...\n"
    code += "except durably.DurablyError as error:\n    print(error)\n"
    return run_in_lambda("fn", code)


def run_in_lambda(name: str, code: str) -> str:
    """What this program prints in a process of its own that takes itself for that Lambda."""
    env = {**os.environ, "AWS_LAMBDA_FUNCTION_NAME": name, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    env.pop("DURABLY_NAMESPACE", None)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_handlers_of_one_factory_in_a_lambda_are_warned_of_unless_they_have_names() -> None:
    made = """
import gc, warnings
from durably import durable
def make(name=None):
    @durable(name=name)
    def handler(event, context): ...
    return handler
def told(*names):
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = [make(name) for name in names]
    return [str(one.message) for one in caught]
print(len(told(None, None)), len(told("a", "b")), len(told("a", "a")), told(None), told(None, None))
"""
    told = run_in_lambda("fn", made)
    assert told.startswith("1 0 1 []")
    assert "Give each its own name" in told


def target(store: Watched, name: str | None, ran: list[str], label: str, **options: Any) -> Callable[..., Any]:
    @durable(store=store, name=name, **options)
    def handler(event: Any, context: Any) -> str:
        step("work", lambda: ran.append(label))
        return label

    return handler


def test_one_event_with_two_target_functions_on_one_table_runs_both(store: Watched) -> None:
    ran: list[str] = []
    first, second = target(store, "first", ran, "1"), target(store, "second", ran, "2")
    event = event_of("eventbridge")
    assert [first(event, None), second(event, None), first(event, None), second(event, None)] == ["1", "2", "1", "2"]
    assert ran == ["1", "2"]


def test_a_functions_name_in_lambda_is_lambdas() -> None:
    code = (
        "from durably import MemoryStore, current_execution, durable\n"
        "@durable(store=MemoryStore())\n"
        "def handler(event, context):\n"
        "    print(current_execution().id)\n"
        "handler({'detail': {'metadata': {'id': 'evt-1'}}, 'id': 'x', 'detail-type': 't', 'source': 's'}, None)\n"
    )
    assert run_in_lambda("reviewer-prod", code) == "reviewer-prod/evt-1\n"


def test_elsewhere_a_functions_name_is_its_module_and_qualname(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    target(store, None, [], "1")(event_of("eventbridge"), None)
    assert "test_promise_identity:target.<locals>.handler/" in store.execution


def test_another_functions_head_raises_before_any_step(store: Watched) -> None:
    ran: list[str] = []

    @durable(store=store, name="shared")
    def refund(event: Any, context: Any) -> None:
        step("refund", lambda: ran.append("refund"))

    event = event_of("eventbridge")
    target(store, "shared", ran, "pay")(event, None)
    with pytest.raises(DurablyError) as caught:
        refund(event, None)
    assert ran == ["pay"]
    assert "target.<locals>.handler" in str(caught.value)
    assert "refund" in str(caught.value)
    assert "name=" in str(caught.value)


def test_another_functions_unfinished_execution_raises_too_and_stays_its_own(store: Watched) -> None:
    ran: list[str] = []

    @durable(store=store, name="shared")
    def refund(event: Any, context: Any) -> None:
        ran.append("refund")

    @durable(store=store, name="shared")
    def pay(event: Any, context: Any) -> str:
        step("pay", lambda: ran.append("pay"))
        if ran == ["pay"]:
            ran.append("fail")
            raise Boom
        return "paid"

    event = event_of("eventbridge")
    with pytest.raises(Boom):
        pay(event, None)
    with pytest.raises(DurablyError, match="refund"):
        refund(event, None)
    assert pay(event, None) == "paid"
    assert ran == ["pay", "fail"]


@pytest.mark.parametrize("names", [(None, None), ("a", None), (None, "b")], ids=str)
def test_two_durable_functions_in_one_lambda_must_have_names(names: tuple[str | None, ...]) -> None:
    said = in_a_fresh_lambda(*names)
    assert "name=" in said
    assert "handler_0" in said
    assert "handler_1" in said


def test_two_durable_functions_in_one_lambda_with_names_are_fine() -> None:
    assert in_a_fresh_lambda("first", "second") == ""
    assert in_a_fresh_lambda(None) == ""


def test_a_namespace_keeps_runs_on_one_store_apart(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    event = event_of("eventbridge")
    for namespace in ("test-run-1", "test-run-2"):
        monkeypatch.setenv("DURABLY_NAMESPACE", namespace)
        handler = target(store, "f", ran, namespace)
        assert handler(event, None) == handler(event, None) == namespace
        assert store.execution.startswith(namespace)
        once("k", lambda: ran.append("once"), store=store)
        assert store.execution.startswith(namespace)
        with execution("k", store=store):
            assert store.execution.startswith(namespace)
    assert ran == ["test-run-1", "once", "test-run-2", "once"]


def test_once_and_execution_and_handlers_do_not_share_ids(store: Watched) -> None:
    ran: list[str] = []
    once("k", lambda: ran.append("once"), store=store)
    once_id = store.execution
    with execution("k", store=store):
        step("a", lambda: ran.append("execution"))
    assert ran == ["once", "execution"]
    assert once_id.endswith("once/k")
    assert store.execution.endswith("execution/k")


@pytest.mark.parametrize("name", ["once", "execution", "once/orders"])
def test_a_function_named_like_the_prefix_of_other_executions_is_refused(
    store: Watched, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DurablyError, match="another name"):
        durable(name=name)
    handler = durable(store=store, id=lambda event, context: "1")(lambda event, context: 1)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", name)
    with pytest.raises(DurablyError, match="another name"):
        handler({}, None)
    assert store.calls == []


def test_the_id_of_ones_own_is_used(store: Watched) -> None:
    handler = target(store, "f", [], "1", id=lambda event, context: event["order"])
    handler({"order": "o-17"}, None)
    assert store.execution.endswith("f/o-17")


def test_an_event_without_identity_and_without_context_is_refused(store: Watched) -> None:
    with pytest.raises(NoIdentity) as caught:
        target(store, "f", [], "1")({"hello": "world"}, None)
    assert "Looked for" in str(caught.value)
    assert "@durable(id=" in str(caught.value)
    assert store.calls == []


def test_an_event_without_identity_takes_lambdas_request_id(store: Watched) -> None:
    ran: list[str] = []
    handler = target(store, "f", ran, "1")
    context = Context(30, request_id="8f0b2c1e-0000-4000-8000-00000000abcd")
    handler({"hello": "world"}, context)
    handler({"hello": "world"}, context)
    assert ran == ["1"]
    assert "8f0b2c1e-0000-4000-8000-00000000abcd" in store.execution


def test_a_batch_of_several_records_is_refused_and_shown_how(store: Watched) -> None:
    batch = event_of("sqs")
    batch["Records"] = [batch["Records"][0], {**batch["Records"][0], "messageId": "another"}]
    ran: list[str] = []
    with pytest.raises(NoIdentity, match="batchItemFailures"):
        target(store, "f", ran, "1")(batch, None)
    assert ran == []


def test_a_record_of_a_batch_is_an_execution_of_its_own(store: Watched) -> None:
    ran: list[str] = []
    record_handler = target(store, "f", ran, "1")
    record = event_of("sqs")["Records"][0]
    records = [record, {**record, "messageId": "another"}, record]
    for one in records:
        record_handler(one, None)
    assert ran == ["1", "1"]


def test_where_the_identity_was_found_is_kept_in_the_head_and_logged(
    store: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    event = event_of("eventbridge_envelope")
    with caplog.at_level(logging.DEBUG, logger="durably"):
        target(store, "f", [], "1")(event, None)
    assert "detail.metadata.id" in store.head().source
    assert "detail.metadata.id" in caplog.text


def test_the_events_own_copy_is_stored_for_a_redrive(store: Watched) -> None:
    event = event_of("eventbridge_envelope")
    before = copy.deepcopy(event)
    target(store, "f", [], "1")(event, None)
    assert event == before
    stored = store.head().event
    assert stored is not None
    assert json.loads(stored) == event


def test_keep_event_false_stores_no_event(store: Watched) -> None:
    target(store, "f", [], "1", keep_event=False)(event_of("eventbridge_envelope"), None)
    assert store.head().event is None


def test_an_event_that_cannot_be_stored_does_not_stop_the_handler(store: Watched) -> None:
    event = {**event_of("eventbridge"), "odd": object()}
    assert target(store, "f", [], "1")(event, None) == "1"


def test_a_large_event_is_stored_whole(store: Watched) -> None:
    event = {**event_of("eventbridge"), "large": os.urandom(300_000).hex()}
    handler = target(store, "f", [], "1")
    assert handler(event, None) == "1"
    stored = store.head().event
    assert stored is not None
    assert json.loads(stored) == event
    assert handler(event, None) == "1"


# ---- HTTP


def test_http_secrets_are_removed_from_the_stored_event_and_not_from_the_handlers(store: Watched) -> None:
    seen: list[Any] = []

    @durable(store=store, name="f")
    def handler(event: Any, context: Any) -> dict[str, int]:
        seen.append(event["headers"]["authorization"])
        return {"statusCode": 200}

    handler(http_event(), None)
    assert seen == ["Bearer secret-token"]
    assert "secret" not in (store.head().event or "")
    assert "idempotency-key" in (store.head().event or "")


@pytest.mark.parametrize("status", [400, 404, 500, 503, "502"])
def test_a_http_status_of_400_or_more_ends_the_attempt_and_is_returned_as_it_is(store: Watched, status: Any) -> None:
    ran: list[str] = []

    @durable(store=store, name="f")
    def handler(event: Any, context: Any) -> dict[str, Any]:
        step("work", lambda: ran.append("work"))
        ran.append("handler")
        return {"statusCode": status if ran.count("handler") == 1 else 201, "body": f"{len(ran)}", "x": (1, 2)}

    first = handler(http_event(), None)
    assert first == {"statusCode": status, "body": "2", "x": (1, 2)}
    assert store.head().status == "waiting"
    assert handler(http_event(), None)["statusCode"] == 201
    assert handler(http_event(), None)["statusCode"] == 201
    assert ran == ["work", "handler", "handler"]
    assert store.head().status == "completed"


@pytest.mark.parametrize("answer", [{"statusCode": 200}, {"statusCode": 302}, {"no": "status"}, "text", None], ids=repr)
def test_other_http_answers_complete(store: Watched, answer: Any) -> None:
    ran: list[str] = []

    @durable(store=store, name="f")
    def handler(event: Any, context: Any) -> Any:
        ran.append("ran")
        return answer

    assert handler(http_event(), None) == handler(http_event(), None) == answer
    assert ran == ["ran"]


@pytest.mark.parametrize("went_on", [True, False])
def test_a_failure_behind_a_http_error_is_history_only_if_a_step_followed(store: Watched, went_on: bool) -> None:
    """An answer of 500 is how a failure leaves a HTTP handler: as with an exception's context, a later step settles it."""
    tries: list[str] = []

    def flaky() -> None:
        tries.append("try")
        raise Boom

    @durable(store=store, name="f")
    def handler(event: Any, context: Any) -> dict[str, Any]:
        try:
            step("work", flaky)
        except Boom:
            if went_on:
                step("tell", lambda: None)
            return {"statusCode": 500}
        return {"statusCode": 200}

    assert [handler(http_event(), None)["statusCode"] for _ in range(2)] == [500, 500]
    assert tries == (["try"] if went_on else ["try", "try"])


def test_a_status_of_500_from_another_trigger_completes(store: Watched) -> None:
    ran: list[str] = []

    @durable(store=store, name="f")
    def handler(event: Any, context: Any) -> dict[str, int]:
        ran.append("ran")
        return {"statusCode": 500}

    event = event_of("eventbridge")
    assert handler(event, None) == handler(event, None) == {"statusCode": 500}
    assert ran == ["ran"]


def test_the_same_http_key_with_another_body_raises(store: Watched) -> None:
    ran: list[str] = []
    handler = target(store, "f", ran, "1")
    handler(http_event(body='{"amount": 1}'), None)
    with pytest.raises(DurablyError) as caught:
        handler(http_event(body='{"amount": 2}'), None)
    assert "body" in str(caught.value)
    assert ran == ["1"]
    assert handler(http_event(body='{"amount": 1}'), None) == "1"


def test_the_same_http_key_with_another_body_raises_while_the_first_is_unfinished(store: Watched) -> None:
    ran: list[str] = []

    @durable(store=store, name="f")
    def handler(event: Any, context: Any) -> str:
        step("work", lambda: ran.append(event["body"]))
        if len(ran) == 1:
            ran.append("fail")
            raise Boom
        return "done"

    with pytest.raises(Boom):
        handler(http_event(body="1"), None)
    with pytest.raises(DurablyError, match="body"):
        handler(http_event(body="2"), None)
    assert handler(http_event(body="1"), None) == "done"
    assert ran == ["1", "fail"]


def test_the_same_http_key_on_another_path_is_another_execution(store: Watched) -> None:
    ran: list[str] = []
    handler = target(store, "f", ran, "1")
    handler(http_event(path="/orders"), None)
    handler(http_event(path="/refunds"), None)
    assert ran == ["1", "1"]


def test_a_http_event_without_the_senders_id_is_refused_with_the_reason(store: Watched) -> None:
    event = http_event()
    del event["headers"]["idempotency-key"]
    with pytest.raises(NoIdentity) as caught:
        target(store, "f", [], "1")(event, Context(30))
    assert "Idempotency-Key" in str(caught.value)
    assert "id=" in str(caught.value)


@pytest.mark.parametrize("odd", [None, 17, "", b"x", "x\ud800"], ids=ascii)
def test_an_id_of_ones_own_that_is_no_text_is_refused(store: Watched, odd: Any) -> None:
    with pytest.raises((NoIdentity, TypeError), match="id"):
        target(store, "f", [], "1", id=lambda event, context: odd)({}, None)
    assert store.calls == []


def test_long_and_odd_ids_are_kept_apart(store: Watched) -> None:
    ran: list[str] = []
    handler = target(store, "f", ran, "1", id=lambda event, context: event["id"])
    with pytest.raises(NoIdentity, match="longer"):
        handler({"id": "x" * 5000}, None)
    with pytest.raises(NoIdentity, match="surrogate"):
        handler({"id": "half a smile: \ud83d"}, None)
    for odd in ("x" * 1000, "x" * 1000 + "y", "é/ü #1", "é/ü #2", "a\nb", "../.."):
        handler({"id": odd}, None)
        handler({"id": odd}, None)
    assert len(ran) == 6


def test_the_current_executions_id_is_the_heads(store: Watched) -> None:
    ids: list[str] = []

    @durable(store=store, name="f")
    def handler(event: Any, context: Any) -> None:
        ids.append(current_execution().id)  # type: ignore[union-attr]

    handler(event_of("eventbridge"), None)
    assert ids == [store.execution]


def test_the_head_tells_how_each_attempt_went(store: Watched, clock: Any) -> None:
    ran: list[int] = []

    @durable(store=store, name="f", expires=timedelta(days=3))
    def handler(event: Any, context: Any) -> str:
        ran.append(1)
        if len(ran) == 1:
            raise Boom("first")
        if len(ran) == 2:
            store.die()
        return "done"

    event = event_of("eventbridge")
    with pytest.raises(Boom):
        handler(event, Context(60, clock, "req-1"))
    with pytest.raises(BaseException):
        handler(event, Context(60, clock, "req-2"))
    store.revive()
    clock.advance(100)
    assert handler(event, Context(60, clock, "req-3")) == "done"
    head = store.head()
    assert [record.number for record in head.attempts] == [1, 2, 3]
    assert [record.request_id for record in head.attempts] == ["req-1", "req-2", "req-3"]
    assert [record.ended is None for record in head.attempts] == [False, True, False]
    assert "Boom" in head.attempts[0].how
    assert head.expires_at == pytest.approx(clock.now() + 3 * 86400, abs=200)
