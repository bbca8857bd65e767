"""A REST worker's way to the engine: the command socket's client side, for one asyncio loop.

One connection carries every call of the worker; calls made in the same turn of the loop leave as one
frame. What becomes of a call when the connection breaks depends on what repeating it would do.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from esdfs.errors import DeadlineExceeded, OutcomeUnknown, Unavailable, from_code
from esdfs.namenode import frames
from esdfs.namenode.frames import Answer, Body, Call, Execute

TIMEOUT_MS: Final = 10_000
SOCKET_PATH_BYTES_MAX: Final = 100  # sun_path holds 108, its NUL included

# A restarting engine is back within a second; the first tries are cheap.
_RECONNECT_MS: Final = (20, 50, 100, 200, 500)
_HEADER_BYTES: Final = frames.LENGTH.size


class EngineClient:
    """Calls to the engine; made, used and closed in one event loop. Connects when first called."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._link: _Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False
        self._next_id = 1
        self._calls: dict[int, _InFlight] = {}
        self._unsent: list[Call] = []
        self._flush_scheduled = False
        self._txid = 0
        self._epoch = 0

    @property
    def last_seen(self) -> tuple[int, int]:
        """(txid, epoch) of the engine's newest answer; zeros before the first."""
        return self._txid, self._epoch

    async def call(self, body: Body, *, timeout_ms: int = TIMEOUT_MS) -> Answer:
        """The engine's answer, never one with a failure.

        A lost connection is made again. Calls that may be repeated (everything but an ``Execute``
        without ``client_id``) are then sent again until their time is up.

        Raises:
            EsdfsError: What the engine refused the call with.
            OutcomeUnknown: The connection broke under a change that must not be sent twice.
            DeadlineExceeded: Sent, but not answered in ``timeout_ms``: it may have happened.
            Unavailable: The engine could not be reached in ``timeout_ms``: nothing happened.
        """
        if self._closed:
            raise Unavailable("this worker is shutting down: ask again")
        loop = asyncio.get_running_loop()
        call = Call(self._next_id, body)
        self._next_id += 1
        future: asyncio.Future[Answer] = loop.create_future()
        in_flight = _InFlight(call, future)
        in_flight.timer = loop.call_later(timeout_ms / 1000, self._expire, in_flight, timeout_ms)
        self._calls[call.id] = in_flight
        self._send(call)
        try:
            answer = await future
        finally:
            in_flight.timer.cancel()
            self._calls.pop(call.id, None)
        if answer.failure is not None:
            failure = answer.failure
            raise from_code(failure.code, failure.message, failure.details)
        return answer

    async def close(self) -> None:
        """Drop the connection; calls still waiting fail as if it had broken for good."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        if self._link is not None:
            self._link.close()
        for in_flight in list(self._calls.values()):
            in_flight.fail(_unanswered(in_flight, "this worker is shutting down"))

    # --- out ----------------------------------------------------------------------------------

    def _send(self, call: Call) -> None:
        self._unsent.append(call)
        if self._link is None:
            self._connect()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._link is None:
            return
        calls = [call for call in self._unsent if call.id in self._calls]
        self._unsent.clear()
        for call in calls:
            self._calls[call.id].sent = True
        if calls:
            self._write(calls, self._link)

    def _write(self, calls: list[Call], link: "_Link") -> None:
        frame = frames.encode(calls)
        if len(frame) - _HEADER_BYTES <= frames.FRAME_BYTES_MAX or len(calls) == 1:
            link.write(frame)
            return
        middle = len(calls) // 2
        self._write(calls[:middle], link)
        self._write(calls[middle:], link)

    # --- in -----------------------------------------------------------------------------------

    def _on_answers(self, answers: list[Answer]) -> None:
        for answer in answers:
            self._txid = max(self._txid, answer.txid)
            self._epoch = max(self._epoch, answer.epoch)
            in_flight = self._calls.get(answer.id)
            # Without one its caller gave up: the answer has nowhere to go.
            if in_flight is not None and not in_flight.future.done():
                in_flight.future.set_result(answer)

    def _expire(self, in_flight: "_InFlight", timeout_ms: int) -> None:
        in_flight.fail(_unanswered(in_flight, f"no answer from the NameNode's engine in {timeout_ms} ms"))

    # --- the connection -----------------------------------------------------------------------

    def _connect(self) -> None:
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._keep_connecting())

    async def _keep_connecting(self) -> None:
        attempt = 0
        try:
            while self._calls and not self._closed:
                try:
                    self._link = await _open(self._socket_path, self._on_answers, self._on_lost)
                except OSError:
                    delay_ms = _RECONNECT_MS[min(attempt, len(_RECONNECT_MS) - 1)]
                    attempt += 1
                    await asyncio.sleep(delay_ms / 1000)
                else:
                    return
        finally:
            self._connecting = None
            if self._link is not None:
                self._flush()

    def _on_lost(self, link: "_Link") -> None:
        if self._link is not link:
            return
        self._link = None
        again = []
        for in_flight in list(self._calls.values()):
            if not in_flight.sent:
                continue  # still in `_unsent`
            if _is_repeatable(in_flight.call.body):
                again.append(in_flight.call)
            else:
                in_flight.fail(
                    OutcomeUnknown(
                        "the connection to the NameNode's engine broke before it answered: the change may "
                        "have been made; look, or send an Idempotency-Key to be able to repeat safely"
                    )
                )
        self._unsent = again + self._unsent
        if self._unsent and not self._closed:
            self._connect()


class _InFlight:
    """A call somebody waits for."""

    __slots__ = ("call", "future", "sent", "timer")

    def __init__(self, call: Call, future: asyncio.Future[Answer]) -> None:
        self.call = call
        self.future = future
        self.sent = False
        self.timer: asyncio.TimerHandle

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Link(asyncio.Protocol):
    """One connection: bytes in, lists of answers out."""

    def __init__(
        self, on_answers: Callable[[list[Answer]], None], on_lost: Callable[["_Link"], None]
    ) -> None:
        self._on_answers = on_answers
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's, so this cannot be an isinstance check.
        self._transport = transport  # type: ignore[assignment]  # a stream's transport

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start = 0
        while len(received) - start >= _HEADER_BYTES:
            (size_bytes,) = frames.LENGTH.unpack_from(received, start)
            end = start + _HEADER_BYTES + size_bytes
            if size_bytes > frames.FRAME_BYTES_MAX:
                self.close()
                return
            if len(received) < end:
                break
            try:
                # The answers keep slices of it (Raw), so they need bytes of their own.
                answers = frames.decode_answers(bytes(received[start + _HEADER_BYTES : end]))
            except msgspec.DecodeError:
                self.close()
                return
            start = end
            self._on_answers(answers)
        del received[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # how it broke makes no difference to what the callers may do
        self._on_lost(self)

    def write(self, frame: bytes) -> None:
        assert self._transport is not None
        self._transport.write(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def _open(
    socket_path: Path, on_answers: Callable[[list[Answer]], None], on_lost: Callable[[_Link], None]
) -> _Link:
    loop = asyncio.get_running_loop()

    def protocol() -> _Link:
        return _Link(on_answers, on_lost)

    if len(os.fsencode(socket_path)) <= SOCKET_PATH_BYTES_MAX:
        _, link = await loop.create_unix_connection(protocol, str(socket_path))
        return link
    directory = os.open(socket_path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        _, link = await loop.create_unix_connection(protocol, f"/proc/self/fd/{directory}/{socket_path.name}")
    finally:
        os.close(directory)
    return link


def _is_repeatable(body: Body) -> bool:
    """Heartbeats, reports, registrations and questions may be sent twice; a change only by its name."""
    return not isinstance(body, Execute) or bool(body.client_id)


def _unanswered(in_flight: _InFlight, why: str) -> Exception:
    if not in_flight.sent:
        return Unavailable(f"{why} (it could not be reached): nothing was changed, try again")
    if isinstance(in_flight.call.body, Execute):
        return DeadlineExceeded(
            f"{why}: the change may still happen; repeat it under the same Idempotency-Key"
        )
    return DeadlineExceeded(f"{why}: try again")
