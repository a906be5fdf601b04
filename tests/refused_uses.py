"""Uses that a type checker must refuse, a line each. `test_types.py` runs mypy on this file; nothing else does."""

from durably import fan_out, step
from tests.typed_uses import decorated, handler, post


def post_one(number: int) -> int:
    return number


step("post", post, "acme/app", "7")  # refused: the number is an int
step("post", post, "acme/app", 7, retries=3)  # refused: no such option
step("post", post, "acme/app", 7, reserve=3)  # refused: durations are timedelta
decorated("1")  # refused: the number is an int
handler({})  # refused: the context is missing
fan_out("n", post_one, ["a"])  # refused: the function takes an int
