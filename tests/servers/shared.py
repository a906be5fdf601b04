"""One server of each kind for a whole test run: xdist's workers ask the controller, and the first who asks starts it."""

from __future__ import annotations

import os
import socket
import socketserver
import threading

from . import Server, Unavailable, start

ADDRESS = "DURABLY_TEST_SERVERS"
"""Environment variable: the port of the run's desk, as the controller leaves it to its workers."""


class Desk(socketserver.ThreadingTCPServer):
    """Answers a server's name with its endpoint, or with `!` and why there is none."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visitor)
        self.lock = threading.Lock()
        self.running: dict[str, Server] = {}

    def open(self) -> None:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        os.environ[ADDRESS] = str(self.server_address[1])

    def close(self) -> None:
        os.environ.pop(ADDRESS, None)
        self.shutdown()
        self.server_close()
        for server in self.running.values():
            server.stop()

    def answer(self, name: str) -> str:
        with self.lock:
            try:
                if name not in self.running:
                    self.running[name] = start(name)
            except Unavailable as missing:
                return f"!{missing}"
            return self.running[name].endpoint


class Visitor(socketserver.StreamRequestHandler):
    server: Desk

    def handle(self) -> None:
        name = self.rfile.readline().decode().strip()
        self.wfile.write(self.server.answer(name).encode())


def endpoint(name: str) -> str:
    """The endpoint of this run's server of that name. Raises Unavailable with the reason when there is none."""
    with socket.create_connection(("127.0.0.1", int(os.environ[ADDRESS]))) as desk:
        desk.sendall(f"{name}\n".encode())
        with desk.makefile("rb") as lines:
            answer = lines.read().decode()
    if answer.startswith("!"):
        raise Unavailable(answer[1:])
    return answer
