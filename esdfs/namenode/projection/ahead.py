"""Decoding a long journal in a process of its own, ahead of the one that applies it.

`python -m esdfs.namenode.projection.ahead` reads pages of rows from its standard input and answers each
with its records on its standard output, both as a length and msgpack, until its input ends. It is as
disposable as a thread: whatever it cannot answer is decoded by who asked.
"""

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from queue import SimpleQueue
from struct import Struct
from typing import IO, Any, Final, Self

import msgspec

from esdfs.errors import EsdfsError
from esdfs.namenode.projection.decoding import Decoded, decode, packed, unpacked

PAGE_RECORDS: Final = 200
"""A page's events should fit the processor's caches: a record has up to some hundred."""

_AHEAD_PAGES: Final = 4
_LENGTH: Final = Struct("<I")
_encode: Final = msgspec.msgpack.Encoder().encode
_rows: Final = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode

Page = Sequence[Sequence[Any]]
"""Rows: the columns of ``Entry``."""


def decoded_here(pages: Iterable[Page]) -> Generator[list[Decoded], None, None]:
    """The records of each page. Raises as ``decode``."""
    for page in pages:
        yield [decode(row) for row in page]


def decoded_ahead(pages: Iterable[Page]) -> Generator[list[Decoded], None, None]:
    """The same, by another process while the caller is busy with the page before. Close it when done."""
    if len(os.sched_getaffinity(0)) < 2:
        yield from decoded_here(pages)
        return
    with _Decoder() as decoder:
        sent: deque[Page] = deque()
        for page in pages:
            sent.append(page)
            decoder.ask(page)
            if len(sent) > _AHEAD_PAGES:
                yield decoder.answer(sent.popleft())
        while sent:
            yield decoder.answer(sent.popleft())


class _Decoder:
    """The process, as seen by who asks it. A thread writes to it, so that neither waits for the other."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._waiting: SimpleQueue[Page | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="decode ahead", daemon=True)
        self._writer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.put(None)
        self._process.kill()
        self._writer.join()
        self._process.communicate()

    def ask(self, page: Page) -> None:
        self._waiting.put(page)

    def answer(self, page: Page) -> list[Decoded]:
        """The records of the page asked for longest ago."""
        assert self._process.stdout is not None, "piped"
        data = _read(self._process.stdout)
        return unpacked(data) if data else [decode(row) for row in page]

    def _write(self) -> None:
        assert self._process.stdin is not None, "piped"
        try:
            while (page := self._waiting.get()) is not None:
                _send(self._process.stdin, _encode(page))
        except OSError:
            pass  # it is gone: its answers end, too


def _send(stream: IO[bytes], data: bytes) -> None:
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    """A message; b"" at the end, also of one that was cut off."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return b""
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    return data if len(data) == length else b""


def main() -> None:
    """Answer until there is nothing more to read."""
    while page := _read(sys.stdin.buffer):
        try:
            answer = packed([decode(row) for row in _rows(page)])
        except EsdfsError:
            answer = b""  # who asked meets the same, and says so
        _send(sys.stdout.buffer, answer)


if __name__ == "__main__":
    main()
