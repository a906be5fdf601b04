"""HTTP requests: API Gateway (REST, and HTTP API in both payloads), function URLs, ALB, VPC Lattice.

Only the sender can say that two requests are one, so the id is a header of the sender's. It counts within method, host,
path and principal: no two endpoints, hosts or users meet over one key. The path is the one the client asked for, with
the stage or base path where there is one; the query is left out, because signatures and timestamps travel there.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping

from durably.errors import NoIdentity
from durably.identity.value import Identity, look, short_hash, spell, text

# Each entry is what one sender's rule needs; all headers of an entry must be there.
SENDER_HEADERS = (
    ("Idempotency-Key",),  # IETF draft-ietf-httpapi-idempotency-key-header
    ("X-GitHub-Delivery",),  # GitHub docs: the same on a redelivery
    ("webhook-id",),  # Standard Webhooks: the same on every attempt
    ("ce-source", "ce-id"),  # CloudEvents' HTTP binding, binary mode
)

# Where the authorizers of AWS put who is calling, below requestContext; the first one found counts. Whatever an API
# can be told apart by comes before an IAM role, which all users of a Cognito identity pool share.
PRINCIPALS = (
    ("authorizer", "principalId"),  # REST: Lambda authorizer
    ("authorizer", "claims", "sub"),  # REST: Cognito
    ("authorizer", "jwt", "claims", "sub"),  # HTTP API: JWT
    ("authorizer", "lambda", "principalId"),  # HTTP API: Lambda authorizer
    ("authorizer", "lambda", "sub"),
    ("authorizer", "iam", "cognitoIdentity", "identityId"),  # HTTP API and function URL: IAM
    ("authorizer", "iam", "userArn"),
    ("authorizer", "iam", "userId"),
    ("identity", "cognitoIdentityId"),  # REST: IAM
    ("identity", "userArn"),
    ("identity", "caller"),
    ("identity", "user"),
    ("identity", "apiKeyId"),  # REST: API key
    ("identity", "principal"),  # VPC Lattice
    ("identity", "clientCert", "subjectDN"),  # REST: mutual TLS
    ("authentication", "clientCert", "subjectDN"),  # HTTP API: mutual TLS
)


def from_http(event: object) -> Identity | None:
    """The sender's id of an HTTP request. Raises NoIdentity when the request has none: no later rule may serve it.

    Authentication must happen before the handler for the principal to count: a completed execution answers without
    running the handler, so a check inside it is not made again.
    """
    method = _method(event)
    if not method or not isinstance(event, Mapping):
        return None
    headers = _headers(event)
    host = text(event, "requestContext", "domainName") or headers.get("host", "")
    principal = _principal(event, headers)
    where = [method.upper(), host.lower(), _path(event), *([f"by={principal}"] if principal else [])]
    for names in SENDER_HEADERS:
        values = [headers.get(name.lower(), "") for name in names]
        if all(values):
            ids = [f"{name.lower()}={value}" for name, value in zip(names, values, strict=True)]
            source = "header " + " and ".join(names)
            return Identity(spell(*where, *ids), source, http=True, fingerprint=short_hash(_body(event)))
    raise NoIdentity(
        f"The HTTP request {method.upper()} {_path(event)} carries no id of its sender's. An id made for each request "
        "would protect nothing: when the client tries again, it gets a new one. Have the client send Idempotency-Key.",
        tuple("header " + " with ".join(names) for names in SENDER_HEADERS),
    )


def is_http_shape(event: object) -> bool:
    """Whether the plain event is an HTTP request."""
    return bool(_method(event))


def _method(event: object) -> str:
    """The method where each kind of HTTP event has it; "" for everything else, WebSocket messages included."""
    if not isinstance(event, Mapping):
        return ""
    if method := text(event, "requestContext", "http", "method"):
        return method
    if "requestContext" in event or "headers" in event or "multiValueHeaders" in event:
        return text(event, "httpMethod") or (text(event, "method") if _is_lattice(event) else "")
    return ""


def _is_lattice(event: object) -> bool:
    return bool(text(event, "raw_path") or text(event, "requestContext", "targetGroupArn"))


def _path(event: object) -> str:
    """The path as the client sent it.

    REST's `path` leaves the stage out and its `requestContext.path` does not, but SAM's local server writes the
    route there (`/orders/{id}`): it counts only where it ends in the path.
    """
    path = text(event, "rawPath") or text(event, "path") or text(event, "raw_path")
    with_stage = text(event, "requestContext", "path")
    return with_stage if path and with_stage.endswith(path) else path or "/"


def _headers(event: Mapping[object, object]) -> dict[str, str]:
    """Headers under lower-case names, repeated ones joined as HTTP does; blank values don't count."""
    found: dict[str, str] = {}
    for block in (event.get("multiValueHeaders"), event.get("headers")):
        for name, value in block.items() if isinstance(block, Mapping) else ():
            values = value if isinstance(value, list) else [value]
            joined = ",".join(part.strip() for part in values if isinstance(part, str) and part.strip())
            if joined:
                found.setdefault(str(name).lower(), joined)
    return found


def _principal(event: object, headers: Mapping[str, str]) -> str:
    context = look(event, "requestContext", "authorizer", "lambda")
    if isinstance(context, Mapping) and context and not (text(context, "principalId") or text(context, "sub")):
        # A simple response of HTTP API's Lambda authorizer has no principal, only a context in the user's own words:
        # all of it tells one caller from another, at the price of a new id where it holds what changes with each request.
        return "context:" + short_hash(json.dumps(context, sort_keys=True, default=str).encode())
    for path in PRINCIPALS:
        if found := text(event, "requestContext", *path):
            return found
    # An ALB sets this header itself after an OIDC login; from any other sender it is hearsay.
    return headers.get("x-amzn-oidc-identity", "") if look(event, "requestContext", "elb") else ""


def _body(event: object) -> bytes:
    """The body's bytes: decoded where AWS encoded them, so that a proxy that begins to encode changes nothing."""
    body = look(event, "body")
    if body is None:
        return b""
    if not isinstance(body, str):
        return json.dumps(body, sort_keys=True, default=str).encode()
    if look(event, "isBase64Encoded") is True or look(event, "is_base64_encoded") is True:
        try:
            return binascii.a2b_base64(body)
        except ValueError:
            pass  # said to be Base64 and is not: its characters are the body
    return body.encode("utf-8", "surrogatepass")
