"""Where DynamoDB is and who asks, as boto3 would find it, and without a boto3 client where none is needed.

Making a client reads megabytes of service descriptions: most of a Lambda's cold start, to learn one host name. Where the
name follows from the region, or stands in the environment, it is taken from there; anything else is left to a client.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boto3.session import Session

_COMMERCIAL = re.compile(
    r"(us|eu|ap|sa|ca|me|af|il|mx)-(gov-)?(north|south|east|west|central|northeast|southeast|northwest)-\d+"
)
"""Regions of the partitions whose hosts end in amazonaws.com (botocore's partitions.json); a test goes through all of them."""

_STEERS = ("use_dualstack_endpoint", "use_fips_endpoint", "ignore_configured_endpoint_urls")
"""Settings that give an endpoint of another form."""


def known_endpoint(session: Any) -> str | None:
    """The endpoint that a boto3 client of this botocore session would talk to; None where only a client can tell.

    botocore's order is kept: the service's own variable, the general one, the profile, the region's default
    (https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html).
    """
    if any(session.get_config_variable(name) for name in _STEERS):
        return None
    if session.get_config_variable("account_id_endpoint_mode") == "required":
        return None
    configured = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") or os.environ.get("AWS_ENDPOINT_URL")
    if configured:
        return configured
    profile = session.get_scoped_config()
    region = session.get_config_variable("region")
    if "endpoint_url" in profile or "services" in profile or not region:
        return None
    return f"https://dynamodb.{region}.amazonaws.com" if _COMMERCIAL.fullmatch(region) else None


def default_session() -> Any:
    """A botocore session as boto3 makes its own. Raises ImportError where botocore is not installed, and what it raises."""
    import botocore.session

    return botocore.session.get_session()


def botocore_session_of(session: Session) -> Any:
    """What a boto3 session stands on."""
    return session._session


def credentials_of(session: Session, *, anew: bool) -> Any:
    """The session's credentials; `anew` past what it keeps, but for keys that were given to it."""
    kept = session.get_credentials()
    if not anew or kept is None or kept.method == "explicit":
        return kept
    return botocore_session_of(session).get_component("credential_provider").load_credentials() or kept
