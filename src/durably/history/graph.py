"""PURE: an execution as a graph: what ran after what, and inside what. The items of a fan-out are one node with counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from .model import ExecutionView, StepState, StepView

NODES_MAX = 200
"""Nodes beside each other in one parent; of a longer row the middle is one node that counts them."""
EDGES_MAX = 64
"""Between two layers of parallel nodes; above that only the last to end leads on."""

_WORST: tuple[StepState, ...] = ("running", "failed", "interrupted", "forgotten", "caught", "done")


class Node(NamedTuple):
    """A step, a fan-out, or the steps left out of a long row. `steps` counts what it stands for."""

    id: str
    label: str
    kind: Literal["step", "fan-out", "left out"]
    state: StepState
    parent: str
    """The id of the node it is inside of, or ""."""
    steps: int
    counts: tuple[tuple[StepState, int], ...]
    began: float
    took_s: float
    first: str
    """The name of its (first) step, to lead there."""


class Edge(NamedTuple):
    """`before` → `after`: in order, beside each other in one parent."""

    before: str
    after: str


class Graph(NamedTuple):
    """Nodes in the order of the steps."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph(view: ExecutionView, most: int = NODES_MAX) -> Graph:
    """The graph of an execution's steps."""
    inside: dict[str, list[StepView]] = {}
    names = {step.name for step in view.steps}
    for step in view.steps:
        inside.setdefault(step.within if step.within in names else "", []).append(step)
    nodes: list[Node] = []
    edges: list[Edge] = []
    made = 0
    todo = [("", "")]
    while todo:
        within, parent = todo.pop()
        whole = _nodes_of(inside.get(within, ()), parent, made)
        made += len(whole)
        row = _shortened(whole, most)
        nodes += row
        edges += _edges(row)
        todo += [(node.first, node.id) for node in reversed(row) if node.kind == "step" and node.first in inside]
    return Graph(tuple(nodes), tuple(edges))


def _nodes_of(steps: Sequence[StepView], parent: str, number: int) -> list[Node]:
    gathered: dict[str, list[StepView]] = {}
    for step in steps:
        gathered.setdefault(step.group or f"\0{step.name}", []).append(step)
    return [_node(members, parent, f"n{number + place}") for place, members in enumerate(gathered.values())]


def _node(members: Sequence[StepView], parent: str, id: str) -> Node:
    first = members[0]
    label = first.group or first.name
    counts = Counter(step.state for step in members)
    began = min(step.began for step in members)
    ended = max(step.ended if step.ended is not None else step.began for step in members)
    worst = next(state for state in _WORST if counts[state])
    return Node(
        id=id,
        label=label,
        kind="fan-out" if first.group else "step",
        state=worst,
        parent=parent,
        steps=len(members),
        counts=tuple(counts.items()),
        began=began,
        took_s=max(0.0, ended - began),
        first=first.name,
    )


def _shortened(row: list[Node], most: int) -> list[Node]:
    if len(row) <= most:
        return row
    head, middle, tail = row[: most // 2], row[most // 2 : -(most // 2)], row[-(most // 2) :]
    counts: Counter[StepState] = Counter()
    for node in middle:
        counts.update(dict(node.counts))
    steps = sum(node.steps for node in middle)
    left_out = middle[0]._replace(
        label=f"{steps:,} more steps",
        kind="left out",
        state=next(state for state in _WORST if counts[state]),
        steps=steps,
        counts=tuple(counts.items()),
        took_s=max(0.0, max(node.began + node.took_s for node in middle) - middle[0].began),
    )
    return [*head, left_out, *tail]


def _edges(row: Sequence[Node]) -> list[Edge]:
    edges: list[Edge] = []
    layers: list[list[Node]] = []
    for node in row:
        if layers and _overlaps(node, layers[-1]):
            layers[-1].append(node)
        else:
            layers.append([node])
    for before, after in pairwise(layers):
        ends = (
            before
            if len(before) * len(after) <= EDGES_MAX
            else [max(before, key=lambda node: node.began + node.took_s)]
        )
        edges += [Edge(one.id, other.id) for one in ends for other in after]
    return edges


def _overlaps(node: Node, layer: Sequence[Node]) -> bool:
    """Whether it began before any of them had ended: then it ran beside them, not after."""
    return node.began < min(other.began + other.took_s for other in layer)
