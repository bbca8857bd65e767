"""Databases on a server that several journals share: their names, and making them."""

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from esdfs.errors import InvalidRequest, JournalUnavailable
from esdfs.journal.engines import parse, shown

_ALREADY_THERE = "42P04"
_MAINTENANCE = "postgres"  # there on every server, for connections that want no database of their own
_CONNECT_TIMEOUT_S = 5


def with_suffix(url: str, suffix: str) -> str:
    """``url`` with ``suffix`` behind the name of its database.

    Raises:
        InvalidRequest: It is no journal's URL, or names no database.
    """
    parsed = parse(url)
    if not parsed.database:
        raise InvalidRequest(f"{shown(parsed)} names no database: write it as postgresql://…/NAME")
    return parsed.set(database=parsed.database + suffix).render_as_string(hide_password=False)


def create_if_absent(url: str) -> None:
    """Make the database that ``url`` names, if it is PostgreSQL's and not there. SQLite makes its own.

    Raises:
        InvalidRequest: The role may not make databases; the message says which one to make.
        JournalUnavailable: The server does not let us in.
    """
    parsed = parse(url)
    if parsed.get_backend_name() != "postgresql":
        return
    refusal = _refusal(parsed)
    if refusal is None:
        return
    try:
        with _engine(parsed.set(database=_MAINTENANCE)).connect() as connection:
            known = text("SELECT 1 FROM pg_database WHERE datname = :name")
            if connection.scalar(known, {"name": parsed.database}):
                raise JournalUnavailable(f"{shown(parsed)} cannot be used: {refusal.orig}")
            name = connection.dialect.identifier_preparer.quote_identifier(str(parsed.database))
            connection.execute(text(f"CREATE DATABASE {name}"))
    except DBAPIError as error:
        if error.connection_invalidated or error.statement is None:
            raise JournalUnavailable(f"{shown(parsed)} cannot be reached: {error.orig}") from error
        if getattr(error.orig, "sqlstate", None) == _ALREADY_THERE:
            return
        raise InvalidRequest(
            f"{shown(parsed)} does not exist and could not be made ({error.orig}): make the database"
            f" {parsed.database}, or give a role that may"
        ) from error


def _refusal(url: URL) -> DBAPIError | None:
    """Why the database cannot be connected to; None when it can."""
    try:
        _engine(url).connect().close()
    except DBAPIError as error:
        return error
    return None


def _engine(url: URL) -> Engine:
    """Connections for one statement each."""
    return create_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": _CONNECT_TIMEOUT_S},
    )
