"""PURE: a journal's entries → one StepView a step, in the order of the code: a step, then the steps inside it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ..entries import Entry, Segment
from ..naming import idempotency_key
from ..redaction import patterns_of, redacted
from .model import ErrorView, FailureView, StepState, StepView


class _Traced:
    """What the entries said of one step so far."""

    __slots__ = ("arguments", "began", "failures", "forgotten", "index", "last", "outcome", "started", "within")

    def __init__(self, index: int) -> None:
        self.index = index
        self.began = float("inf")
        self.within = ""
        self.arguments: Entry | None = None
        self.started: Entry | None = None
        self.outcome: Entry | None = None
        self.failures: list[Entry] = []
        self.forgotten = False
        self.last: Entry | None = None
        """The newest entry that has times."""


def steps_of(
    execution: str, segments: Iterable[Segment], live_attempt: int | None, redact: tuple[str, ...] = ()
) -> tuple[StepView, ...]:
    """Every step the journal knows of. `live_attempt` is the number of the attempt that runs now, if one does."""
    traced: dict[str, _Traced] = {}
    for segment in segments:
        for entry in segment.entries:
            if entry.step:
                _take_in(traced, entry)
    _add_parents_without_entries(traced)
    made = {name: _step_view(execution, name, one, live_attempt, redact) for name, one in traced.items()}
    return tuple(_in_order(traced, made))


def group_and_key(name: str) -> tuple[str, str]:
    """`thread[a.py:3]` → (`thread`, `a.py:3`), the fan-out and the item's key; ("", "") for any other name."""
    if not name.endswith("]"):
        return "", ""
    depth = 0
    for place in range(len(name) - 1, 0, -1):
        depth += {"]": 1, "[": -1}.get(name[place], 0)
        if depth == 0:
            return name[:place], name[place + 1 : -1]
    group, bracket, key = name.partition("[")
    return (group, key[:-1]) if group and bracket else ("", "")


def error_of(payload: str | None, redact: tuple[str, ...] = ()) -> ErrorView | None:
    """The exception in a stored text, None where there is none."""
    if not payload:
        return None
    try:
        record = json.loads(redacted(payload, redact))
        module, _, qualname = str(record["class"]).rpartition(":")
        message, traceback = str(record.get("message", "")), str(record.get("traceback", ""))
    except (ValueError, KeyError, TypeError, RecursionError):
        return ErrorView("an error that can't be read", payload[:200])
    return ErrorView(qualname.rpartition(".")[2], message, traceback, module)


def _take_in(traced: dict[str, _Traced], entry: Entry) -> None:
    one = traced.get(entry.step)
    if one is None:
        one = traced[entry.step] = _Traced(len(traced))
    if entry.kind == "taken_back" or entry.kind == "forgotten":
        if one.outcome is not None and one.outcome.kind == "error":
            one.failures.append(one.outcome)
        one.outcome = None
        if entry.kind == "forgotten":
            one.started, one.forgotten = None, True
        return
    one.began = min(one.began, entry.began)
    one.within = entry.within or one.within
    if entry.arguments:
        one.arguments = entry
    if entry.kind == "started":
        one.started = one.last = entry
    elif one.outcome is None:  # the first outcome is the outcome, for ever
        one.outcome = one.last = entry
    one.forgotten = False


def _add_parents_without_entries(traced: dict[str, _Traced]) -> None:
    """A step whose inner steps are recorded was begun, even if it died before it left an entry of its own."""
    for child in list(traced.values()):
        if child.within and child.within not in traced and child.last is not None:
            parent = traced[child.within] = _Traced(child.index)
            parent.began = child.began
            parent.started = parent.last = child.last._replace(kind="started", step=child.within, within="")
            parent.started = parent.started._replace(began=child.began, arguments="")


def _step_view(execution: str, name: str, one: _Traced, live_attempt: int | None, redact: tuple[str, ...]) -> StepView:
    state = _state(one, live_attempt)
    shown = one.outcome or (one.failures[-1] if state == "failed" else one.started) or one.last
    hidden = patterns_of_all(redact, shown, one.arguments)
    group, key = group_and_key(name)
    outcome = one.outcome if one.outcome is not None else shown if state == "failed" else None
    has_result = one.outcome is not None and one.outcome.kind == "result"
    return StepView(
        name=name,
        state=state,
        attempt=shown.attempt if shown is not None else 0,
        began=shown.began if shown is not None else 0.0,
        ended=outcome.ended if outcome is not None else None,
        tries=shown.tries if shown is not None else 1,
        within=one.within,
        group=group,
        key=key,
        result=redacted(one.outcome.payload, hidden) if has_result and one.outcome is not None else None,
        error=error_of(outcome.payload, hidden) if outcome is not None and outcome.kind == "error" else None,
        arguments=redacted(one.arguments.arguments, hidden) if one.arguments is not None else "",
        size=len(outcome.payload.encode("utf-8", "replace")) if outcome is not None else 0,
        permanent=outcome is not None and outcome.permanent,
        idempotency_key=idempotency_key(execution, name),
        history=tuple(_failure(entry, hidden) for entry in one.failures),
        announced=(one.started.attempt, one.started.began) if one.started is not None else None,
    )


def patterns_of_all(redact: tuple[str, ...], *entries: Entry | None) -> tuple[str, ...]:
    """The store's patterns and those of the entries."""
    return tuple(dict.fromkeys((*redact, *patterns_of(*entries))))


def _state(one: _Traced, live_attempt: int | None) -> StepState:
    if one.outcome is not None:
        if one.outcome.kind == "result":
            return "done"
        return "failed" if one.outcome.permanent else "caught"
    if one.forgotten:
        return "forgotten"
    if one.failures:
        return "failed"
    return "running" if one.started is not None and one.started.attempt == live_attempt else "interrupted"


def _failure(entry: Entry, redact: tuple[str, ...]) -> FailureView:
    return FailureView(entry.attempt, entry.began, entry.ended, entry.tries, error_of(entry.payload, redact))


def _in_order(traced: dict[str, _Traced], made: dict[str, StepView]) -> Iterable[StepView]:
    """By first beginning; inner steps behind theirs; the items of a fan-out together, where its first one began."""
    inside: dict[str, list[str]] = {}
    for name, one in traced.items():
        inside.setdefault(one.within if one.within in made and one.within != name else "", []).append(name)
    for names in inside.values():
        first: dict[str, tuple[float, int]] = {}
        for name in names:
            one = traced[name]
            group, place = made[name].group or f"\0{name}", (one.began, one.index)
            first[group] = min(first.get(group, place), place)
        names.sort(key=lambda name: (first[made[name].group or f"\0{name}"], traced[name].began, traced[name].index))
    todo = [(name, 0) for name in reversed(inside.pop("", ()))]
    while todo or inside:
        if not todo:  # a journal put together by hand may have steps inside one another: each is shown, once
            todo = [(next(iter(inside)), 0)]
            inside = {parent: [one for one in names if one != todo[0][0]] for parent, names in inside.items()}
        name, depth = todo.pop()
        yield made[name]._replace(depth=depth)
        todo += [(child, depth + 1) for child in reversed(inside.pop(name, ()))]
