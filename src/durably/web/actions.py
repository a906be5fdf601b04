"""What a reader may do to an execution, where `--allow-actions` says so: forms to `durably.history.actions`.

Each form is asked about in a dialog, carries the session's token, and is answered with the execution it led to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..history import actions
from ..history.actions_given import given_event, json_of
from .forms import form_of
from .guard import same
from .site import Site, link

log = logging.getLogger("durably")

Form = dict[str, str]

TOLD = {
    "redriven": "Redriven: its event was sent to the function again. What is done is replayed.",
    "cancelled": "Cancelled: no later attempt runs anything, and a running one can append nothing more.",
    "resolved": "Resolved. The execution waits; redrive it to go on.",
    "forked": "Forked: this is the new execution. It keeps what was done before that step, and waits until it is redriven.",
}
"""What the page says after an action; an address can choose one of these and write none of its own."""


async def act(site: Site, name: str, request: Request) -> Response:
    """Do one action. Raises 403 where actions are off or the form is not this session's."""
    if not site.allow_actions:
        raise HTTPException(403, "Actions are off. Start the page with --allow-actions to have them.")
    form = await form_of(request)
    session = request.scope["durably.session"]
    if session is None or not same(form.get("csrf", ""), session.csrf):
        raise HTTPException(403, "This form is not of this session, so nothing was done. Load the page again.")
    log.info("web: %s of execution %r", name, form.get("id", ""), extra={"durably_execution": form.get("id", "")})
    execution = await run_in_threadpool(partial(ACTIONS[name], site, form))
    site.views.forget(execution)
    return RedirectResponse(link("/execution", id=execution, done=_DONE[name]), 303)


def _redrive(site: Site, form: Form) -> str:
    invoke = site.invoke or actions.lambda_invoker()
    return actions.redrive(site.store, form.get("id", ""), invoke, function=form.get("function", "").strip() or None).id


def _cancel(site: Site, form: Form) -> str:
    return actions.cancel(site.store, form.get("id", "")).id


def _resolve(site: Site, form: Form) -> str:
    is_again = form.get("how") == "again"
    result = None if is_again else form.get("result", "")
    return actions.resolve(site.store, form.get("id", ""), form.get("step", ""), result=result, run_again=is_again).id


def _fork(site: Site, form: Form) -> str:
    step = form.get("step", "")
    outcomes = {step: json_of(form.get("result", ""), f"the result of {step!r}")} if form.get("how") == "result" else {}
    event = form.get("event", "").strip()
    made = actions.fork(
        site.store,
        form.get("id", ""),
        step,
        event=given_event(event, "the event") if event else None,
        event_id=form.get("event_id", "").strip() or None,
        outcomes=outcomes,
    )
    return made.head.id


ACTIONS: dict[str, Callable[[Site, Form], str]] = {
    "redrive": _redrive,
    "cancel": _cancel,
    "resolve": _resolve,
    "fork": _fork,
}
_DONE = {"redrive": "redriven", "cancel": "cancelled", "resolve": "resolved", "fork": "forked"}
