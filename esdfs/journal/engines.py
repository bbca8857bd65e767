"""Connections to SQLite and PostgreSQL that keep the journal's promises, and their errors in our words.

SQLite: write-ahead log, every commit synced. One connection writes, and it alone checkpoints: before 3.51.3
two connections that do both can lose frames of the log. Readers open the file read-only.
PostgreSQL: synchronous commit, and limits on every wait, so that a frozen NameNode frees its locks.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from operator import methodcaller
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import QueuePool, StaticPool

from esdfs.errors import InvalidRequest, JournalError, JournalFenced, JournalUnavailable, NewerRelease
from esdfs.journal.tables import REVISION

_BUSY_TIMEOUT_MS: Final = 5_000
_WAL_SIZE_LIMIT_BYTES: Final = 64 << 20

_SQLITE_WRITER: Final = (
    "PRAGMA synchronous=FULL",
    "PRAGMA fullfsync=ON",
    "PRAGMA checkpoint_fullfsync=ON",
    "PRAGMA wal_autocheckpoint=0",
    f"PRAGMA journal_size_limit={_WAL_SIZE_LIMIT_BYTES}",
)
_SQLITE_BOTH: Final = (
    f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}",
    "PRAGMA cell_size_check=ON",
    "PRAGMA trusted_schema=OFF",
)
_POSTGRES_BOTH: Final[dict[str, str | int]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "esdfs",
}
_POSTGRES_WRITER: Final = (
    "-c synchronous_commit=on -c statement_timeout=10s -c lock_timeout=5s"
    " -c idle_in_transaction_session_timeout=2s"
)
# A scan keeps one transaction open for as long as its reader takes over each page.
_POSTGRES_READER: Final = (
    "-c default_transaction_read_only=on -c lock_timeout=5s -c idle_in_transaction_session_timeout=10min"
)


def parse(url: str) -> URL:
    """The URL of a journal: ``sqlite:///PATH`` or ``postgresql+psycopg://…``.

    Raises:
        InvalidRequest: Anything else.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidRequest(f"not a database URL: {error}") from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed
    raise InvalidRequest(
        f"a journal lives in sqlite:///PATH or postgresql+psycopg://…, not in {shown(parsed)}"
    )


def sqlite_url(path: Path) -> str:
    """The URL of a journal in the SQLite file ``path``, whatever characters that has."""
    return URL.create("sqlite", database=str(path.absolute())).render_as_string()


def shown(url: URL) -> str:
    """``url`` for messages: without its password."""
    return url.render_as_string(hide_password=True)


def writer_engine(url: URL) -> Engine:
    """One connection that may write. A SQLite file is created, readable by its owner only, if absent."""
    if url.get_backend_name() == "postgresql":
        return _postgres(url, _POSTGRES_WRITER, pool_size=1)
    _create(_path(url))
    engine = create_engine(
        URL.create("sqlite", database=str(_path(url))),
        poolclass=StaticPool,
        connect_args={"check_same_thread": False},
    )
    event.listen(engine, "connect", _on_sqlite_writer)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def reader_engine(url: URL) -> Engine:
    """Connections that cannot write, for any thread.

    Raises:
        JournalUnavailable: The SQLite file does not exist.
    """
    if url.get_backend_name() == "postgresql":
        return _postgres(url, _POSTGRES_READER, pool_size=2)
    path = _path(url)
    if not path.is_file():
        raise JournalUnavailable(f"there is no journal at {path}: run `esdfs db upgrade --db {shown(url)}`")
    engine = create_engine(
        URL.create(
            "sqlite", database=f"file:{quote(str(path.absolute()))}", query={"mode": "ro", "uri": "true"}
        ),
        poolclass=QueuePool,
        connect_args={"check_same_thread": False},
    )
    event.listen(engine, "connect", _on_sqlite_reader)
    event.listen(engine, "begin", _begin_deferred)
    return engine


def require_current(connection: Connection, url: URL) -> None:
    """Refuse tables of another release.

    Raises:
        JournalUnavailable: No tables, or older ones; the message says which command makes them.
        NewerRelease: A newer program made them.
    """
    found = ""
    if inspect(connection).has_table("alembic_version"):
        found = connection.scalar(text("SELECT version_num FROM alembic_version")) or ""
    if found > REVISION:
        raise NewerRelease(f"{shown(url)} has tables of revision {found}, newer than this program")
    if found < REVISION:
        state = f"has tables of revision {found}" if found else "has no journal tables"
        raise JournalUnavailable(f"{shown(url)} {state}: run `esdfs db upgrade --db {shown(url)}`")


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's errors into the journal's."""
    try:
        yield
    except DBAPIError as error:
        raise journal_error(error) from error


def journal_error(error: DBAPIError) -> JournalError:
    """What a database error means for a journal."""
    if isinstance(error, IntegrityError):
        return JournalFenced(f"another process wrote this journal: {error.orig}")
    return JournalUnavailable(f"the journal's database failed: {error.orig}")


# Damaged text must reach the check that names its record, instead of failing the whole query here.
_text: Final = methodcaller("decode", "utf-8", "surrogateescape")


def _path(url: URL) -> Path:
    assert url.database
    return Path(url.database)


def _create(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        directory = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise JournalUnavailable(f"the journal's file cannot be opened: {error}") from error


def _postgres(url: URL, options: str, *, pool_size: int) -> Engine:
    return create_engine(
        url,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0 if pool_size == 1 else 8,
        # A writer whose connection died must ask what became of its append; a reader just takes another.
        pool_pre_ping=pool_size > 1,
        connect_args=_POSTGRES_BOTH | {"options": options},
    )


def _on_sqlite_writer(connection: Any, _record: object) -> None:
    # The driver must not begin transactions on its own terms; `_begin_immediate` does.
    connection.isolation_level = None
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise JournalUnavailable(
            f"SQLite refuses its write-ahead log here (journal_mode={mode}): use a local disk"
        )
    for pragma in _SQLITE_BOTH + _SQLITE_WRITER:
        connection.execute(pragma)


def _on_sqlite_reader(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    connection.text_factory = _text
    for pragma in _SQLITE_BOTH:
        connection.execute(pragma)


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_deferred(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
