"""A little SVG: a card that is readable on light and dark pages, with bars, lines and text on it."""

from __future__ import annotations

from html import escape

WIDTH = 760

STYLE = """
  .card { fill: #ffffff; stroke: #d0d7de; }
  text { font: 13px -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .note, .axis { fill: #59636e; font-size: 12px; }
  .number { font-variant-numeric: tabular-nums; }
  .ours { fill: #0a7f5a; } .theirs { fill: #a3b1bf; } .group { font-weight: 600; fill: #59636e; font-size: 12px; }
  .ours-line { stroke: #0a7f5a; } .line-2 { stroke: #b35900; } .line-3 { stroke: #5a63c8; }
  .ours-dot { fill: #0a7f5a; } .dot-2 { fill: #b35900; } .dot-3 { fill: #5a63c8; }
  .grid { stroke: #d8dee4; }
  path { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #151b23; stroke: #3d444d; }
    text { fill: #f0f6fc; }
    .note, .axis, .group { fill: #9198a1; }
    .ours { fill: #2fbf8f; } .theirs { fill: #59636e; }
    .ours-line { stroke: #2fbf8f; } .line-2 { stroke: #f0a35e; } .line-3 { stroke: #9aa4ff; }
    .ours-dot { fill: #2fbf8f; } .dot-2 { fill: #f0a35e; } .dot-3 { fill: #9aa4ff; }
    .grid { stroke: #3d444d; }
  }
"""


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def bar(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(1.5, width):.1f}" height="{height:.1f}" rx="2" class="{style}"/>'


def line(points: list[tuple[float, float]], style: str) -> str:
    way = " ".join(f"{'L' if number else 'M'}{x:.1f} {y:.1f}" for number, (x, y) in enumerate(points))
    return f'<path d="{way}" class="{style}"/>'


def dot(x: float, y: float, style: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="{style}"/>'


def rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="grid"/>'


def card(title: str, note: str, height: float, parts: list[str]) -> str:
    """The whole picture; `title` is also what a screen reader says."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
            f'height="{height:.0f}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="8" class="card"/>',
            text(20, 30, title, "title"),
            text(20, 50, note, "note"),
            *parts,
            "</svg>\n",
        ]
    )
