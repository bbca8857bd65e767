"""The processes that a NameNode starts beside its engine.

They are started by ``subprocess``, whose vfork runs no handlers of other libraries. What uvloop starts is
forked, and gRPC's handlers, run in the child of a process whose gRPC threads are at work, may abort it before
it becomes the program it was to be.
"""

import asyncio
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Self


class Child:
    """A running program, in one event loop.

    Attributes:
        stdout: What it prints, when that was asked for.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", stdout: asyncio.StreamReader | None) -> None:
        self._process = process
        self.stdout = stdout
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._watched = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._watched, self._collect)

    @classmethod
    async def start(cls, argv: Sequence[str], *, piped: bool = False) -> Self:
        """Start a program; ``piped``: `tell` it things, and read what it prints.

        Raises:
            OSError: It cannot be started.
        """
        pipe = subprocess.PIPE if piped else None
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - back when our own program runs
            list(argv), stdin=pipe or subprocess.DEVNULL, stdout=pipe, bufsize=0
        )
        stdout = None
        if process.stdout is not None:
            stdout = asyncio.StreamReader()
            reading = asyncio.StreamReaderProtocol(stdout)
            await asyncio.get_running_loop().connect_read_pipe(lambda: reading, process.stdout)
        return cls(process, stdout)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; negative for a signal, None while it runs."""
        return self._process.returncode

    def tell(self, data: bytes) -> None:
        """Write to its standard input: no more than a pipe holds, since this waits.

        Raises:
            BrokenPipeError: It is gone.
        """
        assert self._process.stdin is not None, "started without a pipe"
        if self._process.stdin.closed:
            raise BrokenPipeError(f"process {self.pid} ended: {self.returncode}")
        self._process.stdin.write(data)

    async def wait(self) -> int:
        """Return when it has ended; how."""
        return await asyncio.shield(self._ended)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """Have it end."""
        self._process.kill()

    async def end(self, *, within_s: float) -> None:
        """Ask it to end, kill it if it has not by then, and collect it; one that ended is left alone."""
        if self.returncode is not None:
            return
        self.terminate()
        try:
            await asyncio.wait_for(self.wait(), within_s)
        except TimeoutError:
            self.kill()
            await self.wait()

    def _collect(self) -> None:
        status = self._process.poll()
        if status is None:
            return
        asyncio.get_running_loop().remove_reader(self._watched)
        os.close(self._watched)
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        if not self._ended.done():
            self._ended.set_result(status)
