"""/history: every kept version of a path, and who made it."""

from falcon.asgi import Request, Response

from esdfs.ids import Txid
from esdfs.journal.entry import Entry
from esdfs.namenode.namespace.inodes import Version
from esdfs.namenode.rest import answers, request
from esdfs.namenode.rest.edge import Edge, answer, stamp
from esdfs.namenode.rest.ports import JournalReader
from esdfs.namenode.rest.records import event_name

_DEFAULT_LIMIT = 100


class History:
    """/history?path=."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def on_get(self, req: Request, resp: Response) -> None:
        """Versions of what the path names or last named, newest first."""
        path = request.path_param(req)
        limit = request.limit(req, _DEFAULT_LIMIT)
        await self._edge.moment(req)
        with self._edge.reader.snapshot() as view:
            stamp(resp, view.applied_txid, view.epoch)
            versions = view.history(path, limit)
        wanted = {version.txid for version in versions}
        entries = await self._edge.in_journal(lambda journal: read_some(journal, wanted))
        answer(resp, {"versions": [_version(version, entries.get(version.txid)) for version in versions]})


def read_some(journal: JournalReader, txids: set[int]) -> dict[int, Entry]:
    """The records of ``txids`` that the journal still has."""
    found: dict[int, Entry] = {}
    for txid in sorted(txids):
        if txid in found:
            continue
        # Versions of one path often come in runs; a few records too many cost less than a query each.
        for entry in journal.read(Txid(txid - 1), limit=8):
            if entry.txid in txids:
                found[entry.txid] = entry
    return found


def _version(version: Version, entry: Entry | None) -> dict[str, object]:
    inode = version.inode
    return {
        "txid": version.txid,
        "until_txid": version.until_txid or None,
        "path": version.path,
        "type": "directory" if inode.is_directory else "file",
        "size_bytes": inode.size_bytes,
        "file_id": str(inode.inode),
        # None: older than the records kept; the version itself is in the projection.
        "event": None if entry is None else event_name(entry, inode.inode),
        "principal": None if entry is None else entry.principal,
        "peer": None if entry is None else entry.peer,
        "ts": None if entry is None else answers.iso(entry.ts_us),
    }
