"""The pages of one execution: how it stands, its attempts as a waterfall or a graph, and each step."""

from __future__ import annotations

from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ..errors import DurablyError
from ..history.model import ErrorView, ExecutionView, StepView
from ..history.spans import duration_text
from ..history.waterfall import Bar, Track, waterfall
from ..redaction import patterns_of
from .actions import TOLD
from .drawing import draw
from .site import FRESH_S, RECENT_S, Site, link, page
from .texts import Cut, cut, last_frame, pretty

CHUNK = 200
"""Bars in one piece of a waterfall: further ones are asked for when they come into sight."""
REPLAYED_SHOWN = 6
"""An attempt that was answered more often than that shows those bars when asked."""
INLINE = 400
"""Bars that come with the page itself, of all attempts together."""
FIND_CHARS = 200
EDITABLE_CHARS = 100_000

PARTS = ("event", "result", "arguments")


class NoSuchStep(DurablyError):
    """The journal has no step of that name."""

    def __init__(self, execution: str, step: str) -> None:
        super().__init__(execution, step)
        self.execution = execution
        self.step = step

    def __str__(self) -> str:
        return f"execution {self.execution!r} has no step {self.step!r} in its journal. The list of its steps is on its page."


class Lane(NamedTuple):
    """One attempt as it is drawn."""

    track: Track
    replayed: tuple[Bar, ...]
    ran: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    """How long each folded gap was, and where it stands."""
    is_inline: bool = True
    """Whether its first piece comes with the page."""

    @property
    def chunks(self) -> range:
        """Where each piece begins."""
        return range(0, len(self.ran), CHUNK)

    @property
    def replayed_chunks(self) -> range:
        """Where each piece of the replayed ones begins."""
        return range(0, len(self.replayed), CHUNK)

    @property
    def folds_told(self) -> str:
        """The folded gaps in words."""
        return "Folded gaps: " + ", ".join(told for _, told in self.ticks)


class Payload(NamedTuple):
    """A stored text: its beginning, and where the whole is."""

    title: str
    cut: Cut
    whole: str


def show_execution(site: Site, request: Request) -> Response:
    """One execution; with the header X-Fragment only what changes."""
    id = request.query_params.get("id", "")
    view = site.views.get(id, FRESH_S)
    is_graph = request.query_params.get("view") == "graph"
    named, find = request.query_params.get("step"), _find(request)
    is_fragment = "x-fragment" in request.headers
    return page(
        site,
        request,
        "_execution.html" if is_fragment else "execution.html",
        view=view,
        head=view.head,
        verdict=_verdict(view),
        lanes=() if is_graph else lanes_of(view, find),
        drawing=draw(view) if is_graph else None,
        is_graph=is_graph,
        find=find,
        done=TOLD.get(request.query_params.get("done", "")),
        can=_can(view),
        chunk=CHUNK,
        replayed_shown=REPLAYED_SHOWN,
        event=_of_head(view, "event", "Event"),
        result=_of_head(view, "result", "Result") if view.head.status == "completed" else None,
        **({} if is_fragment else _panel(site, view, named)),
    )


def show_bars(site: Site, request: Request) -> Response:
    """One piece of one attempt's waterfall."""
    query = request.query_params
    view = site.views.get(query.get("id", ""), FRESH_S if query.get("fresh") else RECENT_S)
    number, begin = _number(query.get("attempt")), _number(query.get("from"))
    lane = next((lane for lane in lanes_of(view, _find(request)) if lane.track.attempt.number == number), None)
    bars: tuple[Bar, ...] = ()
    if lane is not None:
        bars = (lane.replayed if query.get("replayed") else lane.ran)[begin : begin + CHUNK]
    template = "_bars.html" if "x-fragment" in request.headers else "bars.html"
    return page(site, request, template, view=view, head=view.head, bars=bars)


def show_step(site: Site, request: Request) -> Response:
    """One step's panel."""
    query = request.query_params
    view = site.views.get(query.get("id", ""), FRESH_S)
    panel = _panel(site, view, query.get("name", ""))
    if panel["step"] is None:
        raise NoSuchStep(view.head.id, query.get("name", ""))
    template = "_step.html" if "x-fragment" in request.headers else "step.html"
    return page(site, request, template, view=view, head=view.head, can=_can(view), **panel)


def show_text(site: Site, request: Request) -> Response:
    """A stored text, whole and tame, as plain text: to show in the page, or to keep as a file."""
    query = request.query_params
    view = site.views.get(query.get("id", ""), RECENT_S)
    part = query.get("part", "")
    text = pretty(_stored(view, part, query.get("step")))
    headers = {"x-robots-tag": "noindex"}
    if query.get("save"):
        headers["content-disposition"] = f'attachment; filename="{part if part in PARTS else "text"}.json"'
    return Response(text, media_type="text/plain", headers=headers)


def lanes_of(view: ExecutionView, find: str = "") -> tuple[Lane, ...]:
    """The attempts, newest first: where it stopped is the last one. `find` leaves the bars it is in, by name or state."""
    lanes: list[Lane] = []
    inline = 0
    for track in reversed(waterfall(view)):
        lane = _lane(track, find.lower())
        inline += min(CHUNK, len(lane.ran))
        lanes.append(lane._replace(is_inline=not lanes or inline <= INLINE))
    return tuple(lanes)


def _lane(track: Track, find: str) -> Lane:
    bars = [bar for bar in track.bars if not find or find in bar.step.lower() or find == bar.state]
    replayed = tuple(bar for bar in bars if bar.is_hollow)
    ran = tuple(bar for bar in bars if not bar.is_hollow)
    ticks = tuple((fold.at + fold.width / 2, f"{duration_text(fold.took_s)} idle") for fold in track.folds)
    return Lane(track, replayed, ran, ticks)


def _find(request: Request) -> str:
    return request.query_params.get("find", "").strip()[:FIND_CHARS]


def _verdict(view: ExecutionView) -> dict[str, Any]:
    """What the first screen answers: where it stopped, why, and with what input."""
    step = step_of(view, view.stopped_at) if view.stopped_at else None
    error = view.error if view.state != "completed" else None
    given = None
    if step is not None and step.arguments:
        given = _payload(view, "arguments", "With what input", step.arguments, step.name)
    return {"step": step, "error": error, "frame": _frame(error), "input": given}


def _frame(error: ErrorView | None) -> str:
    return last_frame(error.traceback) if error is not None else ""


def step_of(view: ExecutionView, name: str) -> StepView | None:
    """The step of that name."""
    return next((step for step in view.steps if step.name == name), None)


def _panel(site: Site, view: ExecutionView, name: str | None) -> dict[str, Any]:
    step = step_of(view, name) if name else None
    if step is None:
        return {"step": None, "payloads": (), "frame": "", "earlier": (), "editable": ""}
    payloads = []
    if step.arguments:
        payloads.append(_payload(view, "arguments", "Input", step.arguments, step.name))
    if step.result is not None:
        payloads.append(_payload(view, "result", "Result", step.result, step.name))
    # Of a step that failed the last failure is the one shown as its error.
    earlier = step.history[:-1] if step.state == "failed" and not step.permanent else step.history
    return {
        "step": step,
        "payloads": tuple(payloads),
        "frame": _frame(step.error),
        "earlier": earlier[::-1],
        "editable": _editable(site, view),
    }


def _can(view: ExecutionView) -> frozenset[str]:
    """The actions that this execution's state has room for; whether they are done, `durably.history.actions` decides."""
    is_over = view.head.status in ("completed", "failed", "cancelled")
    found = {"cancel"} if not is_over else set()
    if view.state != "running":
        found |= {"fork"} if view.head.status == "completed" else {"fork", "redrive", "resolve"}
    return frozenset(found)


def _editable(site: Site, view: ExecutionView) -> str:
    """The event for a fork's form; none where it is large, or might be redacted: that must not be stored in its place."""
    event = view.head.event or ""
    return pretty(event) if len(event) <= EDITABLE_CHARS and not patterns_of(site.store) else ""


def _of_head(view: ExecutionView, part: str, title: str) -> Payload | None:
    text = _stored(view, part, None)
    return _payload(view, part, title, text) if text else None


def _payload(view: ExecutionView, part: str, title: str, text: str, step: str | None = None) -> Payload:
    shown = cut(pretty(text))
    return Payload(title, shown, link("/execution/text", id=view.head.id, step=step, part=part))


def _stored(view: ExecutionView, part: str, name: str | None) -> str | None:
    if name is None:
        return {"event": view.head.event, "result": view.head.result}.get(part)
    step = step_of(view, name)
    if step is None:
        raise NoSuchStep(view.head.id, name)
    return {"arguments": step.arguments, "result": step.result}.get(part)


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else 0
