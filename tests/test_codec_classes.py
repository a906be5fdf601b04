"""Classes come back as themselves, found by the annotation alone, and through changes of the code."""

from __future__ import annotations

import enum
import json
import typing
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import pydantic
import pytest
import typing_extensions
from hypothesis import given, settings
from hypothesis import strategies as st

from durably.codec import JSON, Unencodable, returns_of
from durably.codec.annotations import place_of
from tests.test_codec import again, refused, the_same

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
BERLIN = ZoneInfo("Europe/Berlin")


class Severity(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Level(enum.IntEnum):
    ONE = 1


class Tone(enum.StrEnum):
    KIND = "kind"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Finding:
    path: str
    line: int
    severity: Severity = Severity.LOW


@dataclass(frozen=True, slots=True)
class Review:
    findings: list[Finding]
    cost: Decimal
    made: datetime | None = None


class Point(NamedTuple):
    x: int
    y: Finding | None = None


class Usage(pydantic.BaseModel):
    tokens: int
    review: Review | None = None


class Payload(TypedDict):
    finding: Finding
    count: int


@pytest.mark.parametrize(
    "returns", [Review, Review | None, "list", dict[str, Review], typing.Annotated[Review, []], Any]
)
def test_an_annotation_can_lead_to_a_class_or_not(returns: object) -> None:
    review = Review([Finding("a.py", 3, Severity.HIGH)], Decimal("1.10"), datetime(2026, 1, 1, tzinfo=BERLIN))
    if returns in ("list", Any):
        assert "annotate the function's return type" in refused(review, returns).why
    else:
        assert the_same(again(review, returns), review)


def pages() -> dict[str, list[tuple[Point, ...]]]:
    raise NotImplementedError


def test_classes_are_found_inside_containers_and_fields() -> None:
    value = {"a": [(Point(1, Finding("p", 2)), Point(3))]}
    back = again(value, returns_of(pages))
    assert the_same(back, value)
    assert type(back["a"][0][0].y) is Finding


def test_a_typed_dict_leads_to_the_classes_of_its_keys() -> None:
    assert the_same(again({"finding": Finding("p", 1), "count": 2}, Payload), {"finding": Finding("p", 1), "count": 2})


@pytest.mark.parametrize(
    "member", [Severity.HIGH, Level.ONE, Tone.KIND, Rights.READ, Rights.READ | Rights.WRITE, Rights(0)]
)
def test_an_enum_member_comes_back_as_itself(member: enum.Enum) -> None:
    assert again([member], list[type(member)]) == [member]  # type: ignore[misc]  # a type made at run time
    assert type(again(member, type(member))) is type(member)


def test_a_literal_of_enum_members_leads_to_the_enum() -> None:
    assert again(Severity.LOW, typing.Literal[Severity.LOW]) is Severity.LOW


def test_a_wrong_annotation_does_not_matter_for_builtin_data() -> None:
    for returns in (
        int,
        Review,
        typing.Iterable[str],
        object,
        Any,
        typing.Callable[[int], str],
        42,
        "int",
        list["Nowhere"],  # type: ignore[name-defined]  # noqa: F821
    ):
        assert the_same(again({"a": (1, {2})}, returns), {"a": (1, {2})})


@dataclass
class Shape:
    name: str


@dataclass
class Circle(Shape):
    radius: float = 1.0


def test_a_loaded_subclass_comes_back_as_itself() -> None:
    assert the_same(again([Circle("c", 2.0), Shape("s")], list[Shape]), [Circle("c", 2.0), Shape("s")])


def test_a_subclass_that_is_not_loaded_never_comes_back_as_its_base() -> None:
    text = JSON.encode(Circle("c")).replace(":Circle", ":Ellipse")
    with pytest.raises(Unencodable, match="Ellipse"):
        JSON.decode(text, Shape)


def test_the_only_class_at_a_place_does_not_take_a_lost_subclass_of_its_own() -> None:
    text = JSON.encode(Finding("p", 1)).replace(":Finding", ":Special")
    lost = text.replace('"fields"', f'"bases":["{__name__}:Finding"],"fields"')
    assert JSON.decode(text, Finding) == Finding("p", 1)
    with pytest.raises(Unencodable, match="Special"):
        JSON.decode(lost, Finding)


def test_a_renamed_class_is_the_only_one_of_its_kind_at_its_place() -> None:
    text = JSON.encode({"a": [Finding("p", 1)]}).replace(f"{__name__}:Finding", "old.place:Remark")
    assert JSON.decode(text, dict[str, list[Finding | None]]) == {"a": [Finding("p", 1)]}
    with pytest.raises(Unencodable, match="Remark"):
        JSON.decode(text, dict[str, list[Finding | Review]])


def test_of_two_classes_that_moved_each_is_told_by_its_own_name() -> None:
    text = JSON.encode([Finding("p", 1)]).replace(f"{__name__}:", "old.place:")
    assert JSON.decode(text, list[Finding | Review]) == [Finding("p", 1)]


@dataclass
class Grown:
    path: str
    tags: list[str] = field(default_factory=list)


@dataclass
class Forgiving:
    path: str = ""


def test_another_class_than_the_annotation_s_is_refused_not_turned_into_it() -> None:
    assert f"{__name__}.Finding" in str(refused(Finding("p", 1), Forgiving))
    assert "(Forgiving)" in refused([Finding("p", 1)], list[Forgiving]).why


@dataclass
class Demanding:
    path: str
    owner: str


def test_a_field_added_since_gets_its_default_and_a_removed_one_is_dropped() -> None:
    text = JSON.encode(Finding("p", 1)).replace(":Finding", ":Grown")
    assert JSON.decode(text, Grown) == Grown("p", [])


def test_a_field_added_without_default_is_refused_by_name() -> None:
    text = JSON.encode([Finding("p", 1)]).replace(":Finding", ":Demanding")
    with pytest.raises(Unencodable, match="'owner' was added") as caught:
        JSON.decode(text, list[Demanding])
    assert caught.value.path == "result[0]"


def test_a_renamed_member_is_found_by_its_value() -> None:
    text = JSON.encode(Severity.HIGH).replace("HIGH", "URGENT")
    assert JSON.decode(text, Severity) is Severity.HIGH
    with pytest.raises(Unencodable, match="no member 'GONE'"):
        JSON.decode(JSON.encode(Severity.HIGH).replace("HIGH", "GONE").replace('"high"', '"gone"'), Severity)


@dataclass
class Box(Generic[T]):
    item: T


def test_a_generic_dataclass_comes_back() -> None:
    assert again(Box[Finding](Finding("p", 1)), Box[Finding]) == Box(Finding("p", 1))


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list)
    up: Node | None = None


def test_a_tree_of_one_class_comes_back() -> None:
    tree = Node("a", [Node("b", [Node("c")]), Node("d")])
    assert again(tree, Node) == tree


def test_a_class_of_a_function_comes_back_by_its_annotation() -> None:
    @dataclass
    class Local:
        x: int
        next: Local | None = None

    def make() -> list[Local]:
        return [Local(1, Local(2))]

    assert again(make(), returns_of(make)) == make()


def test_malformed_fields_of_a_known_class_are_refused() -> None:
    name = f"{__name__}:Finding"
    for fields in ("3", "[]", "null", '{"path": {"$tuple": 1}}'):
        with pytest.raises(Unencodable):
            JSON.decode(f'{{"$dataclass":"{name}","fields":{fields}}}', Finding)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=6),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "$tuple",
                        "$dict",
                        "$set",
                        "$dataclass",
                        "$enum",
                        "$model",
                        "$namedtuple",
                        "$exception",
                        "$missing",
                        "$float",
                        "$deque",
                        "fields",
                        "value",
                        "name",
                        "a",
                    ]
                ),
                inner,
                max_size=3,
            )
        ),
    )
)
def test_no_stored_text_does_more_than_give_a_value_or_be_refused(structure: object) -> None:
    for returns in (None, Review, Severity | Usage | Point):
        try:
            JSON.decode(json.dumps(structure), returns)
        except Unencodable as error:
            assert error.why  # noqa: PT017 - either answer is right


@dataclass
class Outer:
    @dataclass
    class Inner:
        x: int

    class Kind(enum.Enum):
        ODD = ("odd", 1)

    inner: list[Inner]
    kind: Kind = Kind.ODD
    date: date | None = None


def test_a_class_written_inside_the_class_is_found_by_its_fields() -> None:
    outer = Outer([Outer.Inner(1)])
    assert the_same(again(outer, Outer), outer)


Pair = typing_extensions.TypeAliasType("Pair", dict[K, list[V]] | tuple[V, ...], type_params=(V, K))


def test_a_generic_alias_leads_to_the_classes_it_was_given() -> None:
    for value in ({"a": [Finding("p", 1)]}, (Finding("p", 1),)):
        assert the_same(again(value, Pair[Finding, str]), value)
    assert place_of(Pair[Finding, str])[0] == dict[str, list[Finding]]


class Shown(enum.Enum):
    """With names and values made for people."""

    LOW = ("low", 1)
    HIGH = ("high", 2)

    @property
    def name(self) -> str:  # type: ignore[override]
        return {"LOW": "HIGH", "HIGH": "LOW"}[self._name_]

    @property
    def value(self) -> str:  # type: ignore[override]
        return self._value_[0]


class Mask(enum.Flag):
    A = 1
    B = 2

    @property
    def value(self) -> str:  # type: ignore[override]
        return f"mask {self._value_}"


@pytest.mark.parametrize("member", [Shown.LOW, Shown.HIGH, Mask.A, Mask.A | Mask.B])
def test_a_member_with_a_name_or_value_of_its_own_making_comes_back_as_itself(member: enum.Enum) -> None:
    assert again(member, type(member)) is member
