"""Distance: a relay of bytes that gives every answer some milliseconds late. `python -m benchmarks.relay PORT MILLISECONDS`.

It stands outside the contenders and knows nothing of what they send. A pause inside their processes would have to hook
the code they receive by, and whoever receives by other code would be measured as if its store were near.
Prints `port <number>` and ends at the end of its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


class Far:
    """One server, seen from a distance."""

    def __init__(self, port: int, late_s: float) -> None:
        self.port = port
        self.late_s = late_s

    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until either side ends it."""
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.close()
            return
        asks = asyncio.ensure_future(_copy(reader, upstream))
        # Cancelled when the relay ends, which asyncio's streams would report as a failure of each connection.
        with contextlib.suppress(asyncio.CancelledError):
            await self._copy_late(answers, writer)
        asks.cancel()
        upstream.close()

    async def _copy_late(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        # The pieces of one answer wait at the same time, and timers of one length fire in order.
        while data := await reader.read(1 << 16):
            loop.call_later(self.late_s, writer.write, data)
        loop.call_later(self.late_s, writer.close)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


async def _serve(port: int, late_ms: float) -> None:
    server = await asyncio.start_server(Far(port, late_ms / 1000).visit, "127.0.0.1", 0)
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
