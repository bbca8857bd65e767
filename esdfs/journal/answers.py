"""What other nodes asked of this one, and still wait for. One event loop."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias, assert_never

from esdfs.ids import NodeId
from esdfs.journal.quorum.messages import (
    HeartbeatRequest,
    HeartbeatResponse,
    SyncRequest,
    SyncResponse,
    VoteRequest,
    VoteResponse,
)

Request: TypeAlias = VoteRequest | HeartbeatRequest | SyncRequest
Response: TypeAlias = VoteResponse | HeartbeatResponse | SyncResponse

_TIMEOUT_S: Final = 5.0

_Key: TypeAlias = tuple[NodeId, str, int]


class Answers:
    """Pairs the responses of the quorum with the requests that brought them about."""

    def __init__(self) -> None:
        self._awaited: dict[_Key, asyncio.Future[Response | None]] = {}

    async def to(self, request: Request, receive: Callable[[Request], None]) -> Response | None:
        """Let ``receive`` have ``request``; its response, or None when there is none, now or in time.

        A request that comes again takes the place of the one before it.
        """
        key = _key_of(request)
        if key is None:
            receive(request)
            return None
        self._drop(key)
        future: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        self._awaited[key] = future
        try:
            receive(request)
            async with asyncio.timeout(_TIMEOUT_S):
                return await future
        except TimeoutError:
            return None
        finally:
            if self._awaited.get(key) is future:
                del self._awaited[key]

    def give(self, to: NodeId, response: Response) -> None:
        """``response`` is for ``to``. Lost when it no longer waits."""
        future = self._awaited.pop(_key_of_response(to, response), None)
        if future is not None and not future.done():
            future.set_result(response)

    def drop(self, to: NodeId, response: Response) -> None:
        """Nothing will come in place of ``response``."""
        self._drop(_key_of_response(to, response))

    def drop_all(self) -> None:
        """Nothing will come any more."""
        for key in list(self._awaited):
            self._drop(key)

    def _drop(self, key: _Key) -> None:
        future = self._awaited.pop(key, None)
        if future is not None and not future.done():
            future.set_result(None)


def _key_of(request: Request) -> _Key | None:
    """What its response will carry, too; None when there is none."""
    sender = request.envelope
    match request:
        case VoteRequest():
            return sender.from_id, "pre-vote" if request.pre_vote else "vote", sender.epoch
        case HeartbeatRequest():
            # Without a number it is no round but an order.
            return (sender.from_id, "heartbeat", request.heartbeat_seq) if request.heartbeat_seq else None
        case SyncRequest():
            return sender.from_id, "sync", request.fetch_seq
        case _:
            assert_never(request)


def _key_of_response(to: NodeId, response: Response) -> _Key:
    match response:
        case VoteResponse():
            return to, "pre-vote" if response.pre_vote else "vote", response.proposed_epoch
        case HeartbeatResponse():
            return to, "heartbeat", response.heartbeat_seq
        case SyncResponse():
            return to, "sync", response.fetch_seq
        case _:
            assert_never(response)
