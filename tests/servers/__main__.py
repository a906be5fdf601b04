"""`python -m tests.servers [name …]`: run the servers until Ctrl-C, and say where they are."""

from __future__ import annotations

import contextlib
import signal
import sys

from . import AWS_ENVIRONMENT, NAMES, Unavailable, start


def main(names: list[str]) -> int:
    with contextlib.ExitStack() as running:
        for name in names or NAMES:
            try:
                print(f"{name:15} {running.enter_context(start(name)).endpoint}", flush=True)
            except Unavailable as missing:
                print(f"{name:15} {missing}", file=sys.stderr)
                if names:
                    return 1
        print("export", *(f"{key}={value}" for key, value in AWS_ENVIRONMENT.items()), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
