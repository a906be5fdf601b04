"""The environment of a sandbox, as Lambda sets it, and names and ARNs that look like Lambda's."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.machinery import PathFinder
from pathlib import Path

from ..errors import DurablyError

REGION = "us-east-1"
ACCOUNT = "000000000000"


def region() -> str:
    """The region that everything here pretends to be in."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION


def function_name(handler: str) -> str:
    """What a handler is called when nobody named it: `app.handler` is `app`, `app.review` is `review`."""
    module, _, attribute = handler.rpartition(".")
    usual = attribute in ("handler", "lambda_handler", "main")
    return module.replace("/", ".").rpartition(".")[2] if usual and module else attribute or handler


def function_arn(name: str) -> str:
    """The ARN that the context shows."""
    return f"arn:aws:lambda:{region()}:{ACCOUNT}:function:{name}"


def require_runtime(code: Path) -> None:
    """Raises DurablyError where no process could find Lambda's runtime client, or one that is too old. It imports nothing."""
    found = PathFinder.find_spec("awslambdaric", [str(code), *sys.path])
    places = list(found.submodule_search_locations or ()) if found is not None else []
    if not any((Path(place) / "lambda_config.py").exists() for place in places):
        what = "awslambdaric is older than version 4" if places else "awslambdaric is missing"
        raise DurablyError(f"{what}. Install the local Lambda with: pip install 'durably[local]'")


def sandbox_environment(
    handler: str, name: str, memory_mb: int, code: Path, *, given: Mapping[str, str], fallback: Mapping[str, str]
) -> dict[str, str]:
    """What holds where nobody set it, the parent's environment, Lambda's variables, the function's own; the last wins."""
    stream = f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{uuid.uuid4().hex}"
    lambdas = {
        "_HANDLER": handler,
        "AWS_DEFAULT_REGION": region(),
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "AWS_REGION": region(),
        "LAMBDA_RUNTIME_DIR": str(Path(__file__).parent),
        "LAMBDA_TASK_ROOT": str(code),
        "TZ": os.environ.get("TZ", ":UTC"),
    }
    return {**fallback, **os.environ, **lambdas, **given}
