"""Signature Version 4 for the one shape of request that is sent here: POST, the root path, JSON.

botocore's signer gives the same signature for any request at four times the time, and it is done for every step. A test
holds the two against each other. Source: "Create a signed AWS API request", AWS Identity and Access Management guide.
"""

from __future__ import annotations

import hmac
import time
from hashlib import sha256
from typing import Any

SERVICE = "dynamodb"
CONTENT_TYPE = "application/x-amz-json-1.0"


class Signer:
    """Signs for one host and region. The key is made once a day and secret."""

    def __init__(self, host: str, region: str) -> None:
        self._host = host
        self._region = region
        self._key: tuple[str, str, bytes] = ("", "", b"")

    def headers(self, target: str, body: bytes, credentials: Any, now: float) -> str:
        """The lines `name: value` that sign the body, at epoch seconds `now`, Host and Content-Type among them.

        `credentials` have an access_key, a secret_key and a token, which may be None. Raises ValueError for a line break in
        one of them, which would begin a header of its own.
        """
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        token = credentials.token
        if not f"{credentials.access_key}{token or ''}".isprintable():
            raise ValueError("the access key or the session token has a line break or a control character in it")
        # In the order of their names, as they are signed.
        given = [("content-type", CONTENT_TYPE), ("host", self._host), ("x-amz-date", at)]
        if token:
            given.append(("x-amz-security-token", token))
        given.append(("x-amz-target", target))
        names = ";".join([name for name, _ in given])
        lines = "".join([f"{name}:{value}\n" for name, value in given])
        request = f"POST\n/\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"
        scope = f"{at[:8]}/{self._region}/{SERVICE}/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        key = self._key_of(at[:8], credentials.secret_key)
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        credential = f"{credentials.access_key}/{scope}"
        authorization = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return f"{lines}authorization:{authorization}\n".replace("\n", "\r\n")

    def _key_of(self, day: str, secret: str) -> bytes:
        known_day, known_secret, known = self._key
        if (known_day, known_secret) == (day, secret):
            return known
        key = f"AWS4{secret}".encode()
        for part in (day, self._region, SERVICE, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = (day, secret, key)
        return key
