"""The journal's values: entries, segments, heads and what a claim asks for. Frozen, and known to every layer below.

They are NamedTuples: a frozen dataclass takes six times as long to define, at every cold start, and to make.

A segment's text is one line an entry, `{"result":"charge","attempt":1,…}<TAB>payload<TAB>arguments`, so that it can be
read in a database console and the payload's bytes are kept as the codec wrote them (JSON text has no raw tab or newline).
"""

# No `from __future__ import annotations`: NamedTuple compiles each annotation that is a string, at every cold start.

import json
from collections.abc import Iterable
from typing import Literal, NamedTuple

from .errors import StoreError

FORMAT = 1
"""The journal's format. A head of a newer one is refused before any step; older ones are read."""

Kind = Literal["began", "started", "result", "error", "taken_back", "forgotten"]
"""`began` is a fence; `taken_back` withdraws a step's outcome; `forgotten` withdraws that and its `started` too."""

Status = Literal["running", "waiting", "completed", "failed", "cancelled"]

_KINDS: frozenset[str] = frozenset(("began", "started", "result", "error", "taken_back", "forgotten"))
_quote = json.encoder.encode_basestring_ascii
_decode = json.JSONDecoder().raw_decode


class Entry(NamedTuple):
    """One line of the journal. `payload` is the codec's text of a result or an error; times are epoch seconds."""

    kind: Kind
    step: str = ""
    payload: str = ""
    attempt: int = 0
    began: float = 0.0
    ended: float = 0.0
    tries: int = 1
    permanent: bool = False
    """Never taken back: the effect happened and what it returned can't be stored."""
    within: str = ""
    """The step this one ran inside of."""
    arguments: str = ""
    redact: tuple[str, ...] = ()
    """Names of fields that are hidden wherever this entry is shown. What is stored of a result is whole: a replay needs it."""

    def to_line(self) -> str:
        """The entry as one line of text."""
        took = max(0.0, self.ended - self.began)
        line = f'{{"{self.kind}":{_quote(self.step)},"attempt":{self.attempt},"at":{self.began:.3f},"took":{took:.3f}'
        if self.tries != 1:
            line += f',"tries":{self.tries}'
        if self.permanent:
            line += ',"permanent":true'
        if self.within:
            line += f',"within":{_quote(self.within)}'
        if self.redact:
            line += f',"redact":{json.dumps(self.redact)}'
        line += "}"
        if self.payload or self.arguments:
            line += "\t" + self.payload
        return line + "\t" + self.arguments if self.arguments else line


def entry_from_line(line: str) -> Entry:
    """Read what `to_line` wrote. Raises ValueError on anything else."""
    meta_text, _, rest = line.partition("\t")
    payload, _, arguments = rest.partition("\t")
    # `loads` looks twice for space around a text, and an Entry made by names takes longer: this is done for every step replayed.
    meta, end = _decode(meta_text)
    kind = next(iter(meta))
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of entry {kind!r}")
    if end != len(meta_text):
        raise ValueError(f"{meta_text[end:]!r} stands behind an entry")
    step, attempt, began, more = meta[kind], meta["attempt"], meta["at"], meta.get
    ended, tries, permanent, within = (
        began + meta["took"],
        more("tries", 1),
        more("permanent", False),
        more("within", ""),
    )
    return Entry(
        kind, step, payload, attempt, began, ended, tries, permanent, within, arguments, tuple(more("redact", ()))
    )


def entries_to_text(entries: Iterable[Entry]) -> str:
    """The text of a segment."""
    return "\n".join([entry.to_line() for entry in entries])


def entries_from_text(text: str) -> tuple[Entry, ...]:
    """Read a segment's text. Raises ValueError where it is none."""
    try:
        return tuple([entry_from_line(line) for line in text.split("\n")])
    except (KeyError, StopIteration, TypeError) as error:
        raise ValueError(f"it is no entry: {error!r}") from error


class Segment(NamedTuple):
    """One append: entries that become durable together, at one number of one generation, by one attempt."""

    execution: str
    generation: str
    number: int
    owner: str
    entries: tuple[Entry, ...]
    expires_at: float | None = None


def segment_from_text(
    execution: str, generation: str, number: int, owner: str, text: str, expires_at: float | None
) -> Segment:
    """The segment whose text is stored. Raises StoreError where it can't be read: what it remembered must not run again."""
    try:
        return Segment(execution, generation, number, owner, entries_from_text(text), expires_at)
    except ValueError as error:
        raise damaged_journal(execution, f"segment {number} can't be read ({error})") from error


def damaged_journal(execution: str, what: str) -> StoreError:
    """What is raised for a journal that has not all of what was acknowledged."""
    return StoreError(
        f"the journal of execution {execution!r} is damaged: {what}. Nothing was run, since a lost outcome would repeat its "
        "effect. Restore the table's item (point-in-time recovery), or give the event a new id if its effects may happen again."
    )


class AttemptRecord(NamedTuple):
    """How one attempt went. No `ended` means that it runs, or was killed."""

    number: int
    began: float
    owner: str
    request_id: str = ""
    ended: float | None = None
    how: str = ""


class Head(NamedTuple):
    """The state of one execution. `lease_until`, `began`, `updated` and `expires_at` are epoch seconds."""

    id: str
    generation: str
    status: Status
    attempt: int
    owner: str
    lease_until: float
    function: str
    qualname: str
    began: float
    updated: float
    expires_at: float | None = None
    source: str = ""
    """Where the event id was found."""
    fingerprint: str = ""
    """Of an HTTP body: the same id with another body is another request."""
    attempts: tuple[AttemptRecord, ...] = ()
    unsettled: bool = False
    """The last attempt left an append whose fate it does not know, so the next one fences first."""
    event: str | None = None
    result: str | None = None
    """The handler's result when completed, its error when failed."""
    format: int = FORMAT


class Claim(NamedTuple):
    """What an attempt asks of the store: the lease on an execution, new or not."""

    id: str
    owner: str
    """A random id of this attempt, in every conditional write: it tells one's own lost answer from a rival's write."""
    generation: str
    """A random id, used if the execution turns out to be new."""
    lease_s: float
    function: str = ""
    qualname: str = ""
    source: str = ""
    fingerprint: str = ""
    request_id: str = ""
    event: str | None = None
    expires_s: float | None = None
    reopen: bool = False
    """An operator's: it makes no new execution, and takes up a failed or cancelled one again."""
    seize: bool = False
    """An operator's, as `reopen`, that also takes the lease from an attempt that holds it."""


Standing = Literal["new", "resumed", "taken over", "held", "finished"]


class Claimed(NamedTuple):
    """The answer to a claim. With `new`, `resumed` and `taken over` the lease is ours and the head is the claimed one."""

    standing: Standing
    head: Head


class Ending(NamedTuple):
    """How an attempt leaves its execution: released (`waiting`), `completed`, `failed` for good, or `cancelled`."""

    status: Status
    how: str
    result: str | None = None
    unsettled: bool = False
    expires_s: float | None = None
