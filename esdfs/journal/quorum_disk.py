"""What the quorum asks of a disk: its writes in order, and what a node finds there at its start."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, assert_never

from esdfs.env import Clock
from esdfs.errors import JournalCorrupt, JournalUnavailable
from esdfs.ids import Epoch, NodeId, Position, Txid
from esdfs.journal.chain import verify_rows
from esdfs.journal.entry import NO_CHAIN, Entry, Head
from esdfs.journal.floor import AckFloor
from esdfs.journal.log import Journal
from esdfs.journal.quorum.effects import (
    AppendRecords,
    InstallCheckpoint,
    RaiseFloor,
    RememberVote,
    TruncateJournal,
    Write,
)
from esdfs.journal.quorum.inputs import ControlRecords, Stored
from esdfs.journal.quorum.messages import CheckpointOffer
from esdfs.journal.quorum.voters import Voter, VoterSet

_EMPTY: Final = Head(Epoch(0), Txid(0), NO_CHAIN)
_SOLE_FLOOR_NS: Final = 1_000_000_000
_KIND: Final = Entry.__struct_fields__.index("kind")


class CheckpointPort(Protocol):
    """Where checkpoints come from and go. Without it, a node only follows leaders that keep all records."""

    async def fetch(self, source: NodeId, offer: CheckpointOffer) -> None:
        """Get the file from ``source`` and verify it. Durable on return; raises `EsdfsError` if it cannot."""
        ...

    def install(self, write: InstallCheckpoint) -> None:
        """Begin the journal after the checkpoint, in one transaction. Called in the journal's thread."""
        ...


class QuorumDisk:
    """Carries out writes, durably, in the order they come. For one thread.

    Args:
        is_sole: Whether this node has the only vote. The ack floor is then raised once a second, not with
            every append: no election depends on it, and it costs as much as the append itself.
    """

    def __init__(
        self,
        journal: Journal,
        floor: AckFloor,
        checkpoints: CheckpointPort | None = None,
        *,
        clock: Clock,
        is_sole: Callable[[], bool],
    ) -> None:
        self._journal, self._floor, self._checkpoints = journal, floor, checkpoints
        self._clock, self._is_sole = clock, is_sole
        self._due: Position | None = None
        self._raised_ns = 0

    def write(self, writes: Sequence[Write]) -> None:
        """Durable on return. ``writes`` is what ``together`` allows in one go.

        Raises:
            JournalError: Written or not, nobody knows. The process must exit; there is no retry.
        """
        appends = [write for write in writes if isinstance(write, AppendRecords)]
        if appends:
            assert len(appends) == len(writes), "appends are written together only with appends"
            self._journal.append([entry for write in appends for entry in write.entries])
            # The journal first: a floor beyond its end would mean lost records.
            self._due = appends[-1].floor
            if not self._is_sole() or self._clock.monotonic_ns() - self._raised_ns >= _SOLE_FLOOR_NS:
                self.settle()
            return
        self.settle()
        (write,) = writes
        match write:
            case RememberVote(vote):
                self._journal.remember_vote(vote)
            case TruncateJournal(keep, floor):
                self._floor.write(floor)
                self._journal.truncate(keep.txid)
            case InstallCheckpoint():
                self._install(write)
            case RaiseFloor(floor):
                self._floor.write(floor)
            case AppendRecords():
                raise AssertionError("written above")
            case _:
                assert_never(write)

    def settle(self) -> None:
        """Raise the floor to the last append, if that was put off."""
        if self._due is not None:
            self._raise_floor(self._due)
            self._due, self._raised_ns = None, self._clock.monotonic_ns()

    def _install(self, write: InstallCheckpoint) -> None:
        assert self._checkpoints is not None, "nobody can have fetched a checkpoint"
        before = self._floor.position
        if write.floor is not None and before is not None and write.floor < before:
            self._floor.write(write.floor)
        self._checkpoints.install(write)
        self._raise_floor(write.floor)

    def _raise_floor(self, floor: Position | None) -> None:
        if floor is not None:
            self._floor.write(floor)


def together(writes: Sequence[Write]) -> int:
    """How many of ``writes``, from the first on, go to the disk in one transaction (group commit)."""
    count = 0
    for write in writes:
        if not isinstance(write, AppendRecords):
            break
        count += 1
    return max(count, 1)


def find_voters(
    journal: Journal,
    *,
    control: ControlRecords,
    voters_kind: int,
    known: tuple[Txid, VoterSet] | None = None,
    base: Head = _EMPTY,
    sole: Voter | None = None,
) -> tuple[tuple[Txid, VoterSet], ...]:
    """The sets of voters on a node's disk, each with the record that holds it. Reads all after ``known``.

    Args:
        journal: Formatted.
        control: Recognizes records of ``voters_kind``.
        voters_kind: The kind of the records that change the voters.
        known: The set in force at some record, and its txid, when a checkpoint knows one.
        base: The last record compacted away.
        sole: This node as a voter. Clusters of one did not always journal who votes: it is this node then,
            unless it ever took part in an epoch of another's.

    Raises:
        JournalUnavailable: Nobody votes.
    """
    voters = [] if known is None else [known]
    for page in journal.scan(voters[0][0] if voters else base.last_txid, until=journal.head().last_txid):
        for row in page:
            if row[_KIND] == voters_kind:
                entry = Entry(*row)
                found = control.voters_of(entry)
                assert found is not None, f"record {entry.txid} has the kind of voters and none"
                voters.append((entry.txid, found))
    vote = journal.vote()
    is_ours = not vote.epoch or (sole is not None and vote.voted_for_storage_id == sole.storage_id)
    if not voters and sole is not None and is_ours and journal.head().last_txid:
        voters.append((base.last_txid, VoterSet((sole,))))
    if not voters:
        raise JournalUnavailable("this journal names no voters: run `esdfs namenode format`")
    return tuple(voters)


def load(
    journal: Journal,
    floor: AckFloor,
    *,
    voters: Sequence[tuple[Txid, VoterSet]],
    incarnation: int,
    applied_txid: Txid,
    recent_records: int,
    base: Head = _EMPTY,
    base_ts_us: int = 0,
    checkpoint: CheckpointOffer | None = None,
) -> Stored:
    """What a node finds on its disk. Checks the recent records.

    Args:
        journal: Formatted.
        floor: Formatting must have written it: an unreadable one keeps a node from leading.
        voters: From ``find_voters``.
        incarnation: From ``next_incarnation``.
        applied_txid: The last record a durable projection holds: known committed.
        recent_records: At least ``QuorumConfig.uncommitted_records``.
        base: The last record compacted away.
        base_ts_us: Its timestamp.
        checkpoint: The newest one this node can offer.

    Raises:
        JournalUnavailable: Never formatted.
        JournalCorrupt: The records do not make a journal.
    """
    identity = journal.identity()
    if identity is None:
        raise JournalUnavailable("this journal was never formatted: run `esdfs namenode format`")
    head = journal.head()
    oldest = journal.oldest_txid()
    if oldest not in (0, base.last_txid + 1):
        raise JournalCorrupt(
            f"the journal begins at record {oldest}, not after {base.last_txid}: verify it",
            txid=base.last_txid + 1,
            damage="gap",
        )
    return Stored(
        identity=identity,
        incarnation=incarnation,
        vote=journal.vote(),
        floor=floor.position,
        base=base,
        base_ts_us=base_ts_us,
        # Ahead of the journal it vouches for nothing in it: the end here may be a deposed leader's tail.
        committed_txid=max(base.last_txid, applied_txid)
        if applied_txid <= head.last_txid
        else base.last_txid,
        epoch_ends=_epoch_ends(journal, base, head),
        voters=tuple(voters),
        recent=_recent(journal, base, head, recent_records),
        checkpoint=checkpoint,
    )


def next_incarnation(path: Path) -> int:
    """Raise the number in the file ``path`` and answer it. Durable on return.

    Raises:
        JournalUnavailable: The file cannot be read or written.
    """
    try:
        number = int(path.read_text("ascii")) + 1 if path.exists() else 1
        new = path.with_name(f"{path.name}.new")
        with new.open("w", encoding="ascii") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except (OSError, ValueError) as error:
        raise JournalUnavailable(f"the incarnation in {path} cannot be raised: {error}") from error
    return number


def _epoch_ends(journal: Journal, base: Head, head: Head) -> tuple[Position, ...]:
    """From the end back; where each epoch begins is searched by halves, for epochs never go back."""
    ends: list[Position] = []
    last = Position(head.epoch, head.last_txid)
    while last.txid > base.last_txid:
        ends.append(last)
        low, high = int(base.last_txid) + 1, int(last.txid)  # invariant: the epoch begins in [low, high]
        while low < high:
            middle = (low + high) // 2
            if _record(journal, middle).epoch < last.epoch:
                low = middle + 1
            else:
                high = middle
        if low == base.last_txid + 1:
            break
        last = _record(journal, low - 1).position
    return tuple(reversed(ends))


def _record(journal: Journal, txid: int) -> Entry:
    found = journal.read(Txid(txid - 1), limit=1)
    if not found or found[0].txid != txid:
        raise JournalCorrupt(f"journal record {txid}: missing", txid=txid, damage="gap")
    return found[0]


def _recent(journal: Journal, base: Head, head: Head, count: int) -> tuple[Entry, ...]:
    before = Txid(max(base.last_txid, head.last_txid - count))
    chain = base.chain if before == base.last_txid else _record(journal, before).chain
    recent = journal.read(before, limit=count)
    rows = [tuple(getattr(entry, name) for name in Entry.__struct_fields__) for entry in recent]
    if verify_rows(chain, before, rows) != head.chain or len(recent) != head.last_txid - before:
        raise JournalCorrupt(
            f"the journal's head row says {head.last_txid}, and its records do not end there: verify it",
            txid=head.last_txid,
            damage="chain",
        )
    return tuple(recent)
