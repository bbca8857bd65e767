"""The quorum's own records as events: who leads, who votes."""

from collections.abc import Callable

from esdfs.ids import Epoch, Micros, NodeId
from esdfs.journal.entry import Draft, Entry
from esdfs.journal.quorum.voters import Voter, VoterKind, VoterSet
from esdfs.namenode.event_codec import pack, unpack
from esdfs.namenode.events import Event, Kind, LeaderChanged, VoterEntry, VotersChanged
from esdfs.namenode.upcasters import LEVEL_OLDEST

VOTERS_KIND = int(Kind.VOTERS_CHANGED)
FORMAT_EPOCH = Epoch(0)
"""Formatting writes outside any leader's epoch."""


class EventControlRecords:
    """``ControlRecords`` of a NameNode's journal.

    A voter's endpoint is both of its addresses, separated by a space: of its quorum RPCs, and the URL of its
    REST server (none for a witness).

    Args:
        level: The feature level to write at: that of the newest state applied, which is never above the
            cluster's.
        release: Of this program.
    """

    def __init__(self, level: Callable[[], int] = lambda: LEVEL_OLDEST, release: str = "") -> None:
        self._level, self._release = level, release

    def leader_changed(self, leader_id: NodeId, storage_id: str, ts_us: Micros) -> Draft:
        """See ``ControlRecords.leader_changed``."""
        level = self._level()
        return draft(LeaderChanged(leader_id, storage_id, self._release, level), ts_us, level=level)

    def voters_changed(self, voters: VoterSet, ts_us: Micros) -> Draft:
        """See ``ControlRecords.voters_changed``."""
        event = VotersChanged(tuple(_entry(voter) for voter in voters))
        return draft(event, ts_us, level=self._level())

    def voters_of(self, entry: Entry) -> VoterSet | None:
        """See ``ControlRecords.voters_of``."""
        if entry.kind != VOTERS_KIND:
            return None
        (event,) = unpack(entry.kind, entry.version, entry.payload).events
        assert isinstance(event, VotersChanged), f"record {entry.txid} has the kind of voters and none"
        return voter_set(event)


def voter_set(event: VotersChanged) -> VoterSet:
    """The voters of an event, as the quorum knows them."""
    return VoterSet(
        Voter(
            NodeId(voter.node_id),
            voter.storage_id,
            VoterKind(voter.kind),
            f"{voter.grpc} {voter.rest}".rstrip(),
        )
        for voter in event.voters
    )


def addresses(endpoint: str) -> tuple[str, str]:
    """(quorum address, REST URL or "") of a voter's endpoint."""
    grpc, _, rest = endpoint.partition(" ")
    return grpc, rest


def draft(event: Event, ts_us: Micros, *, level: int) -> Draft:
    """A record of the NameNode's own, in the shape of a feature level."""
    packed = pack(event, level=level)
    return Draft(
        ts_us=ts_us,
        kind=packed.kind,
        version=packed.version,
        payload=packed.payload,
        principal="esdfs",
    )


def _entry(voter: Voter) -> VoterEntry:
    grpc, rest = addresses(voter.endpoint)
    return VoterEntry(voter.node_id, voter.storage_id, voter.kind.value, grpc, rest)
