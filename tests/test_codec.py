"""Values come back as they were, of the same type, in text that a person can read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durably.codec import JSON, Unencodable

T = TypeVar("T")
BERLIN = ZoneInfo("Europe/Berlin")


def the_same(one: object, other: object) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple, deque)):
        assert isinstance(other, (list, tuple, deque))
        return len(one) == len(other) and all(map(the_same, one, other))
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return the_same(list(one), list(other)) and the_same(list(one.values()), list(other.values()))
    if isinstance(one, (set, frozenset)):
        assert isinstance(other, (set, frozenset))
        return one == other and {(type(v), v) for v in one} == {(type(v), v) for v in other}
    if isinstance(one, (float, complex)):
        return repr(one) == repr(other)
    if isinstance(one, Decimal):
        return str(one) == str(other)
    return one == other


def again(value: Any, returns: object = None) -> Any:
    """The value as a replay gets it."""
    text = JSON.encode(value)
    assert "\n" not in text
    assert "\t" not in text
    assert JSON.decode(text.encode().decode(), returns) is not None or value is None
    return JSON.decode(text, returns)


def refused(value: object, returns: object = None) -> Unencodable:
    with pytest.raises(Unencodable) as caught:
        JSON.decode(JSON.encode(value), returns)
    return caught.value


# Text


def test_plain_data_is_plain_json() -> None:
    value = {"id": 1, "name": "Zoë", "tags": ["a", None, True, 1.5]}
    assert JSON.encode(value) == '{"id":1,"name":"Zoë","tags":["a",null,true,1.5]}'


def test_a_line_of_text_has_no_raw_newline_or_tab() -> None:
    assert again({"a\n\t": "b\r\n\t\x00\u2028"}) == {"a\n\t": "b\r\n\t\x00\u2028"}


def test_a_set_has_one_text_whatever_its_order() -> None:
    names = [f"name {n}" for n in range(50)]
    mirrored = set()
    for name in reversed(names):
        mirrored.add(name)
    assert JSON.encode(set(names)) == JSON.encode(mirrored)
    code = "from durably.codec import JSON; print(JSON.encode({'a','b','c',('d',1),frozenset('xyz')}))"
    texts = {subprocess.check_output([sys.executable, "-c", code]) for _ in range(3)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        "[1,]",
        '{"$tuple"',
        '{"$tuple": 3}',
        '{"$set": [[]]}',
        '{"$nope": 1}',
        '{"$dict": [[1]]}',
        '{"$dict": [[[], 1]]}',
        '{"$datetime": "soon"}',
        '{"$decimal": "x"}',
        '{"$bytes": "é"}',
        '{"$deque": [], "maxlen": "x"}',
        '{"$defaultdict": [], "factory": "eval"}',
        '{"$dataclass": 3}',
        '{"$dataclass": "a:B"}',
        '{"$enum": "a:B", "name": []}',
        '{"$int": "zz"}',
        '{"$datetime": "2026-01-01T00:00", "zone": "../../etc/passwd"}',
        '{"$str": 5}',
        "[" * 100_000,
    ],
)
def test_malformed_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(Unencodable):
        JSON.decode(text)


# Values

SCALARS = [
    None,
    True,
    False,
    0,
    -1,
    10**300,
    -(10**5000),
    1.5,
    -0.0,
    1e308,
    5e-324,
    float("inf"),
    float("-inf"),
    float("nan"),
    "",
    "é\u2028\U0001f600",
    "\ud800",
    "\ud83d\ude00",
    "a\udfff$",
    b"",
    b"\x00\xff",
    bytearray(b"ab"),
    1j,
    complex("nan"),
    date(1, 1, 1),
    datetime(2026, 1, 2, 3, 4, 5, 6),
    datetime.max,
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
    datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    datetime(2026, 1, 1, fold=1),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, seconds=7, microseconds=3))),
    time(1, 2),
    time(1, 2, fold=1),
    time(1, 2, tzinfo=BERLIN),
    time(1, 2, tzinfo=UTC),
    timedelta(days=-3, microseconds=1),
    timedelta.max,
    Decimal("1.10"),
    Decimal("-0"),
    Decimal("Infinity"),
    Decimal("1E+50"),
    UUID(int=7),
    "$5",
    "$dict",
]


@pytest.mark.parametrize("value", SCALARS, ids=[f"{type(v).__name__}-{n}" for n, v in enumerate(SCALARS)])
def test_a_value_comes_back_with_its_value_and_type(value: object) -> None:
    for held in (value, [value], {"a": {"b": value}}, {"$a": value}, (value,)):
        assert the_same(again(held), held)


@pytest.mark.parametrize(
    "value",
    [
        (),
        (1, (2, [3])),
        {1, "a", (2, None)},
        frozenset({frozenset({1}), frozenset()}),
        {1: 2, "1": 3, None: 4, (5,): 6},
        {1.5: True, False: 0},
        {"$tuple": [1]},
        {"a": 1, "$b": {"$c": [{"$set": []}]}},
        OrderedDict(b=1, a=(2,)),
        Counter("abca"),
        deque([1, (2,)], maxlen=5),
        deque(),
        defaultdict(list, a=[1]),
        defaultdict(None, {1: 2}),
        {b"k": {Decimal("1"): {UUID(int=1): date(2020, 1, 1)}}},
        {"\ud800": 1},
        [[], {}, "", 0, False, None],
    ],
)
def test_a_container_comes_back_with_its_items_and_type(value: object) -> None:
    assert the_same(again(value), value)


def test_a_zone_comes_back_by_its_key_and_fold_by_its_side() -> None:
    late = again(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1))
    assert (late.tzinfo, late.fold, late.utcoffset()) == (BERLIN, 1, timedelta(hours=1))


def test_a_zone_of_another_library_comes_back_as_its_offset() -> None:
    from dateutil.tz import gettz

    moment = datetime(2026, 7, 1, 12, tzinfo=gettz("Europe/Berlin"))
    assert again(moment) == moment
    assert again(moment).tzinfo == timezone(timedelta(hours=2))


def test_a_named_offset_keeps_its_name() -> None:
    assert again(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET"))).tzname() == "CET"


def test_an_int_beyond_every_limit_comes_back_under_the_lowest_limit() -> None:
    limit = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(640)
        for value in (10**616, 10**639, 10**641, -(10**9000)):
            assert again([value]) == [value]
    finally:
        sys.set_int_max_str_digits(limit)


keys = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        ["$", "$tuple", "$dict", "$dataclass", "fields", "$missing", "$exception", "$str", "$$tuple", '"$', "\ud800"]
    ),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | keys,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)
hashable = st.recursive(
    st.none()
    | st.integers()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.dates()
    | st.timedeltas()
    | st.uuids()
    | keys,
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
anything = st.recursive(
    plain
    | hashable
    | st.floats()
    | st.complex_numbers()
    | st.decimals()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.times()
    | st.characters(categories=["Cs"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable | keys, inner, max_size=3)
        | st.sets(hashable, max_size=3)
        | st.dictionaries(keys, inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(plain)
def test_no_plain_data_is_taken_for_a_mark(value: object) -> None:
    assert the_same(again(value), value)
    assert the_same(again(value, dict[str, list[set[int]]]), value)


@settings(max_examples=400, deadline=None)
@given(anything)
def test_any_supported_value_comes_back_the_same(value: object) -> None:
    text = JSON.encode(value)
    assert the_same(JSON.decode(text), value)
    assert JSON.encode(JSON.decode(text)) == text
    json.loads(text)
    text.encode()


# Cost


def test_importing_the_codec_imports_nothing_heavy() -> None:
    code = (
        "import sys, types; p = types.ModuleType('durably'); p.__path__ = [sys.argv[1]]; sys.modules['durably'] = p\n"
        "import durably.codec\n"
        "print(sorted({'decimal', 'uuid', 'zoneinfo', 'pydantic', 'traceback', 'logging', 'asyncio'} & set(sys.modules)))"
    )
    package = Path(sys.modules["durably"].__file__ or "").parent
    found = subprocess.check_output([sys.executable, "-S", "-c", code, str(package)], text=True)
    assert found.strip() in ("[]", "['traceback']")


def test_types_of_modules_not_yet_loaded_are_read_in_a_fresh_process() -> None:
    text = JSON.encode([Decimal("1.10"), UUID(int=1), datetime(2026, 1, 1, tzinfo=BERLIN)])
    code = "import sys; from durably.codec import JSON; print(JSON.decode(sys.argv[1]))"
    assert "Decimal('1.10')" in subprocess.check_output([sys.executable, "-c", code, text], text=True)


FREEZING = """
import datetime, sys, types
from durably.codec import JSON
own = datetime.datetime, datetime.date
api = types.ModuleType("freezegun.api")
class Meta(type):
    def __instancecheck__(self, it): return isinstance(it, own[0])
class FakeDate(own[1]): __module__ = "freezegun.api"
class FakeDatetime(own[0], FakeDate, metaclass=Meta): __module__ = "freezegun.api"
if sys.argv[1] == "loaded":
    import durably.codec.marks
datetime.datetime, datetime.date = FakeDatetime, FakeDate
if "durably.codec.moments" in sys.modules:
    vars(sys.modules["durably.codec.moments"]).update(datetime=FakeDatetime, date=FakeDate)
frozen = [FakeDatetime(2026, 1, 2, 3), FakeDate(2026, 1, 2)]
again = JSON.decode(JSON.encode(frozen))
print(again == frozen, [type(it).__name__ for it in again])
datetime.datetime, datetime.date = own
vars(sys.modules["durably.codec.moments"]).update(datetime=own[0], date=own[1])
real = [own[0](2026, 1, 2, 3), own[1](2026, 1, 2)]
again = JSON.decode(JSON.encode(real))
print(again == real, [type(it).__name__ for it in again])
"""


@pytest.mark.parametrize("when", ["loaded", "not loaded"])
def test_moments_come_back_while_time_is_frozen_as_freezegun_does_it_and_after_it(when: str) -> None:
    told = subprocess.check_output([sys.executable, "-c", FREEZING, when], text=True)
    assert told.splitlines() == ["True ['FakeDatetime', 'FakeDate']", "True ['datetime', 'date']"]
