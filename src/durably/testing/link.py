"""The line between a sandbox's process and the kit: a question a point, and no answer for the dead."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

VARIABLE = "_CRASH_KIT_LINK"
"""Holds the path of the kit's socket in the sandbox's environment."""

Message = dict[str, Any]


class Asker:
    """The process's end. One question at a time, each answered before the process goes on."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()

    def ask(self, question: Message) -> Message:
        """The kit's answer. It never returns to a process that is to die."""
        with self._lock:
            self._socket.sendall(json.dumps(question).encode() + b"\n")
            answer: Message = json.loads(self._lines.readline() or "{}")
        return answer


class Switchboard:
    """The kit's end: a thread for each process that called. `answer` gives None to a process that is to die."""

    def __init__(self, path: Path, answer: Callable[[Message], Message | None]) -> None:
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(16)
        threading.Thread(target=self._accept, name="durably-switchboard", daemon=True).start()

    def close(self) -> None:
        """Take no more calls."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="durably-switchboard", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                answer = self._answer(json.loads(line))
                if answer is not None:
                    connection.sendall(json.dumps(answer).encode() + b"\n")
