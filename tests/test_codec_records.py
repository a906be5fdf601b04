"""Dataclasses and NamedTuples come back with every attribute, and none of their code is run."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from durably.codec import JSON, Unencodable
from tests.test_codec import again

ran: list[str] = []


@dataclass
class Guarded:
    seed: dataclasses.InitVar[int]
    name: str = field(kw_only=True)
    total: int = field(init=False)

    def __post_init__(self, seed: int) -> None:
        ran.append(self.name)
        self.total = seed * 2
        self.beside = (seed,)

    @functools.cached_property
    def shouted(self) -> str:
        return self.name.upper()


def test_no_constructor_runs_and_no_attribute_is_lost() -> None:
    guarded = Guarded(4, name="g")
    assert guarded.shouted == "G"
    ran.clear()
    back = again(guarded, Guarded)
    assert (ran, back.total, back.beside) == ([], 8, (4,))
    assert "shouted" not in vars(back)


class WithSlot:
    __slots__ = ("hidden",)


@dataclass(slots=True)
class Slotted(WithSlot):
    x: int


def test_a_slot_that_is_no_field_comes_back_too() -> None:
    slotted = Slotted(1)
    slotted.hidden = "here"  # type: ignore[attr-defined]  # a slot of its base
    assert again(slotted, Slotted).hidden == "here"
    assert not hasattr(again(Slotted(1), Slotted), "hidden")


def test_a_field_that_was_never_set_stays_unset() -> None:
    slotted = Slotted(1)
    del slotted.x
    assert not hasattr(again(slotted, Slotted), "x")


@dataclass
class Made:
    x: int

    def __new__(cls, *args: int) -> Made:
        ran.append("made")
        return super().__new__(cls)


class Pair(NamedTuple):
    low: int
    high: int


class Ordered(Pair):
    __slots__ = ()

    def __new__(cls, low: int, high: int) -> Ordered:
        ran.append("ordered")
        return super().__new__(cls, low, high)


def test_no_new_of_the_user_s_runs_either() -> None:
    made, ordered = Made(1), Ordered(1, 2)
    ran.clear()
    assert again([made, ordered], list[Made | Ordered]) == [made, ordered]
    assert type(again(ordered, Ordered)) is Ordered
    assert ran == []


def test_a_named_tuple_that_grew_gets_its_default_and_one_without_is_refused() -> None:
    text = JSON.encode(Pair(1, 2))
    assert JSON.decode(text.replace(',"high":2', "").replace(":Pair", ":Wide"), Wide) == Wide(1)
    with pytest.raises(Unencodable, match="'high' was added"):
        JSON.decode(text.replace(',"high":2', ""), Pair)


class Wide(NamedTuple):
    low: int
    high: int = 9
