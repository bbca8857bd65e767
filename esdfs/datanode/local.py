"""The Unix socket for clients on this host (see `esdfs.rpc.local` for what is said over it)."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from esdfs.datanode.layout import Extent
from esdfs.datanode.load import Load
from esdfs.datanode.reading import ReplicaReader
from esdfs.datanode.store import BlockStore
from esdfs.errors import EsdfsError, IdentityConflict, InvalidRequest, ReplicaCorrupt
from esdfs.rpc import wire
from esdfs.rpc.local import (
    PATH_BYTES_MAX,
    Opened,
    error_message,
    fine_message,
    opened_message,
    receive,
    verified_count,
)
from esdfs.rpc.messages import BlockRequest, Frame

_log = structlog.get_logger()

_CONNECTIONS_MAX: Final = 256

_PAUSE_S: Final = 0.5
"""Before the next try when a connection could not be taken: what ran out may be back then."""


def socket_path(setting: str, first_volume: Path, node_uuid: str) -> str:
    """Where the socket goes; empty = nowhere, because the path would be too long or it is not wanted.

    Its name is this DataNode's alone: the same directory on another host holds another, and a client there
    must find nobody rather than somebody else.
    """
    if setting == "-":
        return ""
    path = str((Path(setting) if setting else first_volume).absolute() / f"{node_uuid[:13]}.sock")
    return path if len(os.fsencode(path)) <= PATH_BYTES_MAX else ""


def open_local(
    path: str, store: BlockStore, load: Load, cluster_id: Callable[[], str]
) -> "LocalServer | None":
    """The server, if ``path`` says where and one can be had there: clients do without."""
    if not path:
        return None
    try:
        return LocalServer(path, store, load, cluster_id)
    except OSError as error:
        _log.warning("no local socket", path=path, reason=str(error))
        return None


class LocalServer:
    """Opens one DataNode's replicas for clients of this host, a thread per connection.

    Args:
        path: Of the socket; one that is there already is a leftover of ours, since we hold the volume.
        cluster_id: Answers the cluster we belong to, empty while unknown.
    """

    def __init__(self, path: str, store: BlockStore, load: Load, cluster_id: Callable[[], str]) -> None:
        self.path = path
        self._store = store
        self._load = load
        self._cluster_id = cluster_id
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._stopping = threading.Event()
        Path(path).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(32)
        self._thread = threading.Thread(target=self._accept, name="local", daemon=True)

    def start(self) -> None:
        """Serve from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End all connections."""
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join()
        self._listener.close()
        with self._lock:
            connections = dict(self._connections)
            for connection in connections:
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections.values():
            thread.join()
        try:
            Path(self.path).unlink(missing_ok=True)
        except OSError as error:  # a failed disk; the next start removes it
            _log.warning("local socket left behind", path=self.path, reason=str(error))

    def _accept(self) -> None:
        """Take connections until `stop`: while the socket is there, clients wait for answers from it."""
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
                self._begin(connection)
            # RuntimeError: there is no thread to be had.
            except (OSError, RuntimeError, MemoryError) as error:
                if self._stopping.is_set():
                    return
                _log.warning("local connection not taken", reason=str(error))
                self._stopping.wait(_PAUSE_S)

    def _begin(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._connections) >= _CONNECTIONS_MAX:
                connection.close()  # the client reads over gRPC then
                return
            thread = threading.Thread(target=self._serve, args=(connection,), name="local", daemon=True)
            self._connections[connection] = thread
        try:
            thread.start()
        except BaseException:
            with self._lock:
                del self._connections[connection]
            connection.close()
            raise

    def _serve(self, connection: socket.socket) -> None:
        try:
            while True:
                body, fds = receive(connection)
                for fd in fds:
                    os.close(fd)
                if not body:
                    return
                self._answer(connection, body)
        except OSError as error:
            _log.debug("local connection ended", reason=str(error))
        finally:
            with self._lock:
                del self._connections[connection]
                connection.close()

    def _answer(self, connection: socket.socket, body: bytes) -> None:
        try:
            request = wire.decode_request(body[1:])
            self._check_cluster(request.cluster_id)
            if body[:1] == b"R":
                with self._load.stream():
                    self._open(connection, request)
            elif body[:1] == b"D":
                self._look(request)
                connection.sendall(fine_message())
            else:
                raise InvalidRequest(f"a message of kind {body[:1]!r}")
        except EsdfsError as error:
            connection.sendall(error_message(error))

    def _open(self, connection: socket.socket, request: BlockRequest) -> None:
        answered = self._load.asked()
        with self._store.open(request.block_id, request.generation) as reader:
            meta = reader.meta
            extents = reader.covering(request.offset, request.length)
            stored_bytes = sum(extent.stored_bytes for extent in extents)
            chunk_at = extents[0].chunk_at if extents else 0
            chunks = sum(extent.chunks for extent in extents)
            frame = Frame(
                block_id=meta.block_id,
                offset=extents[0].logical_at if extents else 0,
                chunk_crcs=list(meta.chunk_crcs[chunk_at : chunk_at + chunks]),
                total_size=meta.length_bytes,
                compressed=bool(meta.codec),
                compression=meta.compression,
                generation=meta.generation,
                crc32c=meta.crc32c,
            )
            opened = Opened(frame, extents[0].stored_at if extents else 0, stored_bytes)
            message = opened_message(opened)
            sent = socket.send_fds(connection, [message], [reader.fileno()])
            connection.sendall(message[sent:])
            self._verify(connection, reader, extents, answered)

    def _verify(
        self,
        connection: socket.socket,
        reader: ReplicaReader,
        extents: list[Extent],
        answered: Callable[[], None],
    ) -> None:
        """Go ahead of the client through the range: it reads only what verified here."""
        buffer = memoryview(bytearray(max((extent.stored_bytes for extent in extents), default=0)))
        try:
            for number, extent in enumerate(extents):
                reader.load(extent, buffer[: extent.stored_bytes])
                if number == 0:
                    answered()
                self._load.read(extent.stored_bytes)
                connection.sendall(verified_count(extent.stored_bytes))
        except EsdfsError as error:
            if isinstance(error, ReplicaCorrupt):
                self._doubt(reader, error)
            # The client takes what comes for a count: whatever ended this, a count must say that it did.
            connection.sendall(verified_count(0) + error_message(error))

    def _doubt(self, reader: ReplicaReader, found: ReplicaCorrupt) -> None:
        try:
            self._store.doubt(reader.replica, found.message)
        except EsdfsError as error:  # what the client is to hear is that the replica is damaged
            _log.warning("damaged replica not set aside", block=reader.replica.block_id, reason=error.message)

    def _look(self, request: BlockRequest) -> None:
        """A client doubts a range: verify it ourselves, which sets the replica aside if it is bad."""
        for _ in self._store.read(request.block_id, request.generation, request.offset, request.length):
            continue

    def _check_cluster(self, cluster_id: str) -> None:
        mine = self._cluster_id()
        if cluster_id and mine and cluster_id != mine:
            raise IdentityConflict(f"this DataNode belongs to cluster {mine}, not {cluster_id}")
