"""The order of the house as data: each module imports only what stands above it, and the core only the standard library."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "durably"

LAYERS = (
    ("errors", "clock", "naming", "redaction"),
    ("codec",),
    ("entries",),
    ("claims", "journal", "identity"),
    ("stores",),
    ("events", "hooks", "timer", "lease", "appender", "retry", "options", "recording", "outcomes"),
    ("attempt",),
    ("program", "current"),
    ("steps", "plan", "fan"),
    ("execution",),
    ("fanout", "blocks", "handlers"),
    ("decorator",),
    ("aio", "__init__"),
    # The core ends here: what follows knows it, never the reverse.
    ("history", "infra", "telemetry"),
    ("local", "testing"),
    ("web",),
    ("cli",),
)
"""From the ground up. Modules of one layer may use each other where no circle comes of it."""

RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
CORE = {name for layer in LAYERS[: LAYERS.index(("aio", "__init__")) + 1] for name in layer}
ONLY_WITH_A_DYNAMODB_STORE = {"boto3", "botocore"}


def module_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[str]:
    """Absolute names of everything the file imports, `durably.x` for what is ours."""
    package = ["durably", *path.relative_to(SOURCE).parts[:-1]]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            found += [name] if node.module else [f"{name}.{alias.name}" for alias in node.names]
    return found


def ours(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "durably" and len(parts) > 1 else None


def test_every_module_has_its_place_in_the_order() -> None:
    assert {module_of(path) for path in SOURCE.rglob("*.py")} == set(RANK)


def test_a_module_imports_only_what_stands_above_it() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        me = module_of(path)
        used = {name for name in map(ours, imports_of(path)) if name is not None and name != me}
        wrong += [f"{me} imports {name}" for name in used if RANK[name] > RANK[me]]
    assert wrong == []


def test_the_core_imports_the_standard_library_alone() -> None:
    foreign = set()
    for path in (path for path in SOURCE.rglob("*.py") if module_of(path) in CORE):
        names = (
            {name.split(".")[0] for name in imports_of(path)}
            - {"durably"}
            - sys.stdlib_module_names
            - {"annotationlib"}
        )  # the standard library from 3.14 on
        allowed = (
            ONLY_WITH_A_DYNAMODB_STORE if "dynamodb" in path.parts else {"pydantic"} if "codec" in path.parts else set()
        )
        foreign |= {f"{path.name}: {name}" for name in names - allowed}
    assert foreign == set()


def test_the_pure_modules_read_no_clock_and_do_no_io() -> None:
    impure = {"time", "os", "threading", "socket", "sqlite3", "random", "pathlib", "logging"}
    for name in ("journal.py", "claims.py", "entries.py"):
        assert not impure & {one.split(".")[0] for one in imports_of(SOURCE / name)}, name
