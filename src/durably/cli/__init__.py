"""The command `durably` (extra `durably[cli]`): one module a group of commands, loaded when it is asked for."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line. Says which extra is missing where click or rich is."""
    try:
        from .app import durably
    except ModuleNotFoundError as missing:
        if missing.name not in ("click", "rich"):
            raise
        sys.exit(f"durably: {missing.name} is missing. Install the command line with: pip install 'durably[cli]'")
    for stream in (sys.stdout, sys.stderr):
        # A pipe or a terminal of another encoding lacks the bars, and some of what users stored: a "?" there, no traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    durably(prog_name="durably")
