"""A witness's checkpoints: it takes no images, but keeps the leader's newest file as it is.

So its journal can be compacted, too, and who lags can be served by it when it has to lead.
"""

import asyncio
from typing import Final

import structlog

from esdfs.env import Clock
from esdfs.errors import EsdfsError
from esdfs.ids import NodeId, Txid
from esdfs.journal.checkpoint import Checkpoint
from esdfs.journal.driver import QuorumDriver
from esdfs.journal.entry import Entry
from esdfs.journal.log import Journal
from esdfs.journal.quorum.messages import CheckpointOffer
from esdfs.namenode.checkpoints.compaction import Compaction
from esdfs.namenode.checkpoints.files import CheckpointFiles, forget_old
from esdfs.namenode.checkpoints.helper import ArchiveRecords, Done, Helper
from esdfs.namenode.checkpoints.journal_side import DriverSide
from esdfs.namenode.checkpoints.transfer import CheckpointExchange
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.event_codec import unpack
from esdfs.namenode.events import CheckpointTaken, Kind

_LOOK_EVERY_S: Final = 0.5
_RECORDS_MAX: Final = 1000
_TRIES: Final = 10

_log = structlog.get_logger(__name__)


class OpaqueKeeper:
    """In the witness's event loop."""

    def __init__(
        self,
        config: NameNodeConfig,
        journal: Journal,
        driver: QuorumDriver,
        exchange: CheckpointExchange,
        clock: Clock,
        cluster_id: str,
    ) -> None:
        self._journal, self._driver, self._exchange, self._clock = journal, driver, exchange, clock
        self._files = CheckpointFiles(config.path)
        self._helper = Helper(config.path, bytes_max=0)
        self._compacts = config.journal_retain_records > 0
        side = DriverSide(driver)
        self._compaction = Compaction(
            config, journal, cluster_id, side, self._seal, lambda _base: None, list, clock
        )
        self._seen_txid = driver.commit_txid  # of what came before, the newest is here or will be replaced

    async def start(self) -> None:
        """Start the helper process, if there will be something to archive."""
        if self._compacts:
            await self._helper.start()

    async def keep(self) -> None:
        """Follow the journal for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            taken = await self._newest_taken()
            if taken is None:
                continue
            for _ in range(_TRIES):  # the leader keeps its own a moment after it said so
                try:
                    await self._take(taken)
                except EsdfsError as error:
                    _log.info("checkpoint not kept", txid=taken.of_txid, why=error.message)
                else:
                    break

    async def stop(self) -> None:
        """End the helper process, if there is one."""
        await self._helper.stop()

    async def _newest_taken(self) -> CheckpointTaken | None:
        """The last one that was committed since this was asked; what lies between is skipped."""
        found: CheckpointTaken | None = None
        self._seen_txid = max(self._seen_txid, self._driver.node.base.txid)
        while self._seen_txid < self._driver.commit_txid:
            entries = self._driver.records(self._seen_txid, _RECORDS_MAX)
            for entry in entries:
                if entry.kind == Kind.CHECKPOINT_TAKEN:
                    (event,) = unpack(entry.kind, entry.version, entry.payload).events
                    assert isinstance(event, CheckpointTaken), f"record {entry.txid} is none"
                    found = event
            self._seen_txid = entries[-1].txid
            await asyncio.sleep(0)
        return found

    async def _take(self, taken: CheckpointTaken) -> None:
        source, driver = self._driver.leader_id, self._driver
        known = await driver.in_journal(self._journal.checkpoints)
        newest = known[0].txid if known else driver.node.base.txid
        if taken.of_txid <= newest or source is None or driver.node.is_leader:
            return
        (mark,) = await driver.in_journal(lambda: self._journal.read(Txid(taken.of_txid - 1), limit=1))
        offer = self._offer(taken, mark)
        await self._exchange.fetch(NodeId(source), offer)
        checkpoint = Checkpoint(
            mark.txid,
            mark.epoch,
            mark.chain,
            self._clock.wall_us(),
            taken.size_bytes,
            taken.sha256,
            taken.state_digest,
            self._files.relative(mark.txid),
        )

        def remember() -> None:
            self._journal.remember_checkpoint(checkpoint)
            forget_old(self._journal, self._files)

        await driver.in_journal(remember)
        if mark.txid > driver.node.base.txid:  # else a newer one was installed meanwhile
            driver.checkpointed(offer)
            _log.info("checkpoint kept", txid=mark.txid, size_bytes=taken.size_bytes)
            await self._compaction.run(mark.txid)

    def _offer(self, taken: CheckpointTaken, mark: Entry) -> CheckpointOffer:
        voters_txid, voters = self._driver.node.voters_at(mark.txid)
        return CheckpointOffer(
            mark.position, mark.chain, mark.ts_us, voters_txid, voters, taken.size_bytes, taken.sha256
        )

    async def _seal(self, job: ArchiveRecords) -> Done:
        return await self._helper.run(job, lambda _: None)
