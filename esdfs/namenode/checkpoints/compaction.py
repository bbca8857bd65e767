"""Records older than the newest checkpoint leave the journal: into the archive, then out of the database."""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from esdfs.env import Clock
from esdfs.ids import Txid
from esdfs.journal.entry import Base
from esdfs.journal.log import Journal
from esdfs.namenode.checkpoints.archive import Archive
from esdfs.namenode.checkpoints.helper import ArchiveRecords
from esdfs.namenode.checkpoints.journal_side import JournalSide
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.namespace.inodes import Cursor

_SEGMENT_RECORDS: Final = 100_000
_DELETE_RECORDS: Final = 1000  # in one transaction, while others wait for the journal's thread

_log = structlog.get_logger(__name__)


class Compaction:
    """Of one journal. One run at a time.

    Args:
        helper: Has records sealed into a segment, durably.
        moved: Told the new base, again and again.
        cursors: The named readers, whose records are held for a while.
    """

    def __init__(
        self,
        config: NameNodeConfig,
        journal: Journal,
        cluster_id: str,
        quorum: JournalSide,
        helper: Callable[[ArchiveRecords], Awaitable[object]],
        moved: Callable[[Base], None],
        cursors: Callable[[], list[Cursor]],
        clock: Clock,
    ) -> None:
        self._config, self._journal, self._cluster_id = config, journal, cluster_id
        self._quorum, self._helper, self._moved = quorum, helper, moved
        self._cursors, self._clock = cursors, clock
        self._archive = Archive(config.path)
        self._archive.tidy()

    async def run(self, checkpoint_txid: Txid) -> None:
        """Have the journal begin ``journal_retain_records`` before the checkpoint, if at all.

        Raises:
            EsdfsError: The archive could not be written: records stay where they are.
        """
        retain = self._config.journal_retain_records
        target = Txid(checkpoint_txid - retain)
        base = await self._quorum.in_journal(self._journal.base)
        if not retain or target <= base.last_txid:
            return
        target = await self._held(target)
        if target <= base.last_txid:
            return
        archived = max(self._archive.last_txid(), base.last_txid)
        while archived < target:
            until = Txid(min(target, archived + _SEGMENT_RECORDS))
            job = ArchiveRecords(self._config.database_url, self._cluster_id, archived, until)
            await self._helper(job)
            _log.info("records archived", after=archived, until=until)
            archived = until
        # Followers must not be served from where records are vanishing.
        (entry,) = await self._quorum.in_journal(lambda: self._journal.read(Txid(target - 1), limit=1))
        self._quorum.compacted(Base(entry.epoch, entry.txid, entry.chain, entry.ts_us))
        while base.last_txid < target:
            base = await self._quorum.in_journal(lambda: self._journal.compact(target, limit=_DELETE_RECORDS))
            self._moved(base)
        _log.info("journal compacted", base_txid=base.last_txid)

    async def _held(self, target: Txid) -> Txid:
        """``target``, or less while a named reader needs more and that is not older than is held for it."""
        needy = sorted((one for one in self._cursors() if one.txid < target), key=lambda one: one.txid)
        if not needy:
            return target
        since_us = self._clock.wall_us() - self._config.cursor_hold_s * 1_000_000
        expired = await self._quorum.in_journal(lambda: self._journal.txid_at(since_us))
        held = min(target, max(Txid(needy[0].txid), expired))
        for one in needy:
            if one.txid < held:
                _log.warning(
                    "a cursor loses records",
                    cursor=one.name,
                    at_txid=one.txid,
                    base_txid=held,
                    why=f"it has not read them for {self._config.cursor_hold_s} s (cursor_hold_s)",
                )
        if held < target:
            _log.info("records held for a cursor", cursor=needy[0].name, base_txid=held, wanted_txid=target)
        return held
