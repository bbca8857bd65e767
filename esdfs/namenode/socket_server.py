"""The engine's end of the command socket: frames in, calls out; answers in, frames out."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import msgspec
import structlog

from esdfs.namenode.frames import FRAME_BYTES_MAX, LENGTH, Answer, Call, decode_calls, encode

_BACKLOG: Final = 64
_log = structlog.get_logger(__name__)


class Connection(asyncio.Protocol):
    """One REST worker. Answers given within one turn of the loop leave in one frame."""

    def __init__(self, receive: "Callable[[Connection, Call], None]") -> None:
        self._receive = receive
        self._buffer = bytearray()
        self._answers: list[Answer] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """See ``asyncio.Protocol``."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= LENGTH.size:
            (size_bytes,) = LENGTH.unpack_from(buffer, start)
            if size_bytes > FRAME_BYTES_MAX:
                self._refuse(f"frame of {size_bytes} bytes")
                return
            end = start + LENGTH.size + size_bytes
            if len(buffer) < end:
                break
            try:
                calls = decode_calls(bytes(buffer[start + LENGTH.size : end]))
            except msgspec.DecodeError as error:
                self._refuse(str(error))
                return
            for call in calls:
                self._receive(self, call)
            start = end
        del buffer[:start]

    def _refuse(self, why: str) -> None:
        _log.error("command connection closed", why=why)
        if self._transport is not None:
            self._transport.close()

    def answer(self, answer: Answer) -> None:
        """Send ``answer`` with whatever else is answered in this turn. Lost if the worker is gone."""
        if not self._answers:
            self._loop.call_soon(self._flush)
        self._answers.append(answer)

    def _flush(self) -> None:
        answers, self._answers = self._answers, []
        if self._transport is not None:
            self._transport.write(encode(answers))


def bind(path: Path) -> socket.socket:
    """A listening Unix socket at ``path``, replacing a dead one, for this user only.

    Bound through the directory's descriptor: a socket address holds 108 bytes, a path may be longer.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    umask = os.umask(0o177)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.umask(umask)
        os.close(directory)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener
