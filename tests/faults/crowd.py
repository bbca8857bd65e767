"""Threads that are at work for as long as a block of code takes."""

import threading
from collections.abc import Callable, Iterable
from typing import Self


class Crowd:
    """Begins with the block; at its end `stopping` is set, and everybody is waited for.

    Args:
        works: One thread each. They look at `stopping` themselves.
    """

    def __init__(self, works: Iterable[Callable[[], None]]) -> None:
        self.stopping = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def all_work(self) -> bool:
        """Whether nobody has ended, as one that failed would have."""
        return all(thread.is_alive() for thread in self._threads)

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()
