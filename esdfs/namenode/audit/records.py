"""The records a NameNode has, in its journal or in its archive's segments."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final, Protocol

from esdfs.errors import Compacted
from esdfs.ids import Txid
from esdfs.journal.entry import NO_CHAIN, Base, Entry
from esdfs.namenode.checkpoints.archive import Archive, read_segment

_RESUMED_MAX: Final = 2
"""Readers of the archive whose place in a segment is remembered; others begin it again."""


class Journal(Protocol):
    """What is needed of ``SqlReader``."""

    def base(self) -> Base:
        """The last record that was compacted away."""
        ...

    def read(self, after: Txid, *, limit: int) -> list[Entry]:
        """At most ``limit`` records with a txid above ``after``, in order."""
        ...

    def pick(self, txids: Sequence[int]) -> list[Entry]:
        """Those of ``txids`` that are there, in order."""
        ...

    def chains(self, txids: Sequence[int]) -> dict[int, bytes]:
        """The chain values of those of ``txids`` that are there."""
        ...


class Records:
    """Journal and archive as one. Not for several threads.

    What the archive holds is proven while it is read: that costs a second per 100,000 records.
    """

    def __init__(self, directory: Path, journal: Journal) -> None:
        self._archive = Archive(directory)
        self._journal = journal
        self._resumed: OrderedDict[int, Iterator[Entry]] = OrderedDict()

    def oldest_txid(self) -> int:
        """The first record from which on all are there."""
        oldest = self._journal.base().last_txid + 1
        for first, last, _ in reversed(self._archive.segments()):
            if first < oldest <= last + 1:
                oldest = Txid(first)
        return oldest

    def read(self, first: int, limit: int) -> list[Entry]:
        """At most ``limit`` records from ``first`` on, at least one if there are any.

        Raises:
            Compacted: ``first`` is neither in the journal nor in the archive.
            JournalCorrupt: A segment is damaged.
        """
        if first > self._journal.base().last_txid:
            found = self._journal.read(Txid(first - 1), limit=limit)
            if not found or found[0].txid == first:
                return found
        return self._archived(first, limit)

    def within(self, first: int, last: int, txids: Sequence[int]) -> dict[int, Entry]:
        """The records of ``txids``, all of which are in ``[first, last]``; a later call goes on after it.

        Raises:
            Compacted: As ``read``.
        """
        wanted = set(txids)
        found: dict[int, Entry] = {}
        if first > self._journal.base().last_txid:
            found = {entry.txid: entry for entry in self._journal.pick(txids)}
            if len(found) == len(wanted):
                return found
            # Compacted since: the archive has them.
        while first <= last:
            page = self.read(first, min(1000, last - first + 1))
            if not page:
                break
            found |= {entry.txid: entry for entry in page if entry.txid in wanted}
            first = page[-1].txid + 1
        return found

    def pick(self, txids: Sequence[int]) -> tuple[dict[int, Entry], list[int]]:
        """(those of ``txids`` that were found, those too far back to be looked for at once).

        One segment is read at most: ask for the rest again.
        """
        found: dict[int, Entry] = {entry.txid: entry for entry in self._journal.pick(txids)}
        missing = {txid for txid in txids if txid not in found}
        for first, last, path in reversed(self._archive.segments()):
            here = {txid for txid in missing if first <= txid <= last}
            if not here:
                continue
            for page in read_segment(path):
                found |= {entry.txid: entry for entry in page if entry.txid in here}
                if page and page[-1].txid >= max(here):
                    break
            below = min(here)
            return found, sorted(txid for txid in missing if txid < below)
        return found, []

    def times(self, txids: Sequence[int]) -> dict[int, int]:
        """When the records of ``txids`` were written, as far as they are in the journal itself."""
        return {entry.txid: entry.ts_us for entry in self._journal.pick(txids)}

    def chains_before(self, entries: Iterable[Entry]) -> dict[int, bytes]:
        """Of each record, the chain value it continues, as far as that is in the journal; by its txid."""
        wanted = [entry.txid for entry in entries]
        known = self._journal.chains([txid - 1 for txid in wanted if txid > 1])
        base = self._journal.base()
        known |= {int(base.last_txid): base.chain, 0: NO_CHAIN}
        return {txid: known[txid - 1] for txid in wanted if txid - 1 in known}

    def _archived(self, first: int, limit: int) -> list[Entry]:
        entries = self._resumed.pop(first, None) or iter(())
        found = list(islice(entries, limit))
        if not found:
            entries = self._from(first)
            found = list(islice(entries, limit))
        if not found:
            oldest = self.oldest_txid()
            raise Compacted(
                f"records before txid {oldest} are no longer kept here: start from there", oldest_txid=oldest
            )
        self._resumed[found[-1].txid + 1] = entries
        while len(self._resumed) > _RESUMED_MAX:
            self._resumed.popitem(last=False)
        return found

    def _from(self, first: int) -> Iterator[Entry]:
        """Records from ``first`` on, to the end of its segment."""
        for lowest, last, path in self._archive.segments():
            if lowest <= first <= last:
                entries = chain.from_iterable(read_segment(path))
                return (entry for entry in entries if entry.txid >= first)
        return iter(())
