"""Handlers for the local Lambda's tests. Plain ones: nothing here imports durably."""

import json
import logging
import os
import signal
import subprocess
import sys
import time

calls = 0


def echo(event, context):
    return event


def modules(event, context):
    return sorted(name for name in sys.modules if name.split(".")[0] == "durably")


def count(event, context):
    global calls
    calls += 1
    return {"calls": calls, "pid": os.getpid(), "request_id": context.aws_request_id}


def tell(event, context):
    names = [name for name in os.environ if name.startswith(("AWS_", "LAMBDA_", "_"))]
    return {
        "environment": {name: os.environ[name] for name in names},
        "function_name": context.function_name,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "request_id": context.aws_request_id,
        "remaining": context.get_remaining_time_in_millis(),
        "client": context.client_context and context.client_context.custom,
        "cwd": os.getcwd(),
        "path": sys.path[0],
    }


def write(event, context):
    print("first line")
    logging.getLogger().warning("a warning")
    print("to stderr", file=sys.stderr)
    return "written"


def fail(event, context):
    note(event, context)
    raise ValueError("no such thing")


def fail_until(event, context):
    note(event, context)
    with open(event["file"]) as lines:
        if len(list(lines)) < event["times"]:
            raise ValueError("not yet")
    return "at last"


def note(event, context):
    if isinstance(event, dict) and "file" in event:
        with open(event["file"], "a") as file:
            file.write(context.aws_request_id + "\n")


def sleep(event, context):
    note(event, context)
    time.sleep(event["seconds"])
    if "file" in event:
        with open(event["file"], "a") as file:
            file.write("slept\n")
    return os.getpid()


def wait_for(event, context):
    print("waiting")
    while not os.path.exists(event["until"]):
        time.sleep(0.005)


def parent(event, context):
    child = subprocess.Popen(["sleep", "60"], start_new_session=event.get("escapes", False))
    with open(event["file"], "w") as file:
        file.write(str(child.pid))
    time.sleep(60)


def daemon(event, context):
    """Leaves one in a session of its own whose parent has ended, and ends as well if it is told to."""
    done = subprocess.run(["sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo $!"], stdout=subprocess.PIPE, text=True)
    with open(event["file"], "w") as file:
        file.write(done.stdout)
    if event["ends"]:
        os._exit(0)


def exit(event, context):
    os._exit(event["code"])


def kill(event, context):
    os.kill(os.getpid(), signal.SIGSEGV)


def no_json(event, context):
    return {1, 2}


def some_bytes(event, context):
    return b"\x00\x01"


def large(event, context):
    return "x" * event["bytes"]


def memory(event, context):
    return len(bytearray(event["mb"] * 1024 * 1024))


def batch(event, context):
    """Fails the messages whose bodies say so; `after: n` succeeds at the n-th receive."""
    failures = []
    for record in event["Records"]:
        body = json.loads(record["body"])
        if int(record["attributes"]["ApproximateReceiveCount"]) < body.get("after", 1):
            failures.append({"itemIdentifier": record["messageId"]})
        if body.get("raise"):
            raise ValueError("the batch fails")
    return {"batchItemFailures": failures}
