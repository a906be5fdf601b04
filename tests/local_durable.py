"""Durable handlers for the local Lambda's tests. Effects are lines in a file."""

import json
import os
import time

from durably import NOT_DONE, Fatal, durable, fan_out, step


def effect(file, name):
    with open(file, "a") as lines:
        lines.write(name + "\n")
    return name


def done(file, name):
    if not os.path.exists(file):
        return NOT_DONE
    with open(file) as lines:
        return name if name + "\n" in lines else NOT_DONE


@durable(id=lambda event, context: event["id"], name="plain")
def handler(event, context):
    """Three steps, at least once each, then a fan-out."""
    file = event["file"]
    step("first", effect, file, "first")
    step("second", effect, file, "second")
    fan_out("item", lambda one: effect(file, one), ["a", "b"])
    return "done"


@durable(id=lambda event, context: event["id"], name="recovering")
def recovering(event, context):
    """Exactly once, however it dies."""
    file = event["file"]
    step("first", effect, file, "first", recover=lambda: done(file, "first"))
    step("second", effect, file, "second", recover=lambda: done(file, "second"))
    return "done"


@durable(id=lambda event, context: event["id"], name="slow")
def slow(event, context):
    """Long enough for another delivery to come by."""
    step("slow", sleep, event["file"], event["seconds"])
    return "done"


def sleep(file, seconds):
    effect(file, "began")
    time.sleep(seconds)
    effect(file, "ended")


@durable(id=lambda event, context: event["id"], name="fatal")
def fatal(event, context):
    raise Fatal("never again")


def messages(event, context):
    """Each message is an execution of its own."""
    failures = []
    for record in event["Records"]:
        try:
            message(record, context)
        except Exception:
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


@durable(name="message")
def message(record, context):
    body = json.loads(record["body"])
    step("effect", effect, body["file"], body["name"], recover=lambda: done(body["file"], body["name"]))


@durable(id=lambda event, context: event["id"], name="plain")
def needs_bank(event, context):
    """Fails, for good where the event says so, until the bank is open."""
    step("order", effect, event["file"], f"order-{event['id']}")
    if not os.path.exists(event["bank"]):
        raise Fatal("the bank is closed") if event.get("fatal") else ConnectionError("the bank is closed")
    return step("charge", effect, event["file"], f"charge-{event['id']}")
