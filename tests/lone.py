"""The quorum of one without an event loop: the real rules and a real disk, driven by hand."""

from collections.abc import Sequence

from esdfs.env import Clock, Rng
from esdfs.ids import Epoch, Txid
from esdfs.journal.entry import Draft, Entry, Head
from esdfs.journal.floor import AckFloor
from esdfs.journal.log import Journal
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.effects import Effect, Persist
from esdfs.journal.quorum.inputs import ControlRecords, Instant
from esdfs.journal.quorum.node import QuorumNode
from esdfs.journal.quorum.voters import VoterSet
from esdfs.journal.quorum_disk import QuorumDisk, load


class LoneVoter:
    """``Replication``; it leads on return. What is proposed is committed by ``commit``."""

    def __init__(
        self,
        journal: Journal,
        floor: AckFloor,
        voters: Sequence[tuple[Txid, VoterSet]],
        control: ControlRecords,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._journal, self._clock = journal, clock
        config = QuorumConfig()
        stored = load(
            journal,
            floor,
            voters=voters,
            incarnation=1,
            applied_txid=Txid(0),
            recent_records=config.uncommitted_records,
        )
        self._disk = QuorumDisk(journal, floor, clock=clock, is_sole=lambda: False)
        self._node = QuorumNode(stored, config=config, control=control, rng=rng)
        self._effects: list[Effect] = self._node.start(self._now())
        self._effects += self._node.tick(self._now())
        self._carry_out()
        assert self._node.is_active, "a lone voter leads at once"

    @property
    def epoch(self) -> Epoch:
        return self._node.epoch

    @property
    def head(self) -> Head:
        return self._journal.head()

    @property
    def commit_txid(self) -> Txid:
        return self._node.commit_txid

    @property
    def is_leader(self) -> bool:
        return self._node.is_active

    def propose(self, drafts: Sequence[Draft]) -> list[Entry]:
        entries, effects = self._node.propose(drafts, self._now())
        self._effects += effects
        return entries

    def commit(self, entries: Sequence[Entry]) -> None:
        self._carry_out()
        assert self._node.commit_txid >= entries[-1].txid, "the only vote is its own"

    def tail(self, after: Txid, *, limit: int) -> list[Entry]:
        return [entry for entry in self._journal.read(after, limit=limit) if entry.txid <= self.commit_txid]

    def _carry_out(self) -> None:
        while self._effects:
            effect = self._effects.pop(0)
            if isinstance(effect, Persist):
                self._disk.write([effect.write])
                self._effects += self._node.persisted(effect.token, self._now())

    def _now(self) -> Instant:
        return Instant(self._clock.monotonic_ns(), self._clock.wall_us())
