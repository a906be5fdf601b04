"""The table as data: what every infrastructure text is made from, taken from the definition that `create_table` uses."""

from __future__ import annotations

from typing import NamedTuple

from ..stores.dynamodb.table import table_definition

TTL_ATTRIBUTE = "expires_at"


class Key(NamedTuple):
    """A key attribute: its name, its type (S or N) and whether it is HASH or RANGE."""

    name: str
    type: str
    role: str


class Index(NamedTuple):
    """The listing index."""

    name: str
    keys: tuple[Key, ...]
    attributes: tuple[str, ...]


class Table(NamedTuple):
    """The table that durably needs."""

    name: str
    keys: tuple[Key, ...]
    listing: Index
    types: tuple[tuple[str, str], ...]
    """Every key attribute's name and type, of table and index."""
    ttl: str = TTL_ATTRIBUTE


def describe(name: str) -> Table:
    """The table under that name."""
    made = table_definition()
    types = {one["AttributeName"]: one["AttributeType"] for one in made["AttributeDefinitions"]}
    (index,) = made["GlobalSecondaryIndexes"]

    def keys(schema: list[dict[str, str]]) -> tuple[Key, ...]:
        return tuple(Key(one["AttributeName"], types[one["AttributeName"]], one["KeyType"]) for one in schema)

    attributes = tuple(index["Projection"]["NonKeyAttributes"])
    return Table(
        name,
        keys(made["KeySchema"]),
        Index(index["IndexName"], keys(index["KeySchema"]), attributes),
        tuple(types.items()),
    )
