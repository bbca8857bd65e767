"""An operator vouches for a journal whose ack floor is lost, or gives up what the floor says is missing.

A node that recovers gets all it lacks from the others by itself; this is for when there are none, or when
those that are left cannot elect anybody.
"""

import msgspec

from esdfs.errors import InvalidRequest
from esdfs.ids import Position
from esdfs.journal.damage import find_damage
from esdfs.journal.floor import FILE as FLOOR_FILE
from esdfs.journal.floor import AckFloor
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.directory import open_own_journal


class Doubt(msgspec.Struct, frozen=True):
    """What there is to decide upon.

    Attributes:
        last: Where the journal ends.
        floor: How far this node once acknowledged; None when nobody knows any more.
    """

    node_id: str
    last: Position
    floor: Position | None

    @property
    def missing(self) -> int:
        """How many acknowledged records are missing, at least; 0 when none are known to be."""
        if self.floor is None or self.floor <= self.last:
            return 0
        return max(1, self.floor.txid - self.last.txid)


def examine(config: NameNodeConfig) -> Doubt:
    """Look, verify the whole journal, and change nothing. The caller holds the directory's lock.

    Raises:
        InvalidRequest: Not formatted.
        JournalCorrupt: Its records are damaged, which nobody can vouch away.
    """
    journal, identity = open_own_journal(config)
    try:
        damage = find_damage(journal)
        if damage is not None:
            raise damage
        head = journal.head()
        floor = AckFloor(config.path / FLOOR_FILE, identity)
        floor.close()
        return Doubt(config.node_id, Position(head.epoch, head.last_txid), floor.position)
    finally:
        journal.close()


def trust(config: NameNodeConfig, *, accept_loss: int) -> Doubt:
    """Take the journal's end as all this node ever acknowledged. Durable on return.

    Args:
        config: Of the node, which does not run; the caller holds the directory's lock.
        accept_loss: Must equal ``Doubt.missing``: the operator has seen how much it is.

    Raises:
        InvalidRequest: It does not; or see ``examine``.
    """
    doubt = examine(config)
    if accept_loss != doubt.missing:
        raise InvalidRequest(
            f"{doubt.missing} acknowledged records are missing, not {accept_loss}: nothing was changed"
        )
    journal, identity = open_own_journal(config)
    journal.close()
    floor = AckFloor(config.path / FLOOR_FILE, identity)
    try:
        floor.write(doubt.last)
    finally:
        floor.close()
    return doubt
