"""The peers' own virtual environments under `.tools/bench`, at pinned versions. `python -m benchmarks.peers` makes them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".tools" / "bench"
BOTO3 = "boto3==1.44.8"

PINNED: dict[str, tuple[str, ...]] = {
    "durably": (BOTO3,),
    "seed": (BOTO3,),
    "powertools": (BOTO3, "aws-lambda-powertools==3.37.0"),
    "dbos": ("dbos==3.4.0",),
    "aws": (BOTO3, "aws-durable-execution-sdk-python==3.0.0", "aws-durable-execution-sdk-python-testing==1.4.0"),
    "restate": ("restate-sdk==1.3.0", "hypercorn==0.18.0"),
}
PYTHON = {"aws": "3.13"}
"""The version a peer needs; the rest run on the one that the suite runs on."""

RESTATE_SERVER = "@restatedev/restate-server@1.7.12"


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment."""
    return HOME / peer / "bin" / "python"


def install() -> dict[str, str]:
    """Make what is missing. Returns why a peer is left out, by its name."""
    left_out = {}
    for peer in PINNED:
        try:
            _make(peer)
        except (OSError, subprocess.CalledProcessError) as error:
            told = getattr(error, "stderr", "") or str(error)
            left_out[peer] = told.strip().splitlines()[-1] if told.strip() else str(error)
    _install_ourselves()
    return left_out


def versions(peer: str) -> dict[str, str]:
    """Every package of a peer's environment with its version, and its Python's."""
    listed = _run(str(python_of(peer)), "-m", "pip", "list", "--format", "json")
    found = {one["name"]: one["version"] for one in json.loads(listed) if one["name"] not in ("pip", "setuptools")}
    return {"python": _run(str(python_of(peer)), "-c", "import platform; print(platform.python_version())")} | found


def _make(peer: str) -> None:
    stamp, wanted = HOME / peer / ".installed", "\n".join(PINNED[peer])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"bench: installing {peer}: {', '.join(PINNED[peer])}", file=sys.stderr)
        python = _run(str(ROOT / "scripts" / "find-python"), PYTHON.get(peer, "3.11"))
        shutil.rmtree(HOME / peer, ignore_errors=True)
        _run(python, "-m", "venv", str(HOME / peer))
        _run(str(python_of(peer)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINNED[peer])
        stamp.write_text(wanted)
    if peer == "restate" and not (HOME / peer / "node_modules" / ".bin" / "restate-server").exists():
        (HOME / peer / "package.json").write_text('{"private": true}')
        _run("npm", "install", "--silent", RESTATE_SERVER, cwd=HOME / peer)


def _install_ourselves() -> None:
    """The wheel of the working tree: an editable install would import through a finder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, str(ROOT))
        (wheel,) = Path(folder).glob("durably-*.whl")
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--force-reinstall"]
        _run(str(python_of("durably")), *install, str(wheel))


def _run(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd).stdout.strip()


if __name__ == "__main__":
    for peer, why in install().items():
        print(f"bench: {peer} left out: {why}")
