"""How the process learns that it is to end, from a signal or from one of its own threads."""

import contextlib
import signal
import socket


class Ending:
    """A bell that anyone may ring at any moment, and that the main thread waits for.

    Not a `threading.Event`: its ``wait`` sleeps on if a signal comes just before it blocks, and its ``set``,
    in a handler, may want the lock that the interrupted ``wait`` holds. The interpreter itself writes a byte
    for each signal it catches (`signal.set_wakeup_fd`), and a byte is there for whoever reads later.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)

    def catch(self, *signals: signal.Signals) -> None:
        """From here on each of them rings. Main thread only."""
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, lambda *_args: None)

    def ring(self) -> None:
        """End. From any thread, any number of times."""
        with contextlib.suppress(BlockingIOError):  # then it has been rung often enough
            self._writer.send(b"\0")

    def wait(self) -> None:
        """Return once it was rung, be it long ago; one ring is one return."""
        self._reader.recv(1)
