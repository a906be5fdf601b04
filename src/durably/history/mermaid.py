"""PURE: the graph as Mermaid text, for a README, an issue or a wiki. Labels are escaped: they hold users' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .graph import Node, graph
from .model import ExecutionView
from .spans import duration_text

_STYLES = """\
  classDef done fill:#d7f0de,stroke:#2c7a46,color:#10331d
  classDef caught fill:#f7ecc9,stroke:#8a6d1a,color:#3d2f06
  classDef failed fill:#f8d7d7,stroke:#a12d2d,color:#450d0d
  classDef interrupted fill:#ecdcf5,stroke:#7a3f99,color:#31123f
  classDef running fill:#d5ecf7,stroke:#1f6f94,color:#082c3d
  classDef forgotten fill:#eeeeee,stroke:#777777,color:#333333"""


def mermaid(view: ExecutionView) -> str:
    """A flowchart, top down; a step with steps inside it is a box around them."""
    drawn = graph(view)
    inside: dict[str, list[Node]] = {}
    for node in drawn.nodes:
        inside.setdefault(node.parent, []).append(node)
    lines = ["flowchart TD", *_inside(inside, "", "  ")]
    lines += [f"  {edge.before} --> {edge.after}" for edge in drawn.edges]
    return "\n".join([*lines, _STYLES]) + "\n"


def escaped(text: str, longest: int = 80) -> str:
    """A text as part of a quoted Mermaid label: what means something to it, or to HTML, by its number."""
    line = " ".join(text.split())
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    return "".join([one if one.isalnum() or one in " .,:/_-+=()…×" else f"#{ord(one)};" for one in line])


def _inside(inside: Mapping[str, Sequence[Node]], parent: str, indent: str) -> list[str]:
    lines = []
    for node in inside.get(parent, ()):
        if node.id in inside:
            lines.append(f'{indent}subgraph {node.id}["{_label(node)}"]')
            lines += _inside(inside, node.id, indent + "  ")
            lines.append(f"{indent}end")
        else:
            opened, closed = ("[[", "]]") if node.kind == "fan-out" else ("[", "]")
            lines.append(f'{indent}{node.id}{opened}"{_label(node)}"{closed}:::{node.state}')
    return lines


def _label(node: Node) -> str:
    told = [escaped(node.label)]
    if node.kind == "fan-out":
        counts = ", ".join(f"{count} {state}" for state, count in node.counts)
        told.append(f"×{node.steps}: {counts}")
    if node.kind == "step" and node.state in ("done", "caught"):
        told.append(duration_text(node.took_s))
    elif node.kind == "step":
        told.append(node.state)
    return "<br/>".join(told)
