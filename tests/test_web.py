"""The page without a browser: who may ask, what every answer forbids, which forms do something, and what a page says."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.datastructures import QueryParams

from durably import DynamoDBStore, Fatal, MemoryStore, Retry, durable, step
from durably.stores.protocol import Store
from durably.web.app import create_app
from durably.web.drawing import draw
from durably.web.guard import CSP, is_allowed, is_loopback
from durably.web.listing import before_of
from durably.web.texts import cut, last_frame, pretty, tame

from .clocks import FakeClock
from .servers import client as dynamodb_client

TOKEN = "a-token-of-enough-characters"
HERE = "http://127.0.0.1:8321"
ADDRESSES = ("/", "/execution?id=f/1", "/execution?id=nothing", "/nothing", "/static/durably.css", "/login")


class Refused(Exception):
    pass


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=FakeClock())


Deliver = Callable[..., Any]


@pytest.fixture
def deliver(store: MemoryStore) -> Deliver:
    """`deliver(body, id="1")`: one attempt of the handler `f`; what it raises is its own matter."""

    def delivered(body: Callable[[], Any], id: str = "1", **options: Any) -> None:
        @durable(store=store, name="f", **options)
        def handler(event: dict[str, Any], context: Any) -> Any:
            return body()

        try:
            handler({"id": id, "source": "tests", "detail-type": "x", "detail": {"secret": "s3cr3t"}}, None)
        except (Refused, Fatal):
            pass

    return delivered


class Client:
    """A browser's side of the application: it keeps cookies and follows no redirect."""

    def __init__(self, store: Store, **options: Any) -> None:
        transport = httpx.ASGITransport(create_app(store, **options))
        self._http = httpx.AsyncClient(transport=transport, base_url=HERE)

    @property
    def cookies(self) -> httpx.Cookies:
        return self._http.cookies

    def get(self, address: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return asyncio.run(self._http.get(address, headers=headers))

    def post(self, address: str, form: dict[str, str], origin: str | None = HERE) -> httpx.Response:
        headers = {} if origin is None else {"origin": origin}
        return asyncio.run(self._http.post(address, data=form, headers=headers))


@pytest.fixture
def client(store: MemoryStore) -> Client:
    return Client(store, allow_actions=True)


def csrf_of(client: Client, address: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get(address).text)
    assert found is not None
    return found[1]


def post(client: Client, address: str, **form: str) -> httpx.Response:
    return client.post(address, form)


def charge() -> None:
    raise Refused("card_9x was refused")


def charges() -> None:
    step("fetch", lambda: {"n": 1})
    step("charge", charge)


# ---- who may ask


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_answer_forbids_scripts_frames_and_sniffing(client: Client, deliver: Deliver, address: str) -> None:
    deliver(charges)
    headers = client.get(address).headers
    assert headers["content-security-policy"] == CSP
    assert "unsafe" not in CSP
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert headers["referrer-policy"] == "same-origin"
    assert "no-store" in headers["cache-control"] or address.startswith("/static")


@pytest.mark.parametrize(
    "address", ["/", "/execution?id=f/1", "/execution?id=f/1&view=graph", "/execution/step?id=f/1&name=charge"]
)
def test_a_page_has_no_inline_script_or_style_and_asks_no_other_host(
    client: Client, deliver: Deliver, address: str
) -> None:
    deliver(charges)
    html = client.get(address).text
    assert re.findall(r"<script(?![^>]* src=)", html) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", html) == []
    assert re.findall(r'(?:src|href|action)="(?!/|#)', html) == []


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", "localhost.evil.example", ""]
)
def test_a_name_that_was_rebound_to_this_machine_is_refused(client: Client, host: str) -> None:
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 421
    assert "set-cookie" not in answer.headers


def test_addresses_localhost_and_allowed_names_are_answered() -> None:
    named = frozenset(("desk.example",))
    assert all(
        is_allowed(host, named) for host in ("127.0.0.1:1", "[::1]:1", "localhost", "10.0.0.7:80", "Desk.example.")
    )
    assert is_loopback("127.0.0.9")
    assert is_loopback("::1")
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.7", "desk.example"))


def test_another_sites_script_reads_nothing(client: Client) -> None:
    from_elsewhere = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert client.get("/", headers=from_elsewhere).status_code == 403
    assert client.get("/", headers=from_elsewhere | {"sec-fetch-mode": "navigate"}).status_code == 200


def test_with_a_token_nothing_is_shown_before_it_was_given(store: MemoryStore, deliver: Deliver) -> None:
    deliver(charges)
    client = Client(store, token=TOKEN)
    for address in ("/", "/execution?id=f/1", "/execution/text?id=f/1&part=event", "/nothing"):
        answer = client.get(address)
        assert (answer.status_code, answer.headers["location"][:6]) == (303, "/login")
        assert "set-cookie" not in answer.headers
    assert client.get("/", headers={"x-fragment": "1"}).status_code == 401
    assert post(client, "/execution/cancel", id="f/1").status_code == 401
    wrong = post(client, "/login", token=TOKEN + "x", next="/")
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers

    right = post(client, "/login", token=TOKEN, next="/execution?id=f/1")
    assert (right.status_code, right.headers["location"]) == (303, "/execution?id=f/1")
    assert {"HttpOnly", "SameSite=Strict"} <= set(right.headers["set-cookie"].split("; "))
    assert TOKEN not in right.headers["set-cookie"]
    assert "Refused" in client.get("/execution?id=f/1").text


def test_a_session_signed_elsewhere_counts_for_nothing(store: MemoryStore) -> None:
    other = Client(store)
    other.get("/")
    cookies = dict(other.cookies)
    client = Client(store, token=TOKEN)
    client.cookies.update(cookies)
    assert client.get("/").status_code == 303


def test_a_bearer_token_serves_programs(store: MemoryStore) -> None:
    client = Client(store, token=TOKEN)
    assert client.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/", headers={"authorization": "Bearer no"}).status_code == 303


@pytest.mark.parametrize("next", ["https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example"])
def test_signing_in_leads_to_no_other_site(store: MemoryStore, next: str) -> None:
    client = Client(store, token=TOKEN)
    assert post(client, "/login", token=TOKEN, next=next).headers["location"] == "/"


def test_a_token_that_can_be_guessed_is_refused(store: MemoryStore) -> None:
    with pytest.raises(ValueError, match="can be guessed"):
        create_app(store, token="secret")


def test_the_command_asks_for_a_token_when_others_can_reach_it(tmp_path: Path) -> None:
    (tmp_path / "durably.db").touch()
    command = [sys.executable, "-m", "durably.cli", "web", "--host", "0.0.0.0", "--port", "0"]
    url = f"sqlite:///{tmp_path / 'durably.db'}"
    server = subprocess.Popen([*command, "--store", url], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    told = server.stdout.readline()
    server.terminate()
    server.communicate(timeout=20)
    assert re.search(r"http://0\.0\.0\.0:\d+/login#[\w-]{32}\n", told)


# ---- forms


@pytest.mark.parametrize("action", ["redrive", "cancel", "resolve", "fork"])
def test_an_action_needs_the_flag_the_origin_and_the_sessions_token(
    store: MemoryStore, deliver: Deliver, client: Client, action: str
) -> None:
    deliver(charges)
    csrf = csrf_of(client, "/execution?id=f/1")
    address, form = f"/execution/{action}", {"id": "f/1", "step": "charge"}
    before = store.read("f/1", until=1e12)
    refusals = [
        client.post(address, form | {"csrf": csrf}, origin=None),
        client.post(address, form | {"csrf": csrf}, origin="http://evil.example"),
        client.post(address, form | {"csrf": csrf}, origin="null"),
        client.post(address, form | {"csrf": csrf}, origin="http://127.0.0.1:1"),
        post(client, address, **form),
        post(client, address, **form, csrf="0" * 64),
    ]
    other = Client(store)
    other.get("/")
    refusals.append(post(other, address, **form, csrf=csrf))
    assert [answer.status_code for answer in refusals] == [403] * 7
    assert store.read("f/1", until=1e12) == before
    assert client.get(address).status_code in (404, 405)


def test_without_the_flag_a_page_has_no_form_but_the_command_to_type(store: MemoryStore, deliver: Deliver) -> None:
    deliver(charges)
    client = Client(store)
    html = client.get("/execution?id=f/1").text
    assert 'method="post"' not in html
    assert "durably redrive" in html


def test_a_redrive_sends_the_stored_event_and_the_execution_goes_on(store: MemoryStore, deliver: Deliver) -> None:
    deliver(charges)
    sent: list[tuple[str, str]] = []
    client = Client(store, allow_actions=True, invoke=lambda name, payload: sent.append((name, payload)))
    csrf = csrf_of(client, "/execution?id=f/1")
    answer = post(client, "/execution/redrive", id="f/1", function="live-f", csrf=csrf)
    assert answer.headers["location"] == "/execution?id=f%2F1&done=redriven"
    assert "Redriven" in client.get(answer.headers["location"]).text
    assert [(name, "s3cr3t" in payload) for name, payload in sent] == [("live-f", True)]


def test_cancel_resolve_and_fork_do_what_they_say(store: MemoryStore, deliver: Deliver, client: Client) -> None:
    deliver(lambda: step("pay", charge, at_most_once=True))
    csrf = csrf_of(client, "/execution?id=f/1")
    answer = post(client, "/execution/resolve", id="f/1", step="pay", how="result", result='{"paid": 42}', csrf=csrf)
    assert answer.status_code == 303
    assert "42" in client.get("/execution/text?id=f/1&part=result&step=pay").text

    answer = post(client, "/execution/fork", id="f/1", step="pay", how="result", result="43", csrf=csrf)
    assert answer.headers["location"].endswith("&done=forked")
    forked = re.search(r"id=f%2F([^&]+)", answer.headers["location"])
    assert forked is not None
    assert client.get(f"/execution/text?id=f/{forked[1]}&part=result&step=pay").text == "43"

    assert post(client, "/execution/cancel", id="f/1", csrf=csrf).status_code == 303
    assert "is-cancelled" in client.get("/execution?id=f/1").text
    again = post(client, "/execution/cancel", id="f/1", csrf=csrf)
    assert (again.status_code, "cancelled already" in again.text) == (409, True)


def test_a_hidden_value_never_replaces_the_secret(deliver: Deliver, store: MemoryStore) -> None:
    store.redact = ("secret",)  # type: ignore[attr-defined]  # as a store that was given redact= has it
    deliver(charges)
    client = Client(store, allow_actions=True)
    html = client.get("/execution?id=f/1&step=charge").text
    assert "s3cr3t" not in html
    assert "Start from the stored event" not in html
    csrf = csrf_of(client, "/execution?id=f/1")
    event = '{"id": "2", "detail": {"secret": "•••"}}'
    answer = post(client, "/execution/fork", id="f/1", step="charge", how="again", event=event, csrf=csrf)
    assert (answer.status_code, "hidden value" in answer.text) == (409, True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ('{"token": "•••"}', "hidden value"),
        ("[" * 100_000, "is no JSON"),
        ("[" * 400 + "]" * 400, "levels deep"),
        ('{"$decimal": "nine"}', "read back"),
    ],
)
@pytest.mark.parametrize("name", ["resolve", "fork"])
def test_a_result_that_can_not_be_one_is_answered_in_words(
    deliver: Deliver, store: MemoryStore, name: str, given: str, told: str
) -> None:
    deliver(charges)
    client = Client(store, allow_actions=True)
    csrf = csrf_of(client, "/execution?id=f/1")
    answer = post(client, f"/execution/{name}", id="f/1", step="charge", how="result", result=given, csrf=csrf)
    assert (answer.status_code, told in answer.text) == (409, True)


# ---- what a page says


def test_a_failed_step_tells_the_input_it_failed_with(client: Client, deliver: Deliver) -> None:
    def body() -> None:
        step("charge", lambda card: charge(), "card_9x", record_args=True, retry=Retry(1, on=Refused))

    deliver(body)
    html = client.get("/execution?id=f/1").text
    assert "With what input" in html
    assert "card_9x" in client.get("/execution/text?id=f/1&step=charge&part=arguments").text


def test_the_list_says_why_an_execution_is_not_done(client: Client, deliver: Deliver) -> None:
    deliver(charges)
    deliver(lambda: step("only", lambda: 1), id="2")
    assert client.get("/").text.count("card_9x was refused</bdi>") == 1
    assert client.get("/").text.count("card_9x was refused</bdi>") == 1


def test_the_page_reads_a_dynamodb_table(dynamodb_local: str) -> None:
    store = DynamoDBStore(f"web-{uuid.uuid4().hex[:8]}", client=dynamodb_client(dynamodb_local))
    store.create_table()

    @durable(store=store, name="f", id=lambda event, context: event["id"])
    def handler(event: dict[str, Any], context: Any) -> None:
        charges()

    with pytest.raises(Refused):
        handler({"id": "1"}, None)
    client = Client(store, allow_actions=True)
    assert "card_9x was refused" in client.get("/").text
    assert "stopped at step <code>charge</code>" in client.get("/execution?id=f/1").text
    csrf = csrf_of(client, "/execution?id=f/1")
    assert post(client, "/execution/cancel", id="f/1", csrf=csrf).status_code == 303
    assert "is-cancelled" in client.get("/execution?id=f/1").text


def test_a_fragment_that_did_not_change_is_not_sent_again(client: Client, deliver: Deliver) -> None:
    deliver(lambda: step("only", lambda: 1))
    asked = {"x-fragment": "1"}
    first = client.get("/execution?id=f/1", headers=asked)
    assert "<html" not in first.text
    again = client.get("/execution?id=f/1", headers=asked | {"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("address", ["/execution?id=none", "/execution", "/execution/step?id=f/1&name=none"])
def test_what_is_not_there_is_said_in_a_page(client: Client, deliver: Deliver, address: str) -> None:
    deliver(charges)
    answer = client.get(address)
    assert answer.status_code == 404
    assert "Not here" in answer.text


@pytest.mark.parametrize("query", ["before=x:y", "before=nan", "status=<b>", "since=1y", "text=%00&before=1e999:a"])
def test_an_address_that_makes_no_sense_does_no_harm(client: Client, query: str) -> None:
    assert client.get(f"/?{query}").status_code == 200


@pytest.mark.parametrize("before", ["nan:f/1", "inf:f/1", "-1e999:f/1", "1.5:", "f/1"])
def test_a_place_that_no_store_can_be_asked_for_counts_as_not_given(before: str) -> None:
    assert before_of(QueryParams({"before": before})) is None  # DynamoDB refuses a number that is none
    assert before_of(QueryParams({"before": "1.5:a:b"})) == (1.5, "a:b")


def test_stored_text_can_not_turn_or_break_the_page(client: Client, deliver: Deliver) -> None:
    deliver(lambda: step("evil\u202ename\x1b[31m", lambda: "a\ud800b\u2066"))
    html = client.get("/execution?id=f/1").text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b]", html)
    assert "evil\\u202ename\\u001b" in html
    saved = client.get("/execution/text?id=f/1&part=result&step=evil%E2%80%AEname%1B%5B31m&save=1")
    assert saved.headers["content-type"].startswith("text/plain")
    assert saved.headers["content-disposition"] == 'attachment; filename="result.json"'


def test_texts_are_cut_tamed_and_indented() -> None:
    assert tame("a\u202eb\tc\n") == "a\\u202eb\tc\n"
    assert pretty('{"a":[1]}') == '{\n  "a": [\n    1\n  ]\n}'
    assert pretty("not json") == "not json"
    assert cut("x" * 10, chars=4) == ("xxxx", 10, False)
    assert cut("1\n2\n3\n4", lines=2) == ("1\n2", 7, False)
    assert cut("1\n2", lines=5).is_whole
    assert last_frame('T:\n  File "a.py", line 1, in f\n    f()\n  File "b.py", line 2, in g\n    g()\nE: x') == (
        'File "b.py", line 2, in g\n    g()'
    )
    assert last_frame("") == ""


def test_the_graph_draws_boxes_that_overlap_only_where_one_is_inside_another(
    deliver: Deliver, store: MemoryStore
) -> None:
    from durably import fan_out
    from durably.history.reading import read_execution

    def outer() -> None:
        step("inner-1", lambda: 1)
        fan_out("item", lambda one: one, ["a", "b", "c"])

    def body() -> None:
        step("first", lambda: 1)
        step("outer", outer)
        step("last", lambda: 1)

    deliver(body)
    drawing = draw(read_execution(store, "f/1"))
    assert {box.label for box in drawing.boxes} == {"first", "outer", "inner-1", "item", "last"}
    boxes = {box.node.id: box for box in drawing.boxes}
    for one in boxes.values():
        for other in boxes.values():
            is_apart = one.x + one.width <= other.x or other.x + other.width <= one.x
            is_apart = is_apart or one.y + one.height <= other.y or other.y + other.height <= one.y
            is_inside = one.node.id in (other.node.id, other.node.parent) or other.node.parent == one.node.id
            assert is_apart or is_inside or one.node.parent == other.node.id
        assert one.x >= 0
        assert one.x + one.width <= drawing.width
        assert one.y + one.height <= drawing.height
