"""What survives a crash of a simulated node, and how each write changes it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from esdfs.ids import ORIGIN, Epoch, Position, Txid
from esdfs.journal.chain import continues
from esdfs.journal.entry import NO_CHAIN, Entry, Head, Identity, Vote
from esdfs.journal.quorum.effects import (
    AppendRecords,
    InstallCheckpoint,
    RaiseFloor,
    RememberVote,
    TruncateJournal,
    Write,
)
from esdfs.journal.quorum.inputs import Stored
from esdfs.journal.quorum.messages import CheckpointOffer
from esdfs.journal.quorum.voters import VoterSet
from tests.sim.machine import CONTROL, Machine


class Image(NamedTuple):
    """A checkpoint with its file."""

    offer: CheckpointOffer
    machine: Machine


@dataclass
class Disk:
    """One node's journal database, ack floor and checkpoint."""

    identity: Identity
    image: Image
    incarnation: int = 0
    vote: Vote = field(default_factory=lambda: Vote(Epoch(0), "", ""))
    floor: Position | None = ORIGIN
    base: Head = field(default_factory=lambda: Head(Epoch(0), Txid(0), NO_CHAIN))
    base_ts_us: int = 0
    entries: list[Entry] = field(default_factory=list)
    incoming: dict[Position, Image] = field(default_factory=dict)  # downloaded checkpoints
    applied: Machine | None = None  # the projection, if it survived

    @property
    def last(self) -> Position:
        return self.entries[-1].position if self.entries else Position(self.base.epoch, self.base.last_txid)

    def epoch_at(self, txid: int) -> Epoch | None:
        """Who wrote the record at ``txid``, if it is here."""
        if txid == self.base.last_txid:
            return self.base.epoch
        index = txid - self.base.last_txid - 1
        return self.entries[index].epoch if 0 <= index < len(self.entries) else None

    def holds(self, position: Position) -> bool:
        return position.txid < self.base.last_txid or self.epoch_at(position.txid) == position.epoch

    # --- writes; ``torn`` stops between the journal and the floor, as a crash would ---

    def write(self, write: Write, *, torn: bool = False) -> None:
        match write:
            case RememberVote(vote):
                self.vote = vote
            case AppendRecords(entries, floor):
                self.entries.extend(entries)
                if floor is not None and not torn:
                    self.floor = floor
            case TruncateJournal(keep, floor):
                self.floor = floor
                if not torn:
                    del self.entries[max(0, keep.txid - self.base.last_txid) :]
            case InstallCheckpoint(offer, keep_tail, _, floor):
                if floor is not None and self.floor is not None and floor < self.floor:
                    self.floor = floor
                if not torn:
                    self._install(offer, keep_tail)
                    self.floor = floor
            case RaiseFloor(floor):
                self.floor = floor

    def _install(self, offer: CheckpointOffer, keep_tail: bool) -> None:
        kept = [entry for entry in self.entries if entry.txid > offer.last.txid] if keep_tail else []
        self.image = self.incoming[offer.last]
        self.incoming = {last: image for last, image in self.incoming.items() if last > offer.last}
        self.base = Head(offer.last.epoch, offer.last.txid, offer.chain)
        self.base_ts_us = offer.last_ts_us
        self.entries = kept

    def compact(self, upto: Txid) -> None:
        """Drop records up to ``upto``, inclusive, which the checkpoint covers."""
        count = upto - self.base.last_txid
        if count <= 0:
            return
        end = self.entries[count - 1]
        self.base, self.base_ts_us = Head(end.epoch, end.txid, end.chain), end.ts_us
        del self.entries[:count]

    # --- start ---

    def check(self) -> None:
        """Cut at the first record that is damaged, as a starting node does. The floor stays."""
        chain = self.base.chain
        for index, entry in enumerate(self.entries):
            if not continues(chain, entry):
                del self.entries[index:]
                return
            chain = entry.chain

    def _committed_txid(self) -> Txid:
        """How far this journal is known committed: what was applied proves nothing about an older tail."""
        machine = self.applied
        index = (machine.txid if machine else Txid(0)) - self.base.last_txid - 1
        if machine and 0 <= index < len(self.entries) and self.entries[index].chain == machine.chain:
            return machine.txid
        last = self.image.offer.last
        return last.txid if self.epoch_at(last.txid) == last.epoch else self.base.last_txid

    def stored(self) -> Stored:
        """What a node finds here at its start."""
        ends: dict[Epoch, Position] = {}
        voters: list[tuple[Txid, VoterSet]] = [(self.image.offer.voters_txid, self.image.offer.voters)]
        for entry in self.entries:
            ends[entry.epoch] = entry.position
            if entry.txid > self.image.offer.voters_txid:
                found = CONTROL.voters_of(entry)
                if found is not None:
                    voters.append((entry.txid, found))
        return Stored(
            self.identity,
            self.incarnation,
            self.vote,
            self.floor,
            self.base,
            self.base_ts_us,
            self._committed_txid(),
            tuple(ends.values()),
            tuple(voters),
            tuple(self.entries[-512:]),
            self.image.offer,
        )
