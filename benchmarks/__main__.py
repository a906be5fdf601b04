"""`python -m benchmarks [--only SECTION …] [--rounds N]`: measure, and write results.json, RESULTS.md and the pictures."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import contenders, machine, peers, pictures, report
from .sections import SECTIONS

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*SECTIONS, "report"], default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of the small works (5)")
    asked = parser.parse_args(arguments)
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"sections": {}}
    if asked.only != ["report"]:
        run(asked.only, asked.rounds, results)
    report.write(results, HERE / "RESULTS.md")
    pictures.write(results, HERE / "pictures")
    return 0


def run(names: list[str], rounds: int, results: dict[str, Any]) -> None:
    """Measure these sections and put each into the results as soon as it is there."""
    missing = peers.install()
    results["machine"] = machine.describe()
    results["versions"] = {peer: peers.versions(peer) for peer in peers.PINNED if peer not in missing}
    with ExitStack() as running:
        stage = contenders.set_up(running, missing)
        results["left_out"] = {}
        for name in names:
            if name == "report":
                continue
            began = time.monotonic()
            found = SECTIONS[name](stage, rounds)
            took = time.monotonic() - began
            commit = results["machine"]["commit"] + (" and changes" if results["machine"]["changed"] else "")
            of = {"date": machine.now(), "commit": commit, "took_s": round(took, 1)}
            results["sections"][name] = of | found
            results["left_out"] = stage.left_out
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            print(f"bench: {name} took {took:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
