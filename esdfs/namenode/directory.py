"""A NameNode's directory: held by one process, with the journal that belongs there."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from esdfs.errors import InvalidRequest
from esdfs.journal.entry import Identity
from esdfs.journal.sql import SqlJournal, open_journal
from esdfs.namenode.config import NameNodeConfig


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep every other process out.

    Raises:
        InvalidRequest: One runs there.
    """
    with (directory / "LOCK").open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidRequest(f"another process runs the NameNode in {directory}") from None
        yield


def open_own_journal(config: NameNodeConfig) -> tuple[SqlJournal, Identity]:
    """The journal and whose it is.

    Raises:
        InvalidRequest: Never formatted, or another node's.
    """
    journal = open_journal(config.database_url)
    identity = journal.identity()
    if identity is None:
        raise InvalidRequest(f"the journal at {config.path} was never formatted: run `esdfs namenode format`")
    if identity.node_id != config.node_id:
        raise InvalidRequest(
            f"this journal belongs to {identity.node_id}, the settings are those of {config.node_id}"
        )
    return journal, identity


def ready_line(config: NameNodeConfig) -> str:
    """What a NameNode prints when it serves; ``rest`` is empty for a witness."""
    return json.dumps(
        {
            "id": config.node_id,
            "pid": os.getpid(),
            "rest": config.rest_url,
            "grpc": config.grpc_address,
        }
    )
