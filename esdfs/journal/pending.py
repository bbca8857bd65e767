"""Callers of the leader that wait: for a record to be committed, for the right to answer a read."""

import asyncio
import heapq

from esdfs.errors import NotLeader, OutcomeUnknown
from esdfs.ids import NodeId, Txid
from esdfs.journal.quorum.effects import NotHere, ReadAt


class Pending:
    """Futures, by what they wait for. One event loop."""

    def __init__(self) -> None:
        self._commits: list[tuple[Txid, int, asyncio.Future[None]]] = []  # a heap
        self._reads: dict[int, asyncio.Future[Txid]] = {}
        self._tickets = 0

    def commit(self, txid: Txid) -> "asyncio.Future[None]":
        """Done when ``txid`` is committed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tickets += 1
        heapq.heappush(self._commits, (txid, self._tickets, future))
        return future

    def read(self) -> "tuple[int, asyncio.Future[Txid]]":
        """A number for the question, and what its answer will be."""
        self._tickets += 1
        future: asyncio.Future[Txid] = asyncio.get_running_loop().create_future()
        self._reads[self._tickets] = future
        return self._tickets, future

    def committed(self, txid: Txid) -> None:
        """Everything up to ``txid`` is."""
        while self._commits and self._commits[0][0] <= txid:
            future = heapq.heappop(self._commits)[2]
            if not future.done():
                future.set_result(None)

    def reply(self, read_id: int, answer: ReadAt | NotHere) -> None:
        """Answer a read; nothing happens when its caller went away."""
        future = self._reads.pop(read_id, None)
        if future is None or future.done():
            return
        if isinstance(answer, ReadAt):
            future.set_result(answer.txid)
        else:
            future.set_exception(not_leader(answer.leader_id))

    def forget_read(self, read_id: int) -> None:
        """Its caller no longer waits."""
        self._reads.pop(read_id, None)

    def abandon(self, error: OutcomeUnknown) -> None:
        """Nobody will learn here what became of the records."""
        waiting, self._commits = self._commits, []
        for *_, future in waiting:
            if not future.done():
                future.set_exception(error)

    def end(self, error: OutcomeUnknown) -> None:
        """Nothing is answered here any more."""
        self.abandon(error)
        for read_id in list(self._reads):
            self.reply(read_id, NotHere(None))


def unknown() -> OutcomeUnknown:
    """Leadership went before a record was known to be committed."""
    return OutcomeUnknown("leadership was lost meanwhile: repeat the request under the same key")


def not_leader(leader_id: NodeId | None) -> NotLeader:
    """Somebody else leads, or nobody."""
    return NotLeader("this NameNode does not lead: ask the leader", leader=leader_id or "")
