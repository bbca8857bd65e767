"""Keeping files open for writing: their leases are renewed while their writers live."""

import threading
from typing import Final

from esdfs.client.control import Control
from esdfs.errors import EsdfsError

RENEW_S: Final = 20.0
"""A third of the soft limit: two renewals may be lost."""


class LeaseKeeper:
    """One thread that renews the leases of all files this client writes. It starts when there is one."""

    def __init__(self, control: Control, renew_s: float = RENEW_S) -> None:
        self._control = control
        self._renew_s = renew_s
        self._held: dict[str, str] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def hold(self, file_id: str, lease: str) -> None:
        """Renew it from now on."""
        with self._changed:
            self._held[file_id] = lease
            if self._thread is None or not self._thread.is_alive():  # not alive: in the child of a fork
                self._thread = threading.Thread(target=self._keep, name="esdfs-leases", daemon=True)
                self._thread.start()

    def release(self, file_id: str) -> None:
        """Stop renewing it; the thread ends when it has nothing left for a period."""
        with self._changed:
            self._held.pop(file_id, None)

    def close(self) -> None:
        """Stop renewing all."""
        with self._changed:
            self._held.clear()
            self._changed.notify_all()

    def _keep(self) -> None:
        while True:
            with self._changed:
                if self._held:
                    self._changed.wait(self._renew_s)
                held = list(self._held.items())
                if not held:
                    self._thread = None
                    return
            for file_id, lease in held:
                self._renew(file_id, lease)

    def _renew(self, file_id: str, lease: str) -> None:
        try:
            self._control.change("POST", f"/files/{file_id}/lease", dict[str, object], {"lease": lease})
        except EsdfsError:
            # Its writer hears of it at its next step; a NameNode that is away now may be back by then.
            return
