"""Which journal a command reads: its options, and what they come to."""

from pathlib import Path
from typing import Annotated

import typer

from esdfs.errors import InvalidRequest

Database = Annotated[
    str | None, typer.Option("--db", help="Read this journal itself: sqlite:///PATH or a PostgreSQL URL.")
]
Directory = Annotated[
    Path | None, typer.Option("--dir", help="Read the journal and archive in this NameNode's directory.")
]


def database_url(database: str | None, directory: Path | None) -> str | None:
    """Of --db or --dir; None when neither is given.

    Raises:
        InvalidRequest: Both are, or the directory is no NameNode's.
    """
    if database and directory:
        raise InvalidRequest("give --db or --dir, not both")
    if directory is None:
        return database
    from esdfs.namenode.config import load  # noqa: PLC0415 - loads TOML

    return load(directory.absolute()).database_url


def size_bytes_of(file: Path | None) -> int | None:
    """For a progress bar; None when there is no such file."""
    return file.stat().st_size if file is not None and file.is_file() else None
