"""Going on without the others, for good: an operator's last resort when a majority is lost.

Only the operator can know that the others are gone. Should they come back nevertheless, they are of an older
generation: nobody hears them, and they stop with a message that says so.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from esdfs.env import Clock
from esdfs.errors import InvalidRequest
from esdfs.ids import Epoch, Micros, NodeId, Position, Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import Entry, Vote
from esdfs.journal.floor import FILE as FLOOR_FILE
from esdfs.journal.floor import AckFloor
from esdfs.journal.log import Journal
from esdfs.namenode.checkpoints.recovery import find
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.control_records import VOTERS_KIND, EventControlRecords, draft
from esdfs.namenode.directory import open_own_journal
from esdfs.namenode.events import VoterEntry, VotersChanged
from esdfs.namenode.upcasters import LEVEL_OLDEST

EPOCH_JUMP: Final = 1_000_000
"""The others may have elected leaders we never heard of, and DataNodes obey the highest epoch they saw.
Nobody holds a million elections meanwhile."""

_KIND: Final = Entry.__struct_fields__.index("kind")


class Situation(msgspec.Struct, frozen=True):
    """What there is to decide upon.

    Attributes:
        others: The other voters, as this journal knows them; empty for a cluster of one.
        last: Where this journal ends.
        lacks_records: This node once acknowledged records that its journal no longer has.
        generation: Of the cluster; the new one is one higher.
    """

    node_id: str
    others: tuple[str, ...]
    last: Position
    lacks_records: bool
    generation: int


def examine(config: NameNodeConfig) -> Situation:
    """Look, and change nothing. The caller holds the directory's lock.

    Raises:
        InvalidRequest: A witness, or not formatted.
    """
    if config.kind == "witness":
        raise InvalidRequest(f"{config.node_id} is a witness: it has no namespace to go on with")
    journal, identity = open_own_journal(config)
    try:
        head = journal.head()
        floor = AckFloor(config.path / FLOOR_FILE, identity)
        last = Position(head.epoch, head.last_txid)
        lacks_records = floor.position is None or last < floor.position
        floor.close()
        if not head.last_txid:
            raise InvalidRequest(f"the journal of {config.node_id} is empty: there is nothing to go on with")
        others = tuple(node_id for node_id in _voters(journal, config) if node_id != config.node_id)
        return Situation(config.node_id, others, last, lacks_records, identity.cluster_generation)
    finally:
        journal.close()


def force_standalone(config: NameNodeConfig, dead: Collection[str], clock: Clock) -> Situation:
    """Make this node the only voter of a new generation of its cluster. Durable on return.

    A crash before that has changed nothing, or all of it; run it again if in doubt.

    Args:
        config: Of the node, which does not run; the caller holds the directory's lock.
        dead: All other voters.
        clock: For the new record's time.

    Raises:
        InvalidRequest: ``dead`` are not the other voters, or see ``examine``.
    """
    before = examine(config)
    if set(dead) != set(before.others):
        raise InvalidRequest(
            "--dead must name the other voters, all of them and nobody else: "
            + (",".join(before.others) or "there are none")
        )
    journal, identity = open_own_journal(config)
    try:
        head = journal.head()
        epoch = Epoch(max(journal.vote().epoch, head.epoch) + EPOCH_JUMP)
        me = VoterEntry(identity.node_id, identity.storage_id, "voter", config.grpc_address, config.rest_url)
        last = journal.read(Txid(head.last_txid - 1), limit=1)
        last_ts_us = last[0].ts_us if last else journal.base().ts_us
        alone = draft(VotersChanged((me,)), Micros(clock.wall_us()), level=LEVEL_OLDEST)
        entries = seal(head, epoch, [alone], not_before_us=last_ts_us)
        vote = Vote(epoch, identity.node_id, identity.storage_id)
        journal.restart_alone(identity.cluster_generation + 1, vote, entries)
        floor = AckFloor(config.path / FLOOR_FILE, identity)
        try:
            floor.write(entries[-1].position)
        finally:
            floor.close()
    finally:
        journal.close()
    return before


def _voters(journal: Journal, config: NameNodeConfig) -> tuple[NodeId, ...]:
    """The newest set in the journal, committed or not: it is in force."""
    found = find(journal, config.path)
    newest = None if found is None or found.voters is None else found.voters[1]
    for page in journal.scan(journal.base().last_txid, until=journal.head().last_txid):
        for row in page:
            if row[_KIND] == VOTERS_KIND:
                newest = EventControlRecords().voters_of(Entry(*row))
    return () if newest is None else newest.ids
