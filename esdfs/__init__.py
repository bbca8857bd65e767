"""esdfs: a distributed file system whose metadata is its operation journal."""

__version__ = "0.1.0"
