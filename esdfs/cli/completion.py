"""Remote paths for the shell's Tab key: quick, and silent when the cluster does not answer."""

import os
import posixpath
from typing import TYPE_CHECKING, Final

from esdfs.cli import cwd
from esdfs.errors import EsdfsError

if TYPE_CHECKING:
    from esdfs.client import DFSClient

_DEADLINE_S: Final = 0.3


def remote_paths(incomplete: str) -> list[str]:
    """The entries that ``incomplete`` may become, directories with a slash."""
    from esdfs.client import DFSClient  # noqa: PLC0415 - only the Tab key needs it

    url = os.environ.get("ESDFS_URL")
    if not url:
        return []
    try:
        with DFSClient(
            url, os.environ.get("ESDFS_TOKEN"), timeout=_DEADLINE_S, connect_timeout=_DEADLINE_S
        ) as client:
            return matching(client, incomplete, cwd.current().here)
    except EsdfsError:
        # Nobody asked for a message: the key just finds nothing.
        return []


def matching(client: "DFSClient", incomplete: str, here: str) -> list[str]:
    """The same with a client, from directory ``here``."""
    parent, name = posixpath.split(incomplete)
    entries = client.list_directory(cwd.resolve(parent, here))
    prefix = parent if not parent or parent.endswith("/") else f"{parent}/"
    return [
        f"{prefix}{entry.name}{'/' if entry.is_directory else ''}"
        for entry in entries
        if entry.name.startswith(name)
    ]
