"""PURE: an execution as one HTML file that needs nothing else: to attach to an issue, or to keep.

It has no script, and forbids any by its own policy; every text of a user's is escaped and keeps its writing direction to
itself. Light and dark follow the reader's system.
"""

from __future__ import annotations

import html as markup
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from .model import ErrorView, ExecutionView, StepView
from .rows import Row, rows
from .spans import duration_text, size_text
from .waterfall import Track, waterfall

TEXT_CHARS = 20_000
"""Of one argument list, result or traceback; the rest is said to be left out."""
STEPS_MAX = 2_000
"""Steps told in detail; those that are not done come first."""


def html(view: ExecutionView) -> str:
    """The page."""
    body = [_top(view), *(_attempt(track) for track in waterfall(view)), _details(view)]
    return _PAGE.format(title=text(view.head.id), style=_STYLE, body="\n".join(body))


def text(given: str, longest: int = TEXT_CHARS) -> str:
    """A user's text, escaped; what was cut off is counted. Control characters are shown as signs."""
    left_out = len(given) - longest
    shown = "".join([one if one.isprintable() or one == "\n" else "\ufffd" for one in given[:longest]])
    more = f" … ({left_out:,} more characters)" if left_out > 0 else ""
    return markup.escape(shown + more, quote=True)


def _top(view: ExecutionView) -> str:
    head = view.head
    facts = {
        "function": head.function,
        "id from": head.source,
        "began": _when(head.began),
        "changed": _when(head.updated),
        "kept until": _when(head.expires_at),
    }
    rows = "".join(f"<dt>{name}</dt><dd><bdi>{text(value)}</bdi></dd>" for name, value in facts.items() if value)
    error = "" if view.error is None else _error(view.error)
    texts = _text_block("event", head.event) + (_text_block("result", head.result) if view.error is None else "")
    return (
        f'<header><h1><bdi>{text(head.id)}</bdi> <span class="state {view.state}">{view.state}</span></h1>'
        f'<p class="headline"><bdi>{text(view.headline)}</bdi></p>{error}<dl>{rows}</dl>{texts}</header>'
    )


def _attempt(track: Track) -> str:
    attempt = track.attempt
    how = "killed" if attempt.killed else "running" if attempt.is_live else attempt.how
    told = f"{_when(attempt.began)}, {duration_text(track.took_s)}, {how}"
    folds = ", ".join(duration_text(fold.took_s) for fold in track.folds)
    folded = f" (idle {folds} folded)" if folds else ""
    lines = "".join(_bar(track, row) for row in rows(track))
    return (
        f"<section><h2>attempt {attempt.number}</h2><p><bdi>{text(told)}</bdi>{folded}</p>"
        f'<div class="bars" role="table" aria-label="steps of attempt {attempt.number}">{lines}</div></section>'
    )


def _bar(track: Track, row: Row) -> str:
    counts = ", ".join(f"{count:,} {state}" for state, count in row.counts) if row.steps > 1 else ""
    told = [counts or row.state, duration_text(row.took_s), f"{row.tries} tries" if row.tries > 1 else ""]
    told += [size_text(row.size) if row.size else "", row.error]
    folds = "".join(f'<i class="fold" style="left:{fold.at:.4%};width:{fold.width:.4%}"></i>' for fold in track.folds)
    return (
        f'<div role="row" class="row"><span role="cell" class="name" style="padding-left:{row.depth}em"><bdi>'
        f'{text(row.label, 300)}</bdi></span><span role="cell" class="lane">{folds}<b class="{row.state}" '
        f'style="left:{row.at:.4%};width:max(3px,{row.width:.4%})"></b></span>'
        f'<span role="cell" class="told"><bdi>{text(", ".join(filter(None, told)), 300)}</bdi></span></div>'
    )


def _details(view: ExecutionView) -> str:
    shown, left_out = _most_telling(view.steps)
    more = f"<p>{left_out:,} more steps, all done, are left out.</p>" if left_out else ""
    return f"<section><h2>steps</h2>{''.join(_step(step) for step in shown)}{more}</section>"


def _most_telling(steps: Sequence[StepView]) -> tuple[list[StepView], int]:
    if len(steps) <= STEPS_MAX:
        return list(steps), 0
    kept = [step for step in steps if step.state != "done"][:STEPS_MAX]
    room = STEPS_MAX - len(kept)
    done = {step.name for step in [step for step in steps if step.state == "done"][:room]}
    names = done | {step.name for step in kept}
    return [step for step in steps if step.name in names], len(steps) - len(names)


def _step(step: StepView) -> str:
    took = "" if step.ended is None else duration_text(step.ended - step.began)
    facts = [f"attempt {step.attempt}", took, f"{step.tries} tries" if step.tries > 1 else "", size_text(step.size)]
    opened = " open" if step.state in ("failed", "interrupted") else ""
    inner = _text_block("arguments", step.arguments) + _text_block("result", step.result)
    inner += "" if step.error is None else _error(step.error)
    for failure in step.history:
        if failure.error is not None and failure.error != step.error:
            inner += f"<p>attempt {failure.attempt} failed with</p>{_error(failure.error)}"
    return (
        f"<details{opened}><summary><bdi>{text(step.name, 300)}</bdi> "
        f'<span class="state {step.state}">{step.state}</span> {text(", ".join(one for one in facts if one))}</summary>'
        f"<p>idempotency key <code>{step.idempotency_key}</code></p>{inner}</details>"
    )


def _text_block(name: str, value: str | None) -> str:
    return f'<p>{name}</p><pre dir="auto">{text(value)}</pre>' if value else ""


def _error(error: ErrorView) -> str:
    traceback = f'<pre dir="auto">{text(error.traceback)}</pre>' if error.traceback else ""
    return f'<div class="error"><p><bdi>{text(str(error))}</bdi></p>{traceback}</div>'


def _when(epoch_s: float | None) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if epoch_s else ""


def _colours(states: Iterable[tuple[str, str]]) -> str:
    return "".join(f".state.{name},b.{name}{{background:{colour}}}" for name, colour in states)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title><style>{style}</style></head><body>
{body}
</body></html>
"""

_STYLE = """:root{color-scheme:light dark;--line:#8886;--dim:#666}@media(prefers-color-scheme:dark){:root{--dim:#aaa}}
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:1.5rem 0 .3rem}
p{margin:.3rem 0}.headline{font-size:1.05rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem}
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid var(--line);padding:.5rem;max-height:30rem;overflow:auto}
.row{display:grid;grid-template-columns:minmax(8rem,18rem) 1fr minmax(8rem,20rem);gap:.6rem;content-visibility:auto;
contain-intrinsic-size:auto 1.6rem}.row>span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.told{color:var(--dim);font-size:.85rem}.lane{position:relative;border-left:1px solid var(--line)}
.lane b,.lane i{position:absolute;top:.3rem;height:.9rem;border-radius:2px}
.lane i{border-left:1px dashed var(--line);border-right:1px dashed var(--line);top:0;height:100%}
.lane b.replayed{background:none;outline:1px solid #2c7a46;width:.7rem!important}
.state{font-size:.8rem;padding:.1rem .5rem;border-radius:1rem;color:#fff}
.error{border-left:3px solid #b3261e;padding-left:.8rem;margin:.4rem 0}
details{border-top:1px solid var(--line);padding:.3rem 0}summary{cursor:pointer;overflow-wrap:anywhere}
""" + _colours(
    (
        ("done", "#2c7a46"),
        ("completed", "#2c7a46"),
        ("caught", "#8a6d1a"),
        ("waiting", "#8a6d1a"),
        ("failed", "#b3261e"),
        ("killed", "#7a3f99"),
        ("interrupted", "#7a3f99"),
        ("running", "#1f6f94"),
        ("cancelled", "#555"),
        ("forgotten", "#555"),
    )
)
