"""What Python programs use: ``from esdfs.client import DFSClient``."""

from esdfs.client.dfs import DFSClient
from esdfs.client.values import FileStatus, Version

__all__ = ["DFSClient", "FileStatus", "Version"]
