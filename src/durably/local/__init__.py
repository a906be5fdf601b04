"""Lambda on your desk: a handler in the real awslambdaric, against a Runtime API server of ours."""

from .function import LocalLambda
from .news import News
from .outcome import Outcome
from .payloads import Refused
from .sandbox import Sandbox
from .stops import Stop, stop_at

__all__ = ["LocalLambda", "News", "Outcome", "Refused", "Sandbox", "Stop", "stop_at"]
