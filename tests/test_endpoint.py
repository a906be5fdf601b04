"""The endpoint that is found without a client is the one that boto3's client has."""

from __future__ import annotations

from pathlib import Path

import boto3
import botocore.session
import pytest

from durably import DynamoDBStore
from durably.stores.dynamodb.endpoint import known_endpoint

from .contract import UNTIL

SESSION = boto3.session.Session()
PARTITIONS = botocore.session.get_session().get_available_partitions()
REGIONS = [
    region
    for partition in PARTITIONS
    for region in SESSION.get_available_regions("dynamodb", partition)
    if region != "local"
]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


PROFILES = """
[profile elsewhere]
endpoint_url = http://localhost:3
region = us-east-1
[profile region]
region = eu-west-1
[profile services]
services = mine
region = us-east-1
[services mine]
dynamodb =
  endpoint_url = http://localhost:4
"""


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_that_is_known_has_botocores_endpoint(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    known = known_endpoint(botocore.session.get_session())
    assert known is None or known == SESSION.client("dynamodb", region).meta.endpoint_url


def test_the_regions_of_lambda_need_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    known = []
    for region in SESSION.get_available_regions("dynamodb"):
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        known.append(known_endpoint(botocore.session.get_session()) is not None)
    assert len(known) > 25
    assert all(known)


@pytest.mark.parametrize(
    ("environment", "needs_client"),
    [
        ({}, False),
        ({"AWS_ENDPOINT_URL": "http://localhost:1"}, False),
        ({"AWS_ENDPOINT_URL": "http://localhost:1", "AWS_ENDPOINT_URL_DYNAMODB": "http://localhost:2"}, False),
        ({"AWS_ENDPOINT_URL": "http://localhost:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, True),
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, True),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, True),
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, True),
        ({"AWS_PROFILE": "elsewhere"}, True),
        ({"AWS_PROFILE": "services"}, True),
        ({"AWS_PROFILE": "region", "AWS_DEFAULT_REGION": ""}, False),
    ],
    ids=str,
)
def test_what_steers_the_endpoint_is_followed_or_left_to_a_client(
    environment: dict[str, str], needs_client: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(PROFILES)
    for name, value in ({"AWS_DEFAULT_REGION": "us-east-1"} | environment).items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    found = known_endpoint(botocore.session.get_session())
    assert found in (boto3.session.Session().client("dynamodb").meta.endpoint_url, None)
    assert (found is None) == needs_client


def test_a_store_without_a_session_talks_to_the_endpoint_of_the_environment(
    dynamodb_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_endpoint)
    store = DynamoDBStore("durably-endpoint")
    store.create_table()
    assert store.read("nobody", until=UNTIL) is None
