"""Two DynamoDB-compatible servers that run on this machine: Amazon's DynamoDB Local and ministack.

`make servers` installs them. Nothing here needs pytest: the demo and the benchmarks start servers the same way.
"""

from __future__ import annotations

import functools
import http.client
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any, Self

HERE = Path(__file__).parent
TOOLS = HERE.parent.parent / ".tools"
NAMES = ("dynamodb-local", "ministack")
AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What boto3 wants to know before it talks to a server that checks none of it."""


class Unavailable(Exception):
    """A server that can't run here; its text says what is missing and what to do."""


class Server:
    """A running server. It ends with `stop`, with the `with` block, or with this process, however that dies."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], port: int):
        self.process = process
        self.log = log
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """Close the server's standard input, which ends it; kill it when that takes more than 5 s."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def start(name: str, *, port: int = 0) -> Server:
    """Start the server of that name on a free port, or on this one, and wait until it answers.

    Raises Unavailable where it is not installed, or did not come up.
    """
    process, log = spawn(command(name, port))
    try:
        server = Server(process, log, announced_port(process, log, name))
        answer_once(server.port)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return server


def command(name: str, port: int) -> list[str]:
    """What starts the server; it must print `port <number>` and end at the end of its standard input."""
    home = TOOLS / name
    if name == "dynamodb-local":
        if shutil.which("java") is None:
            raise Unavailable("DynamoDB Local needs Java 17 or later, and there is no `java` here")
        if not (home / "Loopback.class").exists():
            raise Unavailable(f"DynamoDB Local is not installed in {home}: run `make servers`")
        jars = f"{home}{os.pathsep}{home}/DynamoDBLocal.jar{os.pathsep}{home}/DynamoDBLocal_lib/*"
        memory = ["-Xmx1g", "-XX:+UseSerialGC"]
        return ["java", *memory, f"-Djava.library.path={home}/DynamoDBLocal_lib", "-cp", jars, "Loopback", str(port)]
    if name == "ministack":
        python = home / "bin" / "python"
        if not python.exists():
            raise Unavailable(f"ministack is not installed in {home}: run `make servers`")
        return [str(python), str(HERE / "ministack_loopback.py"), str(port)]
    raise Unavailable(f"no server is called {name!r}; there are {', '.join(NAMES)}")


def spawn(command: list[str]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    log = tempfile.TemporaryFile()
    # A session of its own: Ctrl-C reaches us alone, and the server still answers while tests clean up.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
    )
    return process, log


def announced_port(process: subprocess.Popen[bytes], log: IO[bytes], name: str) -> int:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            if line.startswith(b"port "):
                return int(line.split()[1])
    process.wait(timeout=10)
    log.seek(0)
    tail = log.read().decode(errors="replace")[-2000:]
    raise Unavailable(f"{name} ended with exit code {process.returncode} before it was ready:\n{tail}")


def answer_once(port: int) -> None:
    """Make one call: the first is the slow one, and no test should pay for it within its own deadline."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {
        "X-Amz-Target": "DynamoDB_20120810.ListTables",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, "
        "SignedHeaders=host, Signature=0",
    }
    connection.request("POST", "/", b"{}", headers)
    status = connection.getresponse().status
    connection.close()
    if status != 200:
        raise Unavailable(f"the server on port {port} answered its first call with {status}")


def client(endpoint: str, **config: Any) -> Any:
    """A boto3 DynamoDB client on that endpoint that sends every request once: `config` goes to botocore's Config."""
    from botocore.config import Config

    once = {"retries": {"total_max_attempts": 1}, "connect_timeout": 2, "read_timeout": 30, "max_pool_connections": 32}
    return session().client("dynamodb", endpoint_url=endpoint, config=Config(**(once | config)))


@functools.cache
def session() -> Any:
    """One boto3 session: it keeps the service's model, which takes ten times longer to read than a client to make."""
    import boto3

    return boto3.Session(
        aws_access_key_id=AWS_ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=AWS_ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        region_name=AWS_ENVIRONMENT["AWS_DEFAULT_REGION"],
    )
