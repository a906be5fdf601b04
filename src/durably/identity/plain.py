"""An event as plain data: unwrapped from Powertools and pydantic, and without credentials for the store."""

from __future__ import annotations

from collections.abc import Mapping

from durably.identity.value import look

# Beside authorization, cookie and x-api-key, what carries the same under names of HTTP's and AWS's own.
CREDENTIAL_HEADERS = frozenset(
    {
        "authorization",
        "cookie",
        "x-api-key",
        "proxy-authorization",
        "x-amz-security-token",  # SigV4 session token
        "x-amzn-oidc-accesstoken",  # an ALB's OIDC tokens
        "x-amzn-oidc-data",
    }
)


def plain_event(event: object) -> object:
    """The dict or list inside a Powertools data class (its `raw_event`), else the event itself."""
    raw = getattr(event, "raw_event", None)
    return raw if isinstance(raw, (dict, list)) else event


def shape_of(event: object) -> object:
    """The event as the trigger wrote it, for the rules to look at: pydantic models are dumped under their aliases."""
    plain = plain_event(event)
    dump = getattr(plain, "model_dump", None)
    if isinstance(plain, (dict, list)) or not callable(dump):
        return plain
    try:
        dumped: object = dump(mode="json", by_alias=True)
    except (TypeError, ValueError):  # what pydantic raises is a ValueError; no shape, so the request id decides
        return plain
    return dumped


def stored_event(event: object) -> object:
    """The event to keep in the store: plain, and without credentials. The handler's own event is never touched.

    Removed are the credential headers in `headers`, `multiValueHeaders` and AppSync's `request.headers`, the cookies
    of payload 2.0, and the copy of x-api-key that REST APIs put into `requestContext.identity`. What holds none of
    them is shared with the event, not copied.
    """
    plain = shape_of(event)
    if isinstance(plain, list):
        return [stored_event(item) for item in plain]
    if not isinstance(plain, Mapping):
        return plain
    kept = dict(plain)
    for name in ("headers", "multiValueHeaders"):
        if isinstance(kept.get(name), Mapping):
            kept[name] = _without_credentials(kept[name])
    if isinstance(look(plain, "request", "headers"), Mapping):
        kept["request"] = {**kept["request"], "headers": _without_credentials(kept["request"]["headers"])}
    if isinstance(kept.get("requestContext"), Mapping):
        kept.pop("cookies", None)
        kept["requestContext"] = _without_api_key(kept["requestContext"])
    return kept


def _without_credentials(headers: Mapping[object, object]) -> dict[object, object]:
    return {name: value for name, value in headers.items() if str(name).lower() not in CREDENTIAL_HEADERS}


def _without_api_key(context: Mapping[object, object]) -> dict[object, object]:
    caller = context.get("identity")
    if not isinstance(caller, Mapping) or "apiKey" not in caller:
        return dict(context)
    return {**context, "identity": {key: value for key, value in caller.items() if key != "apiKey"}}
