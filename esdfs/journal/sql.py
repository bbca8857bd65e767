"""``Journal`` on SQLite and PostgreSQL: one row per record, one transaction per append."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import URL, Connection, Engine, delete, insert, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from esdfs.errors import JournalFenced, JournalUnavailable, NewerRelease
from esdfs.ids import Txid
from esdfs.journal import tables
from esdfs.journal.chain import continues
from esdfs.journal.checkpoint import Checkpoint
from esdfs.journal.engines import journal_error, parse, reader_engine, translated, writer_engine
from esdfs.journal.entry import Base, Entry, Head, Identity, Vote
from esdfs.journal.sql_reader import SqlReader, read_base, read_head

# Compiled once and given to the driver as it is: SQLAlchemy's own executemany takes 5 times as long a row.
_SQLITE_INSERT: Final = str(insert(tables.journal).compile(dialect=sqlite.dialect(paramstyle="qmark")))
_SQLITE_MOVE: Final = """
UPDATE journal_head SET epoch = ?, last_txid = ?, chain = ? WHERE one = 1 AND last_txid = ? AND chain = ?
"""
# One statement, so that no transaction stays open while this process is frozen.
_POSTGRES_APPEND: Final = """
WITH moved AS (
  UPDATE journal_head SET epoch = %s, last_txid = %s, chain = %b
   WHERE one = 1 AND last_txid = %s AND chain = %b RETURNING last_txid)
INSERT INTO journal
  (txid, epoch, ts_us, kind, version, client_id, seq, principal, peer, payload, crc32c, chain)
SELECT r.* FROM moved, unnest(
  %s::bigint[], %s::bigint[], %s::bigint[], %s::integer[], %s::integer[], %b::bytea[],
  %s::bigint[], %s::text[], %s::text[], %b::bytea[], %s::bigint[], %b::bytea[]) AS r
"""

# The log of an idle file is folded back by nobody but us. 12 KiB: the pages one small commit rewrites.
_CHECKPOINT_EVERY_BYTES: Final = 16 << 20
_COMMIT_COST_BYTES: Final = 12 << 10
_ROW_COST_BYTES: Final = 160


def open_journal(url: str) -> "SqlJournal":
    """The journal at ``url``, for its one writer. Formatted or not: see ``identity``.

    Raises:
        InvalidRequest: Not a URL a journal can live at.
        JournalUnavailable: The database does not answer or lacks this release's tables; the message says
            which command to run.
        NewerRelease: A newer program wrote it.
    """
    parsed = parse(url)
    reader_engine(parsed).dispose()  # never let a typing error create a file
    return SqlJournal(parsed, reader_engine(parsed), writer_engine(parsed))


def open_reader(url: str) -> SqlReader:
    """The journal at ``url`` for reading, beside its writer or without one.

    Raises:
        InvalidRequest: See ``open_journal``; so for the others.
        JournalUnavailable: See there.
        NewerRelease: See there.
    """
    parsed = parse(url)
    return SqlReader(parsed, reader_engine(parsed))


class SqlJournal(SqlReader):
    """One writer at a time, held by the head row: who does not know its chain value cannot move it.

    The writing methods must not run at the same time as one another; the reading ones may.
    """

    def __init__(self, url: URL, reading: Engine, writing: Engine) -> None:
        """Take over both engines."""
        super().__init__(url, reading)
        self._writing = writing
        self._is_sqlite = url.get_backend_name() == "sqlite"
        self._log_bytes = 0
        try:
            with translated(), writing.connect() as connection:
                self._head = read_head(connection)
                _require_known_format(connection)
        except BaseException:
            self.close()
            raise

    def format(self, identity: Identity, first: Sequence[Entry]) -> None:
        """See ``Journal.format``."""
        row = msgspec.structs.asdict(identity) | {"one": 1, "format_version": tables.FORMAT_VERSION}
        with translated(), self._writing.begin() as connection:
            connection.execute(insert(tables.node_meta), row)
            self._head = read_head(connection)
            if first:
                self._require_ends_before(first)
                connection.execute(insert(tables.journal), [msgspec.structs.asdict(entry) for entry in first])
                head = msgspec.structs.asdict(_head_after(first))
                connection.execute(update(tables.journal_head).values(head))
        if first:
            self._head = _head_after(first)

    def append(self, entries: Sequence[Entry]) -> None:
        """See ``Journal.append``.

        When PostgreSQL's answer is lost, a new connection asks what became of the statement.
        """
        if not entries:
            return
        assert entries[-1].txid == entries[0].txid + len(entries) - 1, "a batch has no gaps"
        if not self._ends_before(entries):
            self._head = self.head()
            self._require_ends_before(entries)
        try:
            moved = self._try_append(entries)
        except DBAPIError as error:
            if self._is_sqlite:
                raise journal_error(error) from error
            moved = self._find_out(entries)
        if not moved:
            raise _fenced(self._head, entries)
        self._head = _head_after(entries)
        self._checkpoint(entries)

    def truncate(self, keep: Txid) -> None:
        """See ``Journal.truncate``."""
        c = tables.journal.c
        with translated(), self._writing.begin() as connection:
            head = read_head(connection, for_update=True)
            if keep < head.last_txid:
                kept = connection.execute(select(c.epoch, c.txid, c.chain).where(c.txid == keep)).first()
                base = read_base(connection)
                assert kept or keep == base.last_txid, f"record {keep} is not here to become the last"
                head = base.head if kept is None else Head(*kept)
                connection.execute(delete(tables.journal).where(c.txid > keep))
                connection.execute(update(tables.journal_head).values(msgspec.structs.asdict(head)))
        self._head = head

    def install(self, base: Base, checkpoint: Checkpoint, *, keep_tail: bool) -> None:
        """See ``Journal.install``."""
        c = tables.journal.c
        with translated(), self._writing.begin() as connection:
            head = read_head(connection, for_update=True)
            if keep_tail:
                connection.execute(delete(tables.journal).where(c.txid <= base.last_txid))
            else:
                head = base.head
                connection.execute(delete(tables.journal))
                connection.execute(update(tables.journal_head).values(msgspec.structs.asdict(head)))
            connection.execute(update(tables.journal_base).values(msgspec.structs.asdict(base)))
            _remember(connection, checkpoint)
        self._head = head

    def compact(self, until: Txid, *, limit: int) -> Base:
        """See ``Journal.compact``."""
        c = tables.journal.c
        with translated(), self._writing.begin() as connection:
            base = read_base(connection)
            last = min(until, base.last_txid + limit, read_head(connection).last_txid - 1)
            if last <= base.last_txid:
                return base
            found = connection.execute(select(c.epoch, c.txid, c.chain, c.ts_us).where(c.txid == last)).one()
            base = Base(*found)
            connection.execute(delete(tables.journal).where(c.txid <= last))
            connection.execute(update(tables.journal_base).values(msgspec.structs.asdict(base)))
        return base

    def restart_alone(self, generation: int, vote: Vote, entries: Sequence[Entry]) -> None:
        """Begin another generation of the cluster with ``entries``, all in one transaction.

        For an operator who goes on without the others: who is still of the old generation is never heard
        again. Durable on return.

        Raises:
            JournalFenced: The journal does not end where ``entries`` begin.
            JournalUnavailable: Nothing is known to be changed; try again.
        """
        with translated(), self._writing.begin() as connection:
            self._head = read_head(connection, for_update=True)
            self._require_ends_before(entries)
            connection.execute(update(tables.node_meta).values(cluster_generation=generation))
            connection.execute(update(tables.vote).values(msgspec.structs.asdict(vote)))
            connection.execute(insert(tables.journal), [msgspec.structs.asdict(entry) for entry in entries])
            connection.execute(
                update(tables.journal_head).values(msgspec.structs.asdict(_head_after(entries)))
            )
        self._head = _head_after(entries)

    def vote(self) -> Vote:
        """See ``Journal.vote``."""
        c = tables.vote.c
        with translated(), self._engine.connect() as connection:
            return Vote(*connection.execute(select(c.epoch, c.voted_for_id, c.voted_for_storage_id)).one())

    def remember_vote(self, vote: Vote) -> None:
        """See ``Journal.remember_vote``."""
        with translated(), self._writing.begin() as connection:
            connection.execute(update(tables.vote).values(msgspec.structs.asdict(vote)))

    def remember_checkpoint(self, checkpoint: Checkpoint) -> None:
        """See ``Checkpoints.remember_checkpoint``."""
        with translated(), self._writing.begin() as connection:
            _remember(connection, checkpoint)

    def forget_checkpoint(self, txid: Txid) -> None:
        """See ``Checkpoints.forget_checkpoint``."""
        table = tables.checkpoint
        with translated(), self._writing.begin() as connection:
            connection.execute(delete(table).where(table.c.txid == txid))

    def close(self) -> None:
        """See ``Journal.close``."""
        super().close()
        self._writing.dispose()

    def _try_append(self, entries: Sequence[Entry]) -> bool:
        """One transaction. False, and nothing changed, when the head is not where we left it."""
        before, after = self._head, _head_after(entries)
        rows = [msgspec.structs.astuple(entry) for entry in entries]
        move = (after.epoch, after.last_txid, after.chain, before.last_txid, before.chain)
        if self._is_sqlite:
            with self._writing.connect() as connection, connection.begin() as transaction:
                if _rowcount(connection, _SQLITE_MOVE, move) != 1:
                    transaction.rollback()
                    return False
                connection.exec_driver_sql(_SQLITE_INSERT, rows)
            return True
        columns = tuple(map(list, zip(*rows, strict=True)))
        with self._writing.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            return _rowcount(connection, _POSTGRES_APPEND, move + columns) == len(rows)

    def _find_out(self, entries: Sequence[Entry]) -> bool:
        """Whether an append whose answer was lost is in the journal; tries it again if it never began.

        Locking the head row waits for a statement that is still under way. The compare-and-set makes the
        second try harmless even so.
        """
        with translated():
            with self._writing.begin() as connection:
                found = read_head(connection, for_update=True)
            if found == self._head:
                return self._try_append(entries)
        return found == _head_after(entries)

    def _ends_before(self, entries: Sequence[Entry]) -> bool:
        head = self._head
        return entries[0].txid == head.last_txid + 1 and continues(head.chain, entries[0])

    def _require_ends_before(self, entries: Sequence[Entry]) -> None:
        if not self._ends_before(entries):
            raise _fenced(self._head, entries)

    def _checkpoint(self, entries: Sequence[Entry]) -> None:
        """Fold SQLite's log back into its file now and then; readers never do."""
        if not self._is_sqlite:
            return
        self._log_bytes += _COMMIT_COST_BYTES + sum(_ROW_COST_BYTES + len(entry.payload) for entry in entries)
        if self._log_bytes < _CHECKPOINT_EVERY_BYTES:
            return
        self._log_bytes = 0
        with self._writing.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            try:
                # PASSIVE never waits; what a reader still needs is left for the next time.
                driver.execute("PRAGMA wal_checkpoint(PASSIVE)")
            except self._writing.dialect.loaded_dbapi.Error as error:
                raise JournalUnavailable(f"SQLite could not fold back its log: {error}") from error


def _remember(connection: Connection, checkpoint: Checkpoint) -> None:
    table = tables.checkpoint
    connection.execute(delete(table).where(table.c.txid == checkpoint.txid))
    connection.execute(insert(table), msgspec.structs.asdict(checkpoint))


def _require_known_format(connection: Connection) -> None:
    version = connection.scalar(select(tables.node_meta.c.format_version))
    if version is not None and version > tables.FORMAT_VERSION:
        raise NewerRelease(f"this journal has format {version}, newer than this program: upgrade it")


def _head_after(entries: Sequence[Entry]) -> Head:
    last = entries[-1]
    return Head(last.epoch, last.txid, last.chain)


def _fenced(head: Head, entries: Sequence[Entry]) -> JournalFenced:
    return JournalFenced(
        f"the journal does not end before record {entries[0].txid}: last known end {head.last_txid}"
    )


def _rowcount(connection: Connection, statement: str, parameters: tuple[Any, ...]) -> int:
    return connection.exec_driver_sql(
        statement, parameters, execution_options={"preserve_rowcount": True}
    ).rowcount
