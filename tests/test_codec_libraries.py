"""The exceptions of the libraries that steps call most come back as what the code around them catches."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from durably.errors import NotSerializable
from tests.test_codec_exceptions import again, raised, the_same


def test_boto_s_client_error_and_its_run_time_classes_come_back_with_their_response() -> None:
    import boto3
    from botocore.exceptions import ClientError, EndpointConnectionError

    client = boto3.client("dynamodb", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    response = {
        "Error": {"Code": "ConditionalCheckFailedException", "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    plain: Any = ClientError(response, "PutItem")
    assert the_same(again(plain), plain)
    assert again(plain).response == response
    special: Any = client.exceptions.ConditionalCheckFailedException(response, "PutItem")
    back = again(special)
    assert type(back) is ClientError
    assert (str(back), back.response, back.operation_name) == (str(special), response, "PutItem")
    assert "ConditionalCheckFailedException was raised" in back.__notes__[0]
    assert the_same(again(EndpointConnectionError(endpoint_url="u")), EndpointConnectionError(endpoint_url="u"))


def test_httpx_s_status_error_keeps_its_class_and_text_and_its_response_is_a_placeholder() -> None:
    import httpx

    response = httpx.Response(404, request=httpx.Request("GET", "http://a.b/c"))
    exc = raised(response.raise_for_status)
    back = again(exc)
    assert the_same(back, exc)
    with pytest.raises(
        NotSerializable, match=r"field 'response' of httpx\.HTTPStatusError can't be stored \(httpx\.Response\)"
    ):
        back.response.status_code  # noqa: B018
    with pytest.raises(NotSerializable, match=r"httpx\.Request"):
        str(back.request.url)


def test_requests_errors_come_back_with_the_exceptions_inside_them() -> None:
    requests = pytest.importorskip("requests")
    exc = raised(lambda: requests.get("http://127.0.0.1:9/x", timeout=1))
    back = again(exc)
    assert type(back) is type(exc)
    assert type(back.args[0]) is type(exc.args[0])
    assert str(back.args[0]) == str(exc.args[0])
    response = requests.Response()
    response.status_code = 500
    http = requests.HTTPError("500 Server Error", response=response)
    assert the_same(again(http), http)
    with pytest.raises(NotSerializable):
        bool(again(http).response)


class Answer(pydantic.BaseModel):
    score: int
    tags: list[str]

    @pydantic.field_validator("tags")
    @classmethod
    def _few(cls, tags: list[str]) -> list[str]:
        if len(tags) > 1:
            raise ValueError("too {many} tags")
        return tags


def test_pydantic_s_validation_error_comes_back_whole() -> None:
    for data in ({"score": "x", "tags": ["a", "b"]}, {}, {"score": 1, "tags": 3}):
        exc: Any = raised(lambda data=data: Answer(**data))  # type: ignore[misc]
        back = again(exc)
        assert type(back) is pydantic.ValidationError
        assert str(back) == str(exc)
        assert [{**error, "ctx": None} for error in back.errors()] == [{**error, "ctx": None} for error in exc.errors()]
        assert back.title == exc.title


def test_pydantic_s_custom_errors_come_back() -> None:
    from pydantic_core import PydanticCustomError, ValidationError

    exc: Any = ValidationError.from_exception_data(
        "T", [{"type": PydanticCustomError("odd", "is {n} {{odd}}", {"n": 3}), "loc": ("a", 1), "input": object()}]
    )
    back = again(exc)
    assert type(back) is ValidationError
    error = back.errors()[0]
    assert (error["type"], error["loc"], error["msg"]) == ("odd", ("a", 1), exc.errors()[0]["msg"])


def test_urllib_s_http_error_can_be_printed_though_its_file_is_missing() -> None:
    import email.message
    import traceback
    import urllib.error

    exc = urllib.error.HTTPError("http://u", 404, "Not Found", email.message.Message(), None)
    back = again(exc)
    assert (back.code, str(back)) == (404, str(exc))
    assert "HTTP Error 404: Not Found" in "".join(traceback.format_exception(back))
    with pytest.raises(NotSerializable):
        back.read()
