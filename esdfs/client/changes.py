"""The journal as a feed: what changed, in order, without a gap, from any txid on."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from esdfs.client.control import Control

WAIT_MS: Final = 3_000
"""How long a NameNode is asked to wait for something new; less than an attempt's time."""
_PAGE: Final = 1_000


class Field(msgspec.Struct, frozen=True):
    """What one attribute was and is; None = it was not there, or is no longer known."""

    old: str | int | None
    new: str | int | None


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a record, seen from the tree.

    Attributes:
        path: Where it is from then on; None = nowhere any more, not known, or about no file.
        old_path: Where it was before.
        fields: By name.
    """

    kind: str
    path: str | None = None
    old_path: str | None = None
    file_id: str | None = None
    type: Literal["file", "directory"] | None = None
    fields: dict[str, Field] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the journal, and what of it was asked for."""

    txid: int
    epoch: int
    ts: str
    ts_us: int
    kind: str
    kind_number: int
    version: int
    principal: str
    peer: str
    client_id: str
    seq: int
    event: dict[str, Any]
    payload: str
    crc32c: str
    chain: str
    changes: list[Changed] = []


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some records.

    Attributes:
        next: The txid to go on from; higher than asked for also when nothing was found.
        head: The newest committed txid then: a sign of life.
        oldest: The first record that can still be asked for.
    """

    records: list[Record]
    next: int
    head: int
    oldest: int = 1


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, when and by whom: a `Changed` with its record's txid.

    Attributes:
        last: No more of the same txid follow: from here on that txid may be acknowledged.
    """

    txid: int
    ts: str
    principal: str
    peer: str
    what: Changed
    last: bool

    @property
    def kind(self) -> str:
        """As ``renamed``."""
        return self.what.kind

    @property
    def path(self) -> str | None:
        """Where it is from then on; for what was removed, where it was."""
        return self.what.path if self.what.path is not None else self.what.old_path


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """A named reader of the journal.

    Attributes:
        txid: It has dealt with everything up to there.
        lag: How many records it has before it.
        state: ``ok``; ``late`` = what it has not read will soon be removed; ``compacted`` = it was.
    """

    name: str
    txid: int
    lag: int = 0
    principal: str = ""
    moved: str = ""
    state: str = "ok"


class Cursors(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    cursors: list[Cursor]
    head: int
    oldest: int


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """``txid`` is journaled; ``pending_txid`` will be within a second, unless the NameNode dies."""

    name: str
    txid: int
    pending_txid: int


class Feed:
    """Reads on and on; who leads meanwhile does not matter: a txid means the same everywhere.

    Args:
        start: First txid wanted.
        path: Only what matters to it and to all below it; "" = everything.
        kinds: Only these; empty = any.

    Attributes:
        next: Where the next page begins.
        head: The newest txid heard of.
    """

    def __init__(self, control: Control, start: int, *, path: str = "", kinds: Sequence[str] = ()) -> None:
        self._control = control
        self._path, self._kinds = path, ",".join(kinds)
        self.next = start
        self.head = 0

    def page(self, *, wait_ms: int = 0) -> Page:
        """What comes next, perhaps nothing.

        Raises:
            Compacted: It is no longer kept: read the tree as it is, and go on from ``oldest_txid``.
        """
        page = self._control.get(
            "/journal",
            Page,
            **{"from": self.next, "limit": _PAGE, "wait_ms": wait_ms or None, "changes": "true"},
            path=self._path or None,
            kind=self._kinds or None,
        )
        self.next, self.head = max(self.next, page.next), max(self.head, page.head)
        return page

    def pages(self, *, follow: bool) -> Iterator[Page]:
        """Page after page; without ``follow`` up to what was the newest record when it began."""
        end = 0
        while True:
            page = self.page(wait_ms=WAIT_MS if follow else 0)
            end = end or page.head
            yield page
            if not follow and self.next > end:
                return

    def changes(self, *, follow: bool) -> Iterator[Change]:
        """The same, one by one."""
        for page in self.pages(follow=follow):
            for record in page.records:
                for at, what in enumerate(record.changes, 1):
                    yield Change(
                        txid=record.txid,
                        ts=record.ts,
                        principal=record.principal,
                        peer=record.peer,
                        what=what,
                        last=at == len(record.changes),
                    )
