"""A NameNode's directory whose journal is made of given events, far faster than clients could."""

from collections.abc import Sequence
from contextlib import closing
from typing import Final

from esdfs.env_os import OsClock, OsRng
from esdfs.ids import Txid
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Head
from esdfs.journal.floor import FILE as FLOOR_FILE
from esdfs.journal.floor import AckFloor
from esdfs.journal.sql import open_journal
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.event_codec import pack_all
from esdfs.namenode.events import Event
from esdfs.namenode.formatting import cluster_settings, format_namenode
from esdfs.namenode.upcasters import LEVEL_NEWEST

_BATCH: Final = 1_000


class Making:
    """Formats the directory; then every `record` is one of the journal's.

    Attributes:
        events: How many are recorded.
        now_us: The last record's time.
    """

    def __init__(self, config: NameNodeConfig) -> None:
        clock, rng = OsClock(), OsRng()
        format_namenode(config, cluster_settings(rng), clock=clock, rng=rng)
        self.config = config
        self.journal = open_journal(config.database_url)
        self.events = 0
        self.now_us = int(clock.wall_us())
        self._head = self.journal.head()
        self._drafts: list[Draft] = []

    def record(self, events: Sequence[Event]) -> None:
        """One transaction of these; written with others."""
        packed = pack_all(events, range(len(events)), level=LEVEL_NEWEST)
        self.events += len(events)
        self.now_us += 1
        self._drafts.append(
            Draft(
                ts_us=self.now_us,
                kind=packed.kind,
                version=packed.version,
                payload=packed.payload,
                client_id=b"0123456789abcdef",
                seq=self.events,
                principal="ann",
                peer="192.0.2.1",
            )
        )
        if len(self._drafts) >= _BATCH:
            self.flush()

    def flush(self) -> int:
        """Write what waits; answers the last txid."""
        if self._drafts:
            entries = seal(self._head, self._head.epoch, self._drafts)
            self.journal.append(entries)
            self._head = Head(entries[-1].epoch, entries[-1].txid, entries[-1].chain)
            self._drafts = []
        return int(self._head.last_txid)

    def close(self) -> None:
        """Leave it so that a NameNode starts on it."""
        self.flush()
        identity = self.journal.identity()
        assert identity is not None, "format_namenode gives one"
        (last,) = self.journal.read(Txid(self.journal.head().last_txid - 1), limit=1)
        with closing(AckFloor(self.config.path / FLOOR_FILE, identity)) as floor:
            floor.write(last.position)
        self.journal.close()
