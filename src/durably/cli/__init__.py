"""The command `durably` (extra `durably[cli]`): one module a group of commands, loaded when it is asked for."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Says which extra is missing where click or rich is."""
    try:
        from .app import durably
    except ModuleNotFoundError as missing:
        if missing.name not in ("click", "rich"):
            raise
        sys.exit(f"durably: {missing.name} is missing. Install the command line with: pip install 'durably[cli]'")
    durably(prog_name="durably")
