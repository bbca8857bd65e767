"""Before a node takes part: are its records what was sealed? If not, others may have them."""

import sys
from typing import Final

import structlog

from esdfs.errors import JournalCorrupt
from esdfs.ids import Txid
from esdfs.journal.damage import find_damage, set_aside
from esdfs.journal.entry import Entry
from esdfs.journal.log import Journal
from esdfs.journal.quorum.voters import VoterSet
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.control_records import VOTERS_KIND, EventControlRecords

DIRECTORY: Final = "damaged"
_PROGRESS_FROM_RECORDS: Final = 500_000
_KIND: Final = Entry.__struct_fields__.index("kind")
_log = structlog.get_logger(__name__)


def mend(journal: Journal, config: NameNodeConfig, known: VoterSet | None) -> None:
    """Verify the whole journal; cut it before the first damaged record, which is kept in ``damaged/``.

    What is cut is fetched from the other NameNodes. Until that is done the ack floor, beyond the journal's
    end, keeps this node from leading. ``known`` are the voters that a checkpoint names.

    Raises:
        JournalCorrupt: Nobody else has the records, or those that say who votes are among them. Nothing
            was changed.
    """
    base = journal.base()
    damage = find_damage(journal, progress=_progress)
    if damage is None:
        return
    first = max(base.last_txid + 1, int(str(damage.details["txid"])))
    others = _others_before(journal, Txid(first), config.node_id, known)
    if others is None and not config.seeds:
        raise _refused(
            damage,
            "the records that say who votes are damaged, too: keep a copy of this directory, make a new one"
            " with `esdfs namenode format --join URL`, and put the new node in this one's place"
            " (`esdfs quorum`). If it was the only NameNode, restore the journal from a backup",
        )
    if not others and not config.seeds:
        raise _refused(
            damage,
            "no other NameNode votes, so nobody else has it. Keep a copy of this directory and restore the"
            " journal from a backup; `esdfs journal verify` shows how far this one is sound",
        )
    kept = set_aside(journal, Txid(first), config.path / DIRECTORY)
    _log.error(
        "damaged records cut off, to be fetched again", first=first, why=damage.message, kept=str(kept)
    )


def _others_before(
    journal: Journal, first: Txid, node_id: str, known: VoterSet | None
) -> tuple[str, ...] | None:
    """Who else voted by the sound records, or by the checkpoint before them; None when these do not say."""
    found = known
    for page in journal.scan(Txid(0), until=Txid(first - 1)):
        for row in page:
            if row[_KIND] == VOTERS_KIND:
                found = EventControlRecords().voters_of(Entry(*row))
    return None if found is None else tuple(other for other in found.ids if other != node_id)


def _refused(damage: JournalCorrupt, why: str) -> JournalCorrupt:
    return JournalCorrupt(f"{damage.message}; {why}", **damage.details)


def _progress(done: int, total: int) -> None:
    if total >= _PROGRESS_FROM_RECORDS:
        print(f"verifying: {done} of {total} records", file=sys.stderr)  # noqa: T201 - who starts it waits
