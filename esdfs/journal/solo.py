"""The quorum of one: what is durable here is committed."""

from collections.abc import Sequence

from esdfs.errors import JournalError, JournalUnavailable
from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Entry, Head, Vote
from esdfs.journal.log import Journal


class SoloReplication:
    """``Replication`` for a cluster with one voter, which leads from its start.

    Opening it makes a new epoch durable, with a vote for this node, before anything else: no two starts
    ever write records of the same epoch. The caller then appends the record that says who leads.

    Raises:
        JournalUnavailable: The journal was never formatted, or does not answer.
    """

    def __init__(self, journal: Journal) -> None:
        identity = journal.identity()
        if identity is None:
            raise JournalUnavailable("this journal was never formatted: run `esdfs namenode format`")
        self._journal = journal
        self._head = journal.head()
        self._epoch = Epoch(max(journal.vote().epoch, self._head.epoch) + 1)
        journal.remember_vote(Vote(self._epoch, identity.node_id, identity.storage_id))
        last = journal.read(Txid(self._head.last_txid - 1), limit=1) if self._head.last_txid else []
        self._last_ts_us = last[0].ts_us if last else journal.base().ts_us
        self._in_flight: list[Entry] = []
        self._failed = ""

    @property
    def epoch(self) -> Epoch:
        """See ``Replication.epoch``: fixed for the life of this object."""
        return self._epoch

    @property
    def head(self) -> Head:
        """See ``Replication.head``."""
        return self._head

    @property
    def commit_txid(self) -> Txid:
        """See ``Replication.commit_txid``: with one voter, the end of the journal."""
        return self._head.last_txid

    @property
    def is_leader(self) -> bool:
        """True until a write fails."""
        return not self._failed

    def propose(self, drafts: Sequence[Draft]) -> list[Entry]:
        """See ``Replication.propose``."""
        self._refuse_after_failure()
        assert not self._in_flight, "one batch at a time: commit the last one first"
        self._in_flight = seal(self._head, self._epoch, drafts, not_before_us=self._last_ts_us)
        return list(self._in_flight)

    def commit(self, entries: Sequence[Entry]) -> None:
        """See ``Replication.commit``."""
        self._refuse_after_failure()
        assert list(entries) == self._in_flight, "only what was proposed may be committed"
        if not entries:
            return
        try:
            self._journal.append(entries)
        except BaseException as error:
            # Nobody knows whether it happened: anything but success is final.
            self._failed = (
                error.message if isinstance(error, JournalError) else "its last append did not finish"
            )
            raise
        last = entries[-1]
        self._head = Head(last.epoch, last.txid, last.chain)
        self._last_ts_us = last.ts_us
        self._in_flight = []

    def tail(self, after: Txid, *, limit: int) -> list[Entry]:
        """See ``Replication.tail``."""
        committed = self.commit_txid
        return [entry for entry in self._journal.read(after, limit=limit) if entry.txid <= committed]

    def _refuse_after_failure(self) -> None:
        if self._failed:
            raise JournalUnavailable(f"a write of the journal failed ({self._failed}): restart this node")
