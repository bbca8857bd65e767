"""Where the past begins, where retention wants it to, and how far forgetting is behind. Reads only."""

from typing import Final, NamedTuple

from esdfs.namenode.projection.layout import U64
from esdfs.namenode.projection.purging import Backlog
from esdfs.namenode.projection.views import PresentView

_US: Final = 1_000_000


class Standing(NamedTuple):
    """How much history there is.

    Attributes:
        history_oldest_txid: The first txid that can be read without a snapshot.
        history_wanted_txid: What that will be once the horizon has followed the window.
        history_purged_txid: Everything that ended up to here was forgotten, or is held by a snapshot.
        history_held_versions: Those held.
        history_snapshots: How many snapshots there are.
    """

    history_oldest_txid: int
    history_wanted_txid: int
    history_purged_txid: int
    history_held_versions: int
    history_snapshots: int


def wanted_horizon(view: PresentView, now_us: int) -> int:
    """The oldest txid that retention asks for: the last one before the window, or ``records_max`` ago."""
    retention, last_txid = view.retention(), view.meta.applied_txid
    horizon = view.oldest_txid()
    if 0 < retention.window_s * _US < now_us:
        horizon = max(horizon, view.txid_at(now_us - retention.window_s * _US))
    if retention.records_max:
        horizon = max(horizon, last_txid - retention.records_max)
    return horizon


def standing(view: PresentView, now_us: int) -> Standing:
    """All of it, at once; cheap."""
    txn, dbs = view.tables()
    oldest_txid, backlog = view.oldest_txid(), Backlog(view)
    end = backlog.first_end()
    purged_txid = oldest_txid if end is None else U64.unpack_from(end)[0] - 1
    if (dead := backlog.first_dead()) is not None:
        purged_txid = min(purged_txid, dead[0] - 1)
    held = txn.stat(dbs[b"held"])["entries"]
    pins = txn.stat(dbs[b"pin"])["entries"]
    return Standing(oldest_txid, wanted_horizon(view, now_us), purged_txid, held, pins)
