"""Waiting with open eyes: a leader that is frozen or cut off answers nothing and resets nothing.

Somebody who waits longer than an election takes to begin asks the other NameNodes who leads now. So it
need not be told apart whether a leader is slow or gone: a slow one is waited for, one that has a successor
is left.
"""

import os
import threading
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

import msgspec
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util.wait import wait_for_read

from esdfs.env import Clock

_FIRST_ASK_S: Final = 0.45  # no voter deposes a leader that was silent for less than 0.5 s
_ASK_EVERY_S: Final = 0.06
_ASK_TIMEOUT_S: Final = 0.3
_NS_PER_S: Final = 1_000_000_000


class SupersededError(Exception):
    """Another NameNode leads, in a later epoch than the one that was asked. It may have happened.

    Attributes:
        url: Of the one that leads.
    """

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} leads now")
        self.url = url


class _Member(msgspec.Struct):
    node_id: str
    rest: str = ""


class _Said(msgspec.Struct):
    epoch: int
    leader: str | None
    namenodes: list[_Member]


class Watch:
    """Who leads, asked for by those who wait and shared among them. For any number of threads.

    Args:
        urls: Of the NameNodes known at the time.
        headers: Of every request.
    """

    def __init__(self, urls: Callable[[], Sequence[str]], headers: dict[str, str], clock: Clock) -> None:
        self._urls = urls
        self._headers = headers
        self._clock = clock
        self._asking = threading.Lock()
        self._asked_ns = 0
        self._turn = 0
        self._leader = (0, "")  # of the latest epoch that anybody spoke of
        self._epochs: dict[str, int] = {}  # in which a node last answered
        self._pid = -1
        self._pool: urllib3.PoolManager | None = None

    def answered(self, url: str, epoch: int) -> None:
        """``url`` answered in ``epoch``."""
        self._epochs[url] = max(epoch, self._epochs.get(url, 0))

    def waiting(self, url: str) -> None:
        """Somebody waits for ``url``, and has for a while.

        Raises:
            SupersededError: It need not.
        """
        if self._asking.acquire(blocking=False):
            try:
                if self._clock.monotonic_ns() - self._asked_ns >= _ASK_EVERY_S * _NS_PER_S:
                    self._ask_another(url)
                    self._asked_ns = self._clock.monotonic_ns()
            finally:
                self._asking.release()
        epoch, leader = self._leader
        if leader and leader != url and epoch > self._epochs.get(url, 0):
            raise SupersededError(leader)

    def _ask_another(self, url: str) -> None:
        others = [other for other in self._urls() if other != url]
        if not others:
            return
        self._turn += 1
        try:
            answer = self._pooled().request(
                "GET",
                f"{others[self._turn % len(others)]}/cluster",
                headers=self._headers,
                timeout=_ASK_TIMEOUT_S,
                retries=False,
                redirect=False,
            )
            said = msgspec.json.decode(answer.data, type=_Said)
        except (HTTPError, msgspec.DecodeError):
            return  # this one does not know either
        rest = next((each.rest for each in said.namenodes if each.node_id == said.leader), "")
        if rest and said.epoch > self._leader[0]:
            self._leader = (said.epoch, rest.rstrip("/"))

    def _pooled(self) -> urllib3.PoolManager:
        if self._pid != os.getpid():  # a child of a fork must not share its parent's sockets
            self._pool, self._pid = urllib3.PoolManager(maxsize=1), os.getpid()
        assert self._pool is not None
        return self._pool

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        if self._pool is not None and self._pid == os.getpid():
            self._pool.clear()


def patient_pools(watch: Watch) -> dict[str, type[HTTPConnectionPool]]:
    """Connection pools by scheme, whose callers look up from time to time while they wait."""

    class Connection(HTTPConnection):
        def getresponse(self) -> Any:
            _wait(self, f"http://{self.host}:{self.port}", watch)
            return super().getresponse()

    class TlsConnection(HTTPSConnection):
        def getresponse(self) -> Any:
            _wait(self, f"https://{self.host}:{self.port}", watch)
            return super().getresponse()

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": Pool, "https": TlsPool}


def _wait(connection: HTTPConnection, url: str, watch: Watch) -> None:
    """Return when there is something to read.

    Raises:
        TimeoutError: Not in the connection's time.
        SupersededError: See ``Watch.waiting``.
    """
    assert connection.sock is not None, "a request was sent"
    limit_s = connection.timeout if isinstance(connection.timeout, int | float) else inf
    waited_s, slice_s = 0.0, min(_FIRST_ASK_S, limit_s)
    while not wait_for_read(connection.sock, slice_s):
        waited_s += slice_s
        if waited_s >= limit_s:
            raise TimeoutError("timed out")
        watch.waiting(url)
        slice_s = min(_ASK_EVERY_S, limit_s - waited_s)
