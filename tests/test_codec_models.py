"""pydantic models come back field by field, with no validator run."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

import pydantic
import pytest

from durably.codec import JSON, Unencodable
from tests.test_codec import again, refused, the_same
from tests.test_codec_classes import Finding, Review, Severity, Usage

T = TypeVar("T")
BERLIN = ZoneInfo("Europe/Berlin")


ran: list[str] = []


class Secretive(pydantic.BaseModel):
    key: pydantic.SecretStr


class Rich(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", frozen=True)

    url: pydantic.HttpUrl
    where: Path
    many: list[pydantic.HttpUrl] = []
    usage: Usage | None = None
    severity: Severity = Severity.LOW
    pair: tuple[int, ...] = ()
    _seen: set[int] = pydantic.PrivateAttr(default_factory=set)


def test_a_model_comes_back_with_extras_private_attributes_and_what_was_set() -> None:
    rich = Rich(url="http://a.b/c", where="/x", many=["http://d/"], usage=Usage(tokens=1), pair=(1, 2), other={"$a": 1})  # type: ignore[arg-type, call-arg, list-item]
    rich._seen.add(5)
    back = again([rich], list[Rich])[0]
    assert back == rich
    assert type(back) is Rich
    assert (back._seen, back.model_extra) == ({5}, {"other": {"$a": 1}})
    assert (back.model_fields_set, type(back.where)) == (rich.model_fields_set, type(rich.where))


def test_a_model_runs_no_validator_on_its_way_back() -> None:
    class Counted(pydantic.BaseModel):
        n: int

        @pydantic.field_validator("n")
        @classmethod
        def _check(cls, n: int) -> int:
            ran.append("validated")
            return n + 1

    counted = Counted(n=1)
    ran.clear()
    assert again(counted, Counted).n == 2
    assert ran == []


def test_a_model_inside_a_dataclass_inside_a_model_comes_back() -> None:
    usage = Usage(tokens=3, review=Review([Finding("p", 1)], Decimal(2)))
    assert the_same(again({"u": usage}, dict[str, Usage]), {"u": usage})


def test_a_generic_and_a_root_model_come_back() -> None:
    class Wrapped(pydantic.BaseModel, Generic[T]):
        item: T

    class Names(pydantic.RootModel[list[str]]):
        pass

    assert again(Wrapped[Usage](item=Usage(tokens=1)), Wrapped[Usage]) == Wrapped[Usage](item=Usage(tokens=1))
    assert again(Names(["a"]), Names) == Names(["a"])


def test_a_secret_is_refused_not_starred_out() -> None:
    error = refused(Secretive(key="s"), Secretive)  # type: ignore[arg-type]
    assert (error.path, error.type_name) == ("result.key", "pydantic.types.SecretStr")


def test_a_model_field_added_since_gets_its_default() -> None:
    text = JSON.encode(Usage(tokens=3)).replace('"tokens":3,', '"tokens":3,"gone":1,').replace(',"review":null', "")
    assert JSON.decode(text, Usage) == Usage(tokens=3)
    with pytest.raises(Unencodable, match="'tokens' was added"):
        JSON.decode(text.replace('"tokens"', '"old"'), Usage)


def test_a_model_that_was_never_validated_comes_back_with_what_it_has() -> None:
    usage = Usage.model_construct()
    back = again([usage], list[Usage])[0]
    assert (vars(back), back.model_fields_set) == (vars(usage), set())
    assert JSON.encode(usage) == JSON.encode(back)
