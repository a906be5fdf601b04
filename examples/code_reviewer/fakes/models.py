"""Fake models: Bedrock's Converse and Anthropic's Messages. Both read the prompt's file and find the planted smells."""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from typing import Any

from .pull_request import SMELLS
from .server import App, Request, Response, wait

PROMPT = re.compile(r'<file path="([^"]+)">\n(.*?)</file>', re.DOTALL)


class Models:
    """Both APIs, counting the calls they were paid for, by file."""

    def __init__(self, app: App, api_key: str, latency: float = 0.0) -> None:
        self.api_key, self.latency = api_key, latency
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        app.add("POST", "/model/([^/]+)/converse", self._converse)
        app.add("POST", "/v1/messages", self._messages)

    def _converse(self, request: Request, model: str) -> Response:
        if "/bedrock/aws4_request" not in request.headers.get("authorization", ""):
            return _aws_error(403, "UnrecognizedClientException", "The security token in the request is invalid.")
        text = _text(json.loads(request.body))
        if text is None:
            return _aws_error(400, "ValidationException", "The text field in the ContentBlock object is blank.")
        answer = self._review(text)
        return Response(
            200,
            {
                "output": {"message": {"role": "assistant", "content": [{"text": answer}]}},
                "stopReason": "end_turn",
                "usage": {
                    "inputTokens": _tokens(text),
                    "outputTokens": _tokens(answer),
                    "totalTokens": _tokens(text) + _tokens(answer),
                },
                "metrics": {"latencyMs": int(self.latency * 1000)},
            },
        )

    def _messages(self, request: Request) -> Response:
        if request.headers.get("x-api-key") != self.api_key:
            return _anthropic_error(401, "authentication_error", "invalid x-api-key")
        asked = json.loads(request.body)
        text = _text(asked)
        missing = [name for name in ("model", "max_tokens") if name not in asked]
        if "anthropic-version" not in request.headers or missing or text is None:
            return _anthropic_error(400, "invalid_request_error", f"version, messages or {missing}: Field required")
        answer = self._review(text)
        return Response(
            200,
            {
                "id": "msg_01",
                "type": "message",
                "role": "assistant",
                "model": asked["model"],
                "content": [{"type": "text", "text": answer}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": _tokens(text), "output_tokens": _tokens(answer)},
            },
        )

    def _review(self, prompt: str) -> str:
        """The model at work: it is paid for as soon as it begins."""
        match = PROMPT.search(prompt)
        if match is None:
            return "I see no file here."
        path, text = match.groups()
        with self._lock:
            self.calls[path] += 1
        wait(self.latency * random.Random(path).uniform(0.5, 1.5))
        found = [
            {"line": number, "severity": smell[0], "text": smell[1]}
            for number, line in enumerate(text.split("\n"), 1)
            if (smell := SMELLS.get(line.strip()))
        ]
        # Models like to say a word before the JSON they were asked for.
        return f"Here is my review:\n```json\n{json.dumps(found)}\n```"


def _text(asked: dict[str, Any]) -> str | None:
    """The user's message, in either API's shape; None when there is none."""
    messages = asked.get("messages") or []
    if not messages or messages[0].get("role") != "user":
        return None
    content = messages[0].get("content")
    text = content if isinstance(content, str) else "".join(block.get("text", "") for block in content or [])
    return text or None


def _tokens(text: str) -> int:
    return len(text) // 4


def _aws_error(status: int, code: str, message: str) -> Response:
    return Response(status, {"message": message}, {"x-amzn-errortype": code})


def _anthropic_error(status: int, code: str, message: str) -> Response:
    return Response(status, {"type": "error", "error": {"type": code, "message": message}})
