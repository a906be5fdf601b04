"""What every test may ask for: an AWS environment that leads nowhere, the two DynamoDB servers, the fault layer."""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Callable, Iterator

import pytest

pytest.register_assert_rewrite("tests.contract", "tests.stores_for_tests")

from .servers import AWS_ENVIRONMENT, NAMES, Unavailable, shared  # noqa: E402  (after the line above)
from .servers.faults import FaultProxy  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        # A suite begun by nohup, or behind a script's `&`, ignores them, and so would every process that it starts.
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    is_xdist_worker = hasattr(config, "workerinput")
    if not is_xdist_worker:
        desk = shared.Desk()
        desk.open()
        config.add_cleanup(desk.close)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """An async test runs on a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


@pytest.fixture(scope="session", autouse=True)
def aws_environment() -> Iterator[None]:
    """Credentials for nobody: a call that misses our servers must not reach an account."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_REGION"):
            patch.delenv(name, raising=False)
        for name, value in AWS_ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def dynamodb_local() -> str:
    """The endpoint of Amazon's DynamoDB Local."""
    return endpoint_or_skip("dynamodb-local")


@pytest.fixture(scope="session")
def ministack() -> str:
    """The endpoint of ministack."""
    return endpoint_or_skip("ministack")


@pytest.fixture(scope="session", params=NAMES)
def dynamodb_endpoint(request: pytest.FixtureRequest) -> str:
    """The endpoint of each server in turn; state is shared by the whole run, so name your table like nobody else's."""
    return endpoint_or_skip(request.param)


@pytest.fixture
def fault_proxy() -> Iterator[Callable[[str], FaultProxy]]:
    """`fault_proxy(endpoint)` is a fault layer before that server, gone after the test."""
    proxies: list[FaultProxy] = []

    def before(endpoint: str) -> FaultProxy:
        proxies.append(FaultProxy(endpoint))
        return proxies[-1]

    yield before
    for proxy in proxies:
        proxy.close()


def endpoint_or_skip(name: str) -> str:
    try:
        return shared.endpoint(name)
    except Unavailable as missing:
        pytest.skip(str(missing))
