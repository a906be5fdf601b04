"""What the type checker says of code that uses durably wrongly: each such line is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REFUSED = ROOT / "tests" / "refused_uses.py"


@pytest.mark.slow
def test_a_type_checker_refuses_wrong_arguments_and_options() -> None:
    lines = REFUSED.read_text().splitlines()
    expected = {number for number, line in enumerate(lines, start=1) if "# refused" in line}
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", str(REFUSED)], cwd=ROOT, capture_output=True, text=True
    )
    found = {
        int(line.split(":")[1]) for line in run.stdout.splitlines() if "refused_uses.py" in line and " error: " in line
    }
    assert len(expected) >= 6
    assert found == expected, run.stdout
