"""Work beside what a DataNode is asked for: a thread that is stopped within one piece of it."""

import threading
from abc import ABC, abstractmethod


class Background(ABC):
    """One thread, for as long as the DataNode runs. What may block waits on ``_stop``."""

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Have it end; return when it has ended, or was never started."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @abstractmethod
    def _run(self) -> None: ...
