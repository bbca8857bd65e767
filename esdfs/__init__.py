"""esdfs: a distributed file system whose metadata is its operation journal."""
