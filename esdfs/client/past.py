"""What was, and what is kept of it: the part of `DFSClient` that is about history and the journal."""

from collections.abc import Iterator, Sequence
from typing import Any

from esdfs.client.calls import Calls, Point, absolute, point
from esdfs.client.changes import Change, Cursor, Cursors, Feed, Moved
from esdfs.client.values import (
    Difference,
    FileStatus,
    Retention,
    Snapshot,
    SnapshotMade,
    Snapshots,
    Version,
    Versions,
)
from esdfs.errors import NotFound


class Past(Calls):
    """History, restores, snapshots and retention; the journal as a feed."""

    # --- history ------------------------------------------------------------------------------

    def history(self, path: str, *, limit: int = 1000) -> list[Version]:
        """Every kept version of what the path names or last named, newest first."""
        return self.control.get("/history", Versions, path=path, limit=limit).versions

    def restore(
        self, path: str, as_of: Point, target: str | None = None, *, overwrite: bool = True
    ) -> FileStatus:
        """Bring back a file or directory as it was, at its own path or at ``target``; no bytes move."""
        body = {"path": path, "as_of": point(as_of), "target": target or path, "overwrite": overwrite}
        return self._change("POST", "/restore", FileStatus, body)

    # --- the journal --------------------------------------------------------------------------

    def changes(
        self,
        from_txid: int | None = None,
        path: str | None = None,
        kinds: Sequence[str] = (),
        cursor: str | None = None,
        *,
        follow: bool = True,
    ) -> Iterator[Change]:
        """What changed, in order, without a gap, whoever leads meanwhile.

        Args:
            from_txid: Where to begin; None = after ``cursor``, else with the next change from now on (with
                ``follow``) or the oldest one kept.
            path: Only what matters to it and to all below it, also what was done to a directory above.
            kinds: Only these (``renamed``, ``file-completed``, …).
            cursor: A named reader: say what was dealt with by `move_cursor`. Until then it comes again.
            follow: Go on for ever; else end with what is the newest change now.

        Raises:
            Compacted: What comes next is no longer kept; its details say from where it is.
            NotFound: No such cursor: `move_cursor` makes it.
        """
        return self.feed(from_txid, path, kinds, cursor, follow=follow).changes(follow=follow)

    def feed(
        self,
        from_txid: int | None = None,
        path: str | None = None,
        kinds: Sequence[str] = (),
        cursor: str | None = None,
        *,
        follow: bool = True,
    ) -> Feed:
        """As `changes`, page by page, with the journal's head as a sign of life."""
        if from_txid is None and cursor is not None:
            found = [one for one in self.cursors() if one.name == cursor]
            if not found:
                raise NotFound(f"no cursor is named {cursor}: move_cursor makes it", cursor=cursor)
            from_txid = found[0].txid + 1
        if from_txid is None:
            where = self.control.get("/cursors", Cursors)
            from_txid = where.head + 1 if follow else where.oldest
        return Feed(self.control, from_txid, path=path or "", kinds=kinds)

    def cursors(self) -> list[Cursor]:
        """The named readers of the journal, and how far each is."""
        return self.control.get("/cursors", Cursors).cursors

    def move_cursor(self, name: str, txid: int, *, reset: bool = False) -> Moved:
        """Everything up to ``txid`` is dealt with; makes the cursor when there is none.

        At most one move a second is journaled: the answer says what is, and what will be.

        Args:
            name: Of the reader.
            txid: A lower one than before changes nothing,
            reset: unless this is set.
        """
        body = {"txid": txid, "reset": reset}
        return self._change("PUT", f"/cursors/{name}", Moved, body)

    def drop_cursor(self, name: str) -> None:
        """Forget a named reader. Raises `NotFound`."""
        self._change("DELETE", f"/cursors/{name}", dict[str, Any], None)

    def snapshots(self) -> list[Snapshot]:
        """Every snapshot, by name."""
        return self.control.get("/snapshots", Snapshots).snapshots

    def create_snapshot(self, name: str, path: str = "/", *, as_of: Point | None = None) -> SnapshotMade:
        """Keep what is at and below ``path`` readable as ``@name``, as it is or was, whatever the window.

        No bytes move. Raises `AlreadyExists`, and `Compacted` for what can no longer be read.
        """
        body = {"name": name, "path": absolute(path), "as_of": point(as_of)}
        return self._change("POST", "/snapshots", SnapshotMade, body)

    def delete_snapshot(self, name: str) -> None:
        """Let go of a snapshot; what only it kept is forgotten soon. Raises `NotFound`."""
        self._change("DELETE", f"/snapshots/{name}", dict[str, Any], None)

    def retention(self) -> Retention:
        """How much history is kept, and how much there is."""
        return self.control.get("/retention", Retention)

    def retention_report(self, depth: int = 1) -> dict[str, Any]:
        """What history costs; see `GET /retention/report`. Seconds per million inodes: mind ``timeout``."""
        return self.control.get_patiently("/retention/report", dict[str, Any], depth=depth)

    def set_retention(self, *, window_s: int | None = None, records_max: int | None = None) -> Retention:
        """Keep history of this age and of so many transactions (0 = without limit, None = as it is).

        What is beyond the shorter of the two is forgotten soon, and for ever, unless a snapshot shows it.
        """
        body = {"window_s": window_s, "records_max": records_max}
        return self._change("PUT", "/retention", Retention, body)

    def diff(self, before: Point, after: Point | None = None, path: str = "/") -> Difference:
        """The net effect of going from one moment to another (None = now), at and below ``path``.

        Either moment may be the earlier one. A rename is one line, whatever lies below; what came or went
        with a directory is told whole. Raises `Compacted`, `FutureTxid`.
        """
        query = {"from": point(before), "to": self._moment(after), "path": absolute(path)}
        return self.control.get("/diff", Difference, **query)
