"""A span for each attempt, and below it one for each step that ran; a replayed step did nothing and has none.

A step's span is current while its function runs, so that what the function is instrumented for nests below it. The
attempt's state travels in OpenTelemetry's context with the span itself: into threads, tasks and executions inside steps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Token
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, create_key, detach, get_value, set_value
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace import TracerProvider as Provider

from ..entries import Head
from ..hooks import (
    AttemptBegan,
    AttemptEnded,
    Event,
    StepBegan,
    StepEnded,
    StepReplayed,
    TryBegan,
    TryEnded,
    add_hook,
)
from .attributes import Attributes, kind_of, of_attempt, of_lambda, trigger_of, type_of
from .identifiers import gives_identifiers, span_id_of, trace_id_of, wanting

_KINDS = {"http": SpanKind.SERVER, "pubsub": SpanKind.CONSUMER, "datasource": SpanKind.CONSUMER}


class StepSpan:
    """A step that runs."""

    __slots__ = ("by_recover", "error", "span", "token")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.token: Token[Context] | None = None
        self.by_recover = False
        """Its last try asked `recover`."""
        self.error: BaseException | None = None
        """What its last try raised, told as an event of the span."""


class AttemptSpan:
    """An attempt that runs, and those of its steps that do."""

    def __init__(self, head: Head, span: Span) -> None:
        self.head = head
        self.span = span
        self.token: Token[Context] | None = None
        self.steps: dict[str, StepSpan] = {}
        self.ran = 0
        self.replayed = 0


class Spans:
    """A hook that makes the spans. `start` and `stop` add and remove it."""

    def __init__(self, provider: Provider | None, *, nest: bool) -> None:
        self._provider = provider
        self._nest = nest
        self._key = create_key("durably-attempt")
        self._of_lambda = of_lambda()
        self._is_cold = True
        self._lock = threading.Lock()
        self._live = 0
        self._stopping = False
        self._remove: Callable[[], None] | None = None

    def start(self) -> None:
        """Make spans from now on."""
        self._remove = add_hook(self)

    def stop(self) -> None:
        """Begin no more of them; those of attempts under way come to their end, or their context would never be left."""
        with self._lock:
            self._stopping = True
        self._remove_if_idle()

    def __call__(self, event: Event) -> None:
        """Make, or finish, the spans that the event is about."""
        if isinstance(event, AttemptBegan):
            self._attempt_began(event)
            return
        at: Any = get_value(self._key)
        # An attempt that began unseen may run inside one that was seen, in its context.
        if at is None or at.head is not event.head:
            return
        if isinstance(event, StepReplayed):
            with self._lock:
                at.replayed += 1
        elif isinstance(event, StepBegan):
            self._step_began(at, event)
        elif isinstance(event, TryBegan):
            _try_began(at, event)
        elif isinstance(event, TryEnded):
            _try_ended(at, event)
        elif isinstance(event, StepEnded):
            _step_ended(at, event)
        elif isinstance(event, AttemptEnded):
            self._attempt_ended(at, event)

    def _attempt_began(self, event: AttemptBegan) -> None:
        with self._lock:
            if self._stopping:
                return
            is_cold, self._is_cold = self._is_cold, False
        span = self._span_of_attempt(event, is_cold)
        at = AttemptSpan(event.head, span)
        at.token = attach(set_value(self._key, at, trace.set_span_in_context(span)))
        with self._lock:
            self._live += 1

    def _span_of_attempt(self, event: AttemptBegan, is_cold: bool) -> Span:
        head, tracer = event.head, self._tracer()
        said = self._of_lambda | of_attempt(head)
        if self._of_lambda:
            said["faas.coldstart"] = is_cold
        if event.replays_only:
            said["durably.replays_only"] = True
        if self._nest or not gives_identifiers(tracer):
            return tracer.start_span(head.function, attributes=said)
        trigger = trigger_of(head)
        kind = SpanKind.INTERNAL if trigger is None else _KINDS.get(trigger.faas, SpanKind.INTERNAL)
        # A finished execution's replay is no attempt of its own: it links to the last one, whose number it bears.
        own = None if event.replays_only else span_id_of(head, head.attempt)
        root = trace.set_span_in_context(INVALID_SPAN)
        with wanting(trace_id_of(head), own):
            return tracer.start_span(head.function, root, kind, said, _links(event))

    def _step_began(self, at: AttemptSpan, event: StepBegan) -> None:
        said: dict[str, str | int] = {
            "durably.execution": event.head.id,
            "durably.attempt": event.head.attempt,
            "durably.step": event.step,
        }
        if event.within:
            said["durably.within"] = event.within
        with self._lock:
            at.ran += 1
        at.steps[event.step] = StepSpan(self._tracer().start_span(kind_of(event.step), attributes=said))

    def _attempt_ended(self, at: AttemptSpan, event: AttemptEnded) -> None:
        with self._lock:
            self._live -= 1
        if at.token is not None:
            detach(at.token)
        self._remove_if_idle()
        at.span.set_attributes(
            {
                "durably.status": event.status,
                "durably.steps.run": at.ran,
                "durably.steps.replayed": at.replayed,
            }
        )
        if event.error is not None:
            _record(at.span, event.error)
            _set_failed(at.span, event.error)
        elif event.status in ("waiting", "lost"):
            at.span.set_status(Status(StatusCode.ERROR, f"the attempt left its execution {event.status}"))
        at.span.end()

    def _tracer(self) -> trace.Tracer:
        # Asked each time: the global provider may be set after `instrument`, and its tracers are cached.
        return (self._provider or trace.get_tracer_provider()).get_tracer("durably")

    def _remove_if_idle(self) -> None:
        with self._lock:
            done = self._stopping and self._live == 0
        if done and self._remove is not None:
            self._remove()


def _links(event: AttemptBegan) -> list[Link]:
    """To the attempt before, recorded or not: one that was killed never handed its span over, but its steps' spans name it."""
    head, around, links = event.head, trace.get_current_span().get_span_context(), []
    before = head.attempt if event.replays_only else head.attempt - 1
    if before > 0:
        flags = TraceFlags(TraceFlags.SAMPLED)
        context = SpanContext(trace_id_of(head), span_id_of(head, before), is_remote=True, trace_flags=flags)
        links.append(Link(context, {"durably.link": "previous attempt", "durably.attempt": before}))
    if around.is_valid:
        links.append(Link(around, {"durably.link": "caller"}))
    return links


def _try_began(at: AttemptSpan, event: TryBegan) -> None:
    step = at.steps.get(event.step)
    if step is None:
        return
    step.by_recover = event.recover
    step.token = attach(trace.set_span_in_context(step.span))
    if event.recover:
        step.span.add_event("durably.recover", {"durably.tries": event.tries})


def _try_ended(at: AttemptSpan, event: TryEnded) -> None:
    step = at.steps.get(event.step)
    if step is None:
        return
    if step.token is not None:
        detach(step.token)
        step.token = None
    step.error = event.error
    if event.error is not None:
        _record(step.span, event.error, {"durably.tries": event.tries, "durably.recover": event.recover})


def _step_ended(at: AttemptSpan, event: StepEnded) -> None:
    step = at.steps.pop(event.step, None)
    if step is None:
        return
    outcome, error = event.outcome, event.error
    step.span.set_attribute("durably.outcome", "none" if outcome is None else outcome.kind)
    if outcome is not None:
        step.span.set_attribute("durably.tries", outcome.tries)
    if outcome is not None and outcome.kind == "result" and step.by_recover:
        step.span.set_attribute("durably.recovered", True)
    if error is not None and error is not step.error:
        _record(step.span, error)
    failed_with = error or (step.error if outcome is None else None)
    if failed_with is not None:
        _set_failed(step.span, failed_with)
    step.span.end()


def _record(span: Span, error: BaseException, said: Attributes | None = None) -> None:
    try:
        span.record_exception(error, said)
    except Exception:
        # Its own __str__ raised. The span is to end all the same.
        span.add_event("exception", {"exception.type": type_of(error), **(said or {})})


def _set_failed(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", type_of(error))
    try:
        told = str(error)
    except Exception:
        told = ""
    span.set_status(Status(StatusCode.ERROR, f"{type_of(error)}: {told}" if told else type_of(error)))
