"""ministack on 127.0.0.1 alone; runs in ministack's own virtual environment, not in ours.

Takes a free port, prints it, and ends when standard input does, so that it never outlives whoever started it.
"""

import asyncio
import os
import socket
import sys
import threading


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    port = listener.getsockname()[1]
    os.environ |= {"GATEWAY_PORT": str(port), "SERVICES": "dynamodb", "LOG_LEVEL": "WARNING"}
    os.environ |= {"IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0", "DOCKER_HOST": "unix:///nowhere"}

    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    print(f"port {port}", flush=True)
    os.dup2(2, 1)  # whoever started us stops reading here
    asyncio.run(serve(app, config))


def end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
