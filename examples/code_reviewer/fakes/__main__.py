"""The fakes in a process of their own: `python -m examples.code_reviewer.fakes --files 300`. Prints their address."""

from __future__ import annotations

import argparse
import sys

from . import Fakes, pull_request, serving


def main() -> None:
    """Serve until stdin is closed, so that the fakes never outlive whoever started them."""
    arguments = argparse.ArgumentParser(prog="python -m examples.code_reviewer.fakes", description=__doc__)
    arguments.add_argument("--files", type=int, default=300)
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--github-ms", type=float, default=20)
    arguments.add_argument("--model-ms", type=float, default=250)
    arguments.add_argument("--limit-every", type=int, default=0, help="refuse each so many content reads: rate limit")
    asked = arguments.parse_args()
    fakes = Fakes(
        pull_request(asked.files),
        github_s=asked.github_ms / 1000,
        model_s=asked.model_ms / 1000,
        limit_every=asked.limit_every,
    )
    with serving(fakes.app, asked.port) as url:
        print(url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
