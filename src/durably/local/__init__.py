"""Lambda on your desk: a handler in the real awslambdaric, against a Runtime API server of ours."""

from .batches import Drained, QueueMapping
from .function import LocalLambda
from .news import News
from .outcome import Outcome
from .payloads import Refused
from .sandbox import Sandbox
from .stops import Mischief, Stop, stop_at

__all__ = [
    "Drained",
    "LocalLambda",
    "Mischief",
    "News",
    "Outcome",
    "QueueMapping",
    "Refused",
    "Sandbox",
    "Stop",
    "stop_at",
]
