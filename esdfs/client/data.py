"""A client's way to DataNodes. Apart from `dfs`, so that a program which moves no bytes never loads gRPC."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from esdfs.client import files, transfers, tree
from esdfs.client.checking import Checked, check_replicas
from esdfs.client.control import Control
from esdfs.client.leases import LeaseKeeper
from esdfs.client.pipeline import Compress, Progress
from esdfs.client.reader import ReaderMeans, RemoteFile
from esdfs.client.tree import Copied
from esdfs.client.values import FileStatus, ReplicaAt
from esdfs.client.writer import Upload, WriteOptions, WriterMeans
from esdfs.env import Clock, Rng
from esdfs.errors import InvalidRequest
from esdfs.rpc.channel import Channels
from esdfs.rpc.local import LocalReaders
from esdfs.rpc.malloc import keep_large_buffers


class DataPath:
    """Channels and leases of one client in one process."""

    def __init__(self, control: Control, clock: Clock, rng: Rng) -> None:
        self.pid = os.getpid()
        keep_large_buffers()
        self._channels = Channels()
        self._local = LocalReaders()
        self._leases = LeaseKeeper(control)
        self._writing = WriterMeans(control, self._channels, self._leases, clock, rng)
        self._reading = ReaderMeans(control, self._channels, self._local, clock, rng, set())

    @staticmethod
    def options(
        overwrite: bool, parents: bool, replication: int, block_size_bytes: int, compress: str
    ) -> WriteOptions:
        """As `WriteOptions`. Raises `InvalidRequest` for an unknown ``compress``."""
        try:
            wanted = Compress(compress)
        except ValueError:
            raise InvalidRequest(f"compress must be never, auto or always, not {compress!r}") from None
        return WriteOptions(overwrite, parents, replication, block_size_bytes, "", wanted)

    def put_bytes(self, data: bytes, path: str, options: WriteOptions) -> FileStatus:
        """See `transfers.put_bytes`."""
        return transfers.put_bytes(self._writing, data, path, options)

    def put_file(
        self, source: Path, path: str, options: WriteOptions, progress: Progress | None
    ) -> FileStatus:
        """See `transfers.put_local`."""
        return transfers.put_local(self._writing, source, path, options, progress)

    def put_stream(
        self, stream: IO[bytes], path: str, options: WriteOptions, progress: Progress | None
    ) -> FileStatus:
        """See `transfers.put_stream`."""
        return transfers.put_stream(self._writing, stream, path, options, progress)

    def put_tree(self, source: Path, path: str, options: WriteOptions, progress: Progress | None) -> Copied:
        """See `tree.put_tree`."""
        return tree.put_tree(self._writing, source, path, options, progress)

    def check_replicas(self, replicas: Iterable[ReplicaAt]) -> Iterator[Checked]:
        """See `checking.check_replicas`."""
        return check_replicas(self._channels, replicas)

    def remote(self, info: FileStatus, txid: int) -> RemoteFile:
        """A file whose blocks are located, open for reading."""
        return RemoteFile(self._reading, info, txid)

    def get_file(
        self, remote: RemoteFile, target: Path, *, overwrite: bool, progress: Progress | None
    ) -> None:
        """See `transfers.get_local`."""
        transfers.get_local(remote, target, overwrite=overwrite, rng=self._reading.rng, progress=progress)

    def get_tree(
        self, path: str, target: Path, *, overwrite: bool, as_of: str | None, progress: Progress | None
    ) -> Copied:
        """See `tree.get_tree`."""
        return tree.get_tree(self._reading, path, target, overwrite=overwrite, as_of=as_of, progress=progress)

    def open_for_reading(
        self, remote: RemoteFile, *, text: bool, encoding: str, newline: str | None
    ) -> IO[Any]:
        """See `files.for_reading`."""
        return files.for_reading(remote, text=text, encoding=encoding, newline=newline)

    def open_for_writing(
        self, path: str, options: WriteOptions, *, text: bool, encoding: str, newline: str | None
    ) -> IO[Any]:
        """See `files.for_writing`."""
        upload = Upload(self._writing, path, options, blocks=0)
        return files.for_writing(upload, path, text=text, encoding=encoding, newline=newline)

    def close(self) -> None:
        """Close the channels and stop renewing leases."""
        self._leases.close()
        if self.pid == os.getpid():
            self._channels.close()
            self._local.close()
