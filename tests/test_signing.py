"""Our signature is botocore's, for every request of our shape: the servers of this suite check none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from durably import DynamoDBStore, StoreError
from durably.stores.dynamodb.signing import CONTENT_TYPE, Signer
from durably.stores.dynamodb.wire import host_header

from .contract import UNTIL, SessionAt

printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=200)
URLS = [
    "https://dynamodb.eu-central-1.amazonaws.com",
    "https://123456789012.ddb.us-east-1.amazonaws.com",
    "http://localhost:8000",
    "http://127.0.0.1:80",
    "https://[::1]:4566",
    "https://Example.COM:443",
]


def of_botocore(url: str, region: str, target: str, body: bytes, credentials: Any) -> tuple[dict[str, str], float]:
    headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": target}
    request = AWSRequest("POST", f"{url}/", headers=headers, data=body)
    SigV4Auth(credentials, "dynamodb", region).add_auth(request)
    signed = {name.lower(): value for name, value in request.headers.items()}
    at = datetime.strptime(signed["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return signed, at.timestamp()


@given(
    url=st.sampled_from(URLS),
    region=st.sampled_from(["us-east-1", "eu-central-1", "cn-north-1"]),
    body=st.binary(max_size=500),
    access=printable,
    secret=printable,
    token=st.none() | printable,
)
def test_a_signature_is_the_one_that_botocore_makes(
    url: str, region: str, body: bytes, access: str, secret: str, token: str | None
) -> None:
    credentials = ReadOnlyCredentials(access, secret, token)
    theirs, at = of_botocore(url, region, "DynamoDB_20120810.PutItem", body, credentials)
    lines = Signer(host_header(url), region).headers("DynamoDB_20120810.PutItem", body, credentials, at)
    ours = dict(line.split(":", 1) for line in lines.removesuffix("\r\n").split("\r\n"))
    assert ours.pop("host") == host_header(url)
    assert ours == theirs


def test_the_key_follows_the_day_and_the_secret() -> None:
    signer = Signer("dynamodb.us-east-1.amazonaws.com", "us-east-1")
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
    for now, secret in [(noon, "a"), (noon, "b"), (noon + 86_400, "b"), (noon, "a")]:
        fresh = Signer("dynamodb.us-east-1.amazonaws.com", "us-east-1")
        credentials = ReadOnlyCredentials("id", secret, None)
        assert signer.headers("T", b"{}", credentials, now) == fresh.headers("T", b"{}", credentials, now)


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://Example.COM:443", "example.com"), ("http://[::1]:8000", "[::1]:8000"), ("http://h:443", "h:443")],
)
def test_a_host_is_told_as_it_is_signed(url: str, host: str) -> None:
    assert host_header(url) == host


@pytest.mark.parametrize("credentials", [("key\n", "secret", None), ("key", "secret", "token\r\nx-evil: 1")])
def test_a_line_break_in_credentials_is_refused_before_it_is_sent(
    credentials: tuple[str, str, str | None], dynamodb_local: str
) -> None:
    session: Any = SessionAt(dynamodb_local)
    session.get_credentials = lambda: Credentials(*credentials)
    store = DynamoDBStore("any", session=session)
    with pytest.raises(StoreError, match=r"line break.*AWS_ACCESS_KEY_ID"):
        store.read("x", until=UNTIL)
