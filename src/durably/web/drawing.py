"""PURE: an execution's graph as boxes and arrows with places, ready for SVG. From top to bottom, as code reads.

Steps that ran beside each other stand beside each other; what ran inside a step stands inside its box.
"""

from __future__ import annotations

from typing import NamedTuple

from ..history.graph import Edge, Graph, Node, graph
from ..history.model import ExecutionView
from ..history.spans import duration_text

BOX_W, BOX_H = 232, 46
GAP_X, GAP_Y = 20, 30
PAD, HEADER_H = 14, 52
ACROSS = 4
"""Boxes beside each other; more go into the next row."""
LABEL_CHARS = 27


class Box(NamedTuple):
    """A node and its place, in pixels."""

    node: Node
    x: int
    y: int
    width: int
    height: int
    label: str
    note: str
    is_container: bool


class Arrow(NamedTuple):
    """From the foot of a box to the head of another."""

    path: str


class Drawing(NamedTuple):
    """Boxes, the outer ones first, and arrows."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


class _Size(NamedTuple):
    width: int
    height: int


def draw(view: ExecutionView) -> Drawing:
    """The drawing of an execution's graph."""
    layout = _Layout(graph(view))
    size = layout.size_of("")
    layout.place("", PAD, PAD)
    boxes = tuple(layout.boxes)
    return Drawing(size.width + 2 * PAD, size.height + 2 * PAD, boxes, _arrows(layout.graph.edges, boxes))


class _Layout:
    """Sizes from the inside out, then places from the outside in."""

    def __init__(self, whole: Graph) -> None:
        self.graph = whole
        self.boxes: list[Box] = []
        self._inside: dict[str, list[Node]] = {}
        for node in whole.nodes:
            self._inside.setdefault(node.parent, []).append(node)
        levels = _levels(whole)
        self._rows = {parent: _rows(nodes, levels) for parent, nodes in self._inside.items()}
        self._sizes: dict[str, _Size] = {}

    def size_of(self, parent: str) -> _Size:
        """Of all that is inside a node; of the whole for ""."""
        if parent not in self._sizes:
            rows = self._rows.get(parent, [])
            widths = [sum(self._box(node).width for node in row) + GAP_X * (len(row) - 1) for row in rows]
            heights = [max(self._box(node).height for node in row) for row in rows]
            self._sizes[parent] = _Size(max(widths, default=0), sum(heights) + GAP_Y * max(0, len(rows) - 1))
        return self._sizes[parent]

    def place(self, parent: str, x: int, y: int) -> None:
        """Put what is inside a node there, each row in the middle."""
        whole = self.size_of(parent)
        for row in self._rows.get(parent, []):
            width = sum(self._box(node).width for node in row) + GAP_X * (len(row) - 1)
            left = x + (whole.width - width) // 2
            for node in row:
                size = self._box(node)
                has_children = node.id in self._rows
                self.boxes.append(_box_of(node, left, y, size, has_children))
                if has_children:
                    inner = self.size_of(node.id)
                    self.place(node.id, left + (size.width - inner.width) // 2, y + HEADER_H)
                left += size.width + GAP_X
            y += max(self._box(node).height for node in row) + GAP_Y

    def _box(self, node: Node) -> _Size:
        if node.id not in self._rows:
            return _Size(BOX_W, BOX_H)
        inner = self.size_of(node.id)
        return _Size(max(BOX_W, inner.width + 2 * PAD), inner.height + HEADER_H + PAD)


def _levels(whole: Graph) -> dict[str, int]:
    """How many boxes deep each node stands in its parent: nodes come in order, so edges lead on only."""
    before: dict[str, list[str]] = {}
    for edge in whole.edges:
        before.setdefault(edge.after, []).append(edge.before)
    levels: dict[str, int] = {}
    for node in whole.nodes:
        levels[node.id] = max((levels.get(id, 0) + 1 for id in before.get(node.id, ())), default=0)
    return levels


def _rows(nodes: list[Node], levels: dict[str, int]) -> list[list[Node]]:
    by_level: dict[int, list[Node]] = {}
    for node in nodes:
        by_level.setdefault(levels[node.id], []).append(node)
    return [row[at : at + ACROSS] for _, row in sorted(by_level.items()) for at in range(0, len(row), ACROSS)]


def _box_of(node: Node, x: int, y: int, size: _Size, is_container: bool) -> Box:
    label = node.label if len(node.label) <= LABEL_CHARS else node.label[: LABEL_CHARS - 1] + "…"
    return Box(node, x, y, size.width, size.height, label, _note(node), is_container)


def _note(node: Node) -> str:
    took = duration_text(node.took_s)
    if node.steps == 1 and node.kind == "step":
        return took if node.state == "done" else f"{node.state} · {took}"
    counts = ", ".join(f"{count:,} {state}" for state, count in node.counts)
    return f"{counts} · {took}"


def _arrows(edges: tuple[Edge, ...], boxes: tuple[Box, ...]) -> tuple[Arrow, ...]:
    by_id = {box.node.id: box for box in boxes}
    return tuple(Arrow(_path(by_id[edge.before], by_id[edge.after])) for edge in edges)


def _path(before: Box, after: Box) -> str:
    x, y = before.x + before.width // 2, before.y + before.height
    to_x, to_y = after.x + after.width // 2, after.y - 5
    middle = (y + to_y) // 2
    return f"M{x} {y}C{x} {middle} {to_x} {middle} {to_x} {to_y}"
