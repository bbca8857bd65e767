"""`esdfs journal verify --offline FILE`: proving an exported journal with nothing but the file and a key."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from esdfs.cli.journal_file import Progress, opened
from esdfs.env_os import OsClock
from esdfs.errors import InsufficientStorage, InvalidRequest, JournalCorrupt, NewerRelease
from esdfs.journal.export import Export
from esdfs.journal.segments import Row
from esdfs.journal.statements import SignedStatement, decode_lines
from esdfs.namenode.event_codec import unpack
from esdfs.namenode.events import CheckpointTaken, Kind
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.digest import digest
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.signing import PublicKey

_BYTES_MAX: Final = 64 << 30  # address space, not disk
_EVENTS_PER_COMMIT: Final = 5_000
_DIGEST_SHARE: Final = 2
"""Digests are compared as often as they cost at most a third of the time."""


class OfflineProof(msgspec.Struct):
    """What was proven, and what was not.

    Attributes:
        key_id: Whose signature the last record is under; "" = nobody's.
        statements: How many statements signed with a key that was given agree with the records they name.
        digests: At which txids the replayed namespace had the digest that was recorded.
        digests_left_out: How many more were recorded: not compared, to save time.
        not_proven: In words, for people.
    """

    file: str
    cluster_id: str
    first_txid: int
    last_txid: int
    records: int
    chain: str
    redacted: bool
    key_id: str
    statements: int
    digests: list[int]
    digests_left_out: int
    not_proven: list[str]


def prove(
    file: Path,
    keys: Iterable[PublicKey],
    *,
    anchors: Path | None = None,
    replay: bool = True,
    progress: Progress = None,
) -> OfflineProof:
    """Prove ``file``: every byte, every record, its end, and the state it leads to.

    Args:
        file: As `journal export` wrote it.
        keys: Of who may have signed it: each NameNode has its own. None = authorship is not proven.
        anchors: Statements kept elsewhere, one JSON a line: they must agree, too.
        replay: Also rebuild the namespace and compare its digests.
        progress: Called with the bytes read.

    Raises:
        JournalCorrupt: The first thing that is wrong.
        InvalidRequest: A file cannot be read.
    """
    held = _anchors(anchors)
    with (
        opened(file, progress) as export,
        TemporaryDirectory(prefix="esdfs-verify-") as scratch,
        closing(_Replay(Path(scratch), wanted=replay, export=export)) as replayed,
    ):
        return _Proof(file, export, {key.key_id: key for key in keys}, held, replayed).run()


class _Proof:
    def __init__(
        self,
        file: Path,
        export: Export,
        keys: dict[str, PublicKey],
        held: list[SignedStatement],
        replayed: "_Replay",
    ) -> None:
        self._file, self._export, self._keys = file, export, keys
        self._held, self._replayed = held, replayed
        self._waiting: dict[int, list[SignedStatement]] | None = None
        self._agreed = 0
        self._strangers: set[str] = set()
        self._signed_last = ""

    def run(self) -> OfflineProof:
        header = self._export.header
        for page in self._export.pages():
            self._check(page)
            self._replayed.take(page)
        self._collect()  # also of a file without records
        end = self._export.end
        assert end is not None, "pages() sets it or raises"
        late = sorted(self._waiting or {})
        if late:
            raise JournalCorrupt(
                f"journal record {header.last_txid}: the file ends here, but record {late[0]} was signed: its"
                " tail is cut off",
                txid=header.last_txid,
                damage="tail",
            )
        self._check_end(end.key_id, end.signed_bytes(), end.signature)
        self._replayed.finish()
        return OfflineProof(
            str(self._file),
            header.cluster_id,
            header.first_txid,
            header.last_txid,
            header.last_txid - header.first_txid + 1,
            end.chain.hex(),
            header.redacted,
            self._signed_last,
            self._agreed,
            self._replayed.compared,
            self._replayed.left_out,
            self._not_proven(),
        )

    def _collect(self) -> dict[int, list[SignedStatement]]:
        if self._waiting is None:
            self._waiting = {}
            first, cluster_id = self._export.header.first_txid, self._export.header.cluster_id
            for signed in (*self._export.statements, *self._held):
                self._check_signature(signed)
                if signed.statement.cluster_id != cluster_id:
                    raise _wrong(
                        signed, f"it is about cluster {signed.statement.cluster_id}, not {cluster_id}"
                    )
                if signed.statement.txid >= first:
                    self._waiting.setdefault(signed.statement.txid, []).append(signed)
        return self._waiting

    def _check_signature(self, signed: SignedStatement) -> None:
        key = self._keys.get(signed.statement.key_id)
        if key is None:
            self._strangers.add(signed.statement.key_id)
        elif not key.vouches(signed):
            raise _wrong(signed, "its signature does not fit")

    def _check(self, page: Iterable[Row]) -> None:
        waiting = self._collect()
        if not waiting:
            return
        for row in page:
            for signed in waiting.pop(row[0], ()):
                statement = signed.statement
                if (statement.epoch, statement.chain) != (row[1], row[11].hex()):
                    raise _wrong(signed, "the record has another hash than was signed")
                if statement.state_digest and statement.layout_format == layout.FORMAT:
                    self._replayed.expect(row[0], bytes.fromhex(statement.state_digest))
                if statement.key_id not in self._keys:
                    continue
                self._agreed += 1
                if row[0] == self._export.header.last_txid and not self._export.header.redacted:
                    self._signed_last = statement.key_id

    def _check_end(self, key_id: str, data: bytes, signature: bytes) -> None:
        if not self._keys:
            return
        if key_id in self._keys:
            if not self._keys[key_id].signed(data, signature):
                raise JournalCorrupt("the file's signature does not fit: it was changed", damage="signature")
            self._signed_last = key_id
        if not self._signed_last:
            raise JournalCorrupt(
                f"nothing signed with key {' or '.join(sorted(self._keys))} covers the last record,"
                f" {self._export.header.last_txid}: the file may have been cut or made by somebody else",
                damage="signature",
            )

    def _not_proven(self) -> list[str]:
        missing = []
        if not self._keys:
            missing.append("who wrote it: no --pubkey was given")
        elif self._strangers:
            missing.append(
                f"what is signed with key {', '.join(sorted(self._strangers))}: give the --pubkey of that"
                " NameNode, too"
            )
        if self._export.header.redacted:
            missing.append(
                "that each record hashes to its chain value: names are hidden; the signature says so"
                if self._signed_last
                else "that the records are those of the chain values beside them: names are hidden"
            )
        if self._replayed.why_not:
            missing.append(f"the state it leads to: {self._replayed.why_not}")
        elif not self._replayed.compared:
            missing.append("state digests: no checkpoint of this layout is in it")
        return missing


class _Replay:
    """The namespace, rebuilt as the records come."""

    def __init__(self, directory: Path, *, wanted: bool, export: Export) -> None:
        self.why_not = "" if wanted else "not asked for"
        if wanted and export.header.first_txid != 1:
            self.why_not = f"the file begins at txid {export.header.first_txid}"
        self.compared: list[int] = []
        self._redacted = export.header.redacted
        self._told: dict[int, bytes] = {}
        self._found: dict[int, bytes] = {}
        self._clock, self._free_at = OsClock(), 0
        self._store = None if self.why_not else ProjectionStore(directory, bytes_max=_BYTES_MAX)
        self._writer: Any = None
        self._left = 0

    def take(self, page: Iterable[Row]) -> None:
        if self._store is None:
            return
        for row in page:
            if self._writer is None:
                self._writer, self._left = self._store.begin(), _EVENTS_PER_COMMIT
            try:
                events = self._writer.apply_row(row)
            except (JournalCorrupt, NewerRelease, InsufficientStorage):
                raise
            except Exception as error:  # whatever a forged record breaks is the record's fault
                raise JournalCorrupt(
                    f"journal record {row[0]}: it cannot follow on what was before: {error}",
                    txid=row[0],
                    damage="replay",
                ) from error
            self._left -= len(events)
            if row[3] == Kind.CHECKPOINT_MARKED and self._clock.monotonic_ns() >= self._free_at:
                self._digest(row[0])
            elif row[3] == Kind.CHECKPOINT_TAKEN:
                (taken,) = unpack(row[3], row[4], row[9]).events
                assert isinstance(taken, CheckpointTaken), "the codec gives what the kind says"
                if taken.layout_format == layout.FORMAT:
                    self.expect(taken.of_txid, taken.state_digest)
            if self._left <= 0:
                self._commit()

    def expect(self, txid: int, told: bytes) -> None:
        if not self._redacted:
            self._told[txid] = told
            self._compare(txid)

    @property
    def left_out(self) -> int:
        """How many digests were recorded and not compared."""
        return len(self._told.keys() - set(self.compared))

    def finish(self) -> None:
        self._commit()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.abort()
        if self._store is not None:
            self._store.close()

    def _digest(self, txid: int) -> None:
        assert self._store is not None, "asked for"
        self._commit()
        began = self._clock.monotonic_ns()
        self._found[txid] = bytes.fromhex(digest(self._store)[1])
        now = self._clock.monotonic_ns()
        self._free_at = now + _DIGEST_SHARE * (now - began)
        self._compare(txid)

    def _compare(self, txid: int) -> None:
        found, told = self._found.get(txid), self._told.get(txid)
        if found is None or told is None or txid in self.compared:
            return
        if found != told:
            raise JournalCorrupt(
                f"journal record {txid}: the namespace it leads to has digest {found.hex()}, recorded was"
                f" {told.hex()}",
                txid=txid,
                damage="state",
            )
        self.compared.append(txid)

    def _commit(self) -> None:
        if self._writer is not None:
            self._writer.commit()
            self._writer = None


def _anchors(file: Path | None) -> list[SignedStatement]:
    if file is None:
        return []
    try:
        return decode_lines(file.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"{file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{file} holds no signed statements, one JSON a line: {error}") from error


def _wrong(signed: SignedStatement, what: str) -> JournalCorrupt:
    txid = signed.statement.txid
    return JournalCorrupt(
        f"journal record {txid}: the signed statement about it: {what}", txid=txid, damage="statement"
    )
