"""``JournalReader`` on SQLite and PostgreSQL."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import URL, Connection, Engine, func, select

from esdfs.errors import JournalUnavailable
from esdfs.ids import Epoch, Txid
from esdfs.journal.checkpoint import Checkpoint
from esdfs.journal.engines import require_current, translated
from esdfs.journal.entry import Base, Entry, Head, Identity
from esdfs.journal.tables import checkpoint, journal, journal_base, journal_head, node_meta

_COLUMNS = tuple(journal.c)


class SqlReader:
    """Reads beside the writer, from any thread; sees what is committed."""

    def __init__(self, url: URL, engine: Engine) -> None:
        """Take over ``engine``: closed with this reader, or now when the tables are not ours.

        Raises:
            JournalUnavailable: The database does not answer, or has not this release's tables.
            NewerRelease: Its tables are newer than this program.
        """
        self._url = url
        self._engine = engine
        try:
            with translated(), engine.connect() as connection:
                require_current(connection, url)
        except BaseException:
            engine.dispose()
            raise

    @property
    def url(self) -> str:
        """Where it lives, password included: for opening it again in another process."""
        return self._url.render_as_string(hide_password=False)

    def identity(self) -> Identity | None:
        """See ``JournalReader.identity``."""
        c = node_meta.c
        with translated(), self._engine.connect() as connection:
            row = connection.execute(
                select(c.cluster_id, c.cluster_generation, c.node_id, c.storage_id)
            ).first()
        return None if row is None else Identity(*row)

    def head(self) -> Head:
        """See ``JournalReader.head``."""
        with translated(), self._engine.connect() as connection:
            return read_head(connection)

    def base(self) -> Base:
        """See ``JournalReader.base``."""
        with translated(), self._engine.connect() as connection:
            return read_base(connection)

    def oldest_txid(self) -> Txid:
        """See ``JournalReader.oldest_txid``."""
        with translated(), self._engine.connect() as connection:
            return Txid(connection.scalar(select(func.min(journal.c.txid))) or 0)

    def read(self, after: Txid, *, limit: int) -> list[Entry]:
        """See ``JournalReader.read``."""
        query = select(*_COLUMNS).where(journal.c.txid > after).order_by(journal.c.txid).limit(limit)
        with translated(), self._engine.connect() as connection:
            return [Entry(*row) for row in connection.execute(query)]

    def pick(self, txids: Sequence[int]) -> list[Entry]:
        """The records of ``txids`` (1000 at most) that are still here, in order of txid."""
        query = select(*_COLUMNS).where(journal.c.txid.in_(txids)).order_by(journal.c.txid)
        with translated(), self._engine.connect() as connection:
            return [Entry(*row) for row in connection.execute(query)]

    def chains(self, txids: Sequence[int]) -> dict[int, bytes]:
        """The chain values of ``txids`` (1000 at most) that are still here."""
        c = journal.c
        query = select(c.txid, c.chain).where(c.txid.in_(txids))
        with translated(), self._engine.connect() as connection:
            return {row.txid: row.chain for row in connection.execute(query)}

    def scan(self, after: Txid, *, until: Txid, page: int = 5000) -> Iterator[Sequence[tuple[Any, ...]]]:
        """See ``JournalReader.scan``. Holds a connection until exhausted or closed."""
        c = journal.c
        query = select(*_COLUMNS).where(c.txid > after, c.txid <= until).order_by(c.txid)
        dialect = self._engine.dialect
        statement = str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
        with translated(), self._engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            try:
                # The driver's own tuples: SQLAlchemy's rows cost more than verifying them.
                cursor = driver.cursor() if dialect.name == "sqlite" else driver.cursor("scan", binary=True)
                with closing(cursor):
                    cursor.execute(statement)
                    while rows := cursor.fetchmany(page):
                        yield rows
            except dialect.loaded_dbapi.Error as error:
                raise JournalUnavailable(f"the journal's database failed: {error}") from error

    def txid_at(self, ts_us: int) -> Txid:
        """See ``JournalReader.txid_at``. A search by halves: timestamps never go back (J5)."""
        c = journal.c
        with translated(), self._engine.connect() as connection:
            low, high = connection.execute(select(func.min(c.txid), func.max(c.txid))).one()
            if low is None:
                return Txid(0)
            # Invariant: every record below `low` is at or before ts_us, every one above `high` after it.
            first = low
            while low <= high:
                middle = (low + high) // 2
                at = connection.scalar(select(c.ts_us).where(c.txid >= middle).order_by(c.txid).limit(1))
                assert at is not None
                if at <= ts_us:
                    low = middle + 1
                else:
                    high = middle - 1
        return Txid(high if high >= first else 0)

    def checkpoints(self) -> list[Checkpoint]:
        """See ``Checkpoints.checkpoints``."""
        query = select(*checkpoint.c).order_by(checkpoint.c.txid.desc())
        with translated(), self._engine.connect() as connection:
            return [Checkpoint(*row) for row in connection.execute(query)]

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()


def read_head(connection: Connection, *, for_update: bool = False) -> Head:
    """The head row; locked until the end of the transaction if asked."""
    c = journal_head.c
    query = select(c.epoch, c.last_txid, c.chain)
    epoch, last_txid, chain = connection.execute(query.with_for_update() if for_update else query).one()
    return Head(Epoch(epoch), Txid(last_txid), chain)


def read_base(connection: Connection) -> Base:
    """The base row."""
    c = journal_base.c
    return Base(*connection.execute(select(c.epoch, c.last_txid, c.chain, c.ts_us)).one())
