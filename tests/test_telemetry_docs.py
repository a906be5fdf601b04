"""The outputs in docs/telemetry.md and docs/security.md are what the blocks above them print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk")

from durably.hooks import Event
from durably.telemetry import metrics, spans

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "telemetry.md").read_text()
BLOCKS = [
    (page, code, output)
    for page in ("telemetry.md", "security.md")
    for code, output in re.findall(
        r"```python\n((?:(?!```).)*?)```\n\n```text\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL
    )
]


@pytest.mark.parametrize(("page", "code", "output"), BLOCKS)
def test_a_block_prints_what_stands_below_it(page: str, code: str, output: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout == output, run.stderr


def test_there_are_outputs_to_compare() -> None:
    assert [page for page, _, _ in BLOCKS].count("telemetry.md") == 3
    assert [page for page, _, _ in BLOCKS].count("security.md") >= 1


def test_every_attribute_and_metric_is_documented() -> None:
    names = set()
    for path in (ROOT / "src" / "durably" / "telemetry").glob("*.py"):
        names |= set(re.findall(r'"((?:durably|faas|cloud|messaging|error)\.[a-z._]+)"', path.read_text()))
    inner = {"durably.link", "durably.recover"}
    assert [name for name in sorted(names - inner) if name not in PAGE] == []
    assert spans.Spans is not None
    assert metrics.Metrics is not None


def test_every_event_is_documented() -> None:
    assert [kind.__name__ for kind in Event.__args__ if f"`{kind.__name__}`" not in PAGE] == []
