"""The client against a real Unix socket whose other end the test plays."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from esdfs.errors import DeadlineExceeded, EsdfsError, NotFound, OutcomeUnknown, Unavailable
from esdfs.namenode import frames
from esdfs.namenode.commands import Delete
from esdfs.namenode.engine_client import EngineClient
from esdfs.namenode.frames import Answer, Call, Execute, Failure, Status
from esdfs.namenode.socket_server import bind

CLIENT_ID = bytes(range(16))
CHANGE = Execute([Delete("/a")], "ada", "127.0.0.1")
NAMED = Execute([Delete("/a")], "ada", "127.0.0.1", CLIENT_ID, 1, 2)


class Engine:
    """Frames in; what happens then is up to ``react``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames: list[list[Call]] = []
        self.react: Callable[[list[Call], asyncio.StreamWriter], None] = self.answer
        self.arrived = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, sock=bind(self.path))

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                (size,) = frames.LENGTH.unpack(await reader.readexactly(frames.LENGTH.size))
                calls = frames.decode_calls(await reader.readexactly(size))
                self.frames.append(calls)
                self.arrived.set()
                self.react(calls, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    @staticmethod
    def answer(calls: list[Call], writer: asyncio.StreamWriter) -> None:
        answers = [Answer(call.id, 7, 3, None, packed(call.id)) for call in calls]
        writer.write(frames.encode(answers))


def say_nothing(calls: list[Call], writer: asyncio.StreamWriter) -> None:
    assert calls
    assert not writer.is_closing()


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - the state is the client's own; `play` sets the deadline
        await asyncio.sleep(0.001)


def packed(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))


def play(path: Path, story: Callable[[Engine, EngineClient], Awaitable[None]]) -> None:
    async def run() -> None:
        engine, client = Engine(path), EngineClient(path)
        await engine.start()
        try:
            await asyncio.wait_for(story(engine, client), 20)
        finally:
            await client.close()
            await engine.stop()

    asyncio.run(run())


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "engine.sock"


def test_calls_of_one_turn_leave_as_one_frame_and_each_gets_its_own_answer(socket_path: Path) -> None:
    async def story(engine: Engine, client: EngineClient) -> None:
        first = await client.call(Status())
        assert (first.txid, first.epoch, msgspec.msgpack.decode(first.result)) == (7, 3, 1)
        assert client.last_seen == (7, 3)
        engine.frames.clear()

        def backwards(calls: list[Call], writer: asyncio.StreamWriter) -> None:
            engine.answer(calls[::-1], writer)

        engine.react = backwards
        answers = await asyncio.gather(*(client.call(Status()) for _ in range(50)))
        assert [msgspec.msgpack.decode(answer.result) for answer in answers] == list(range(2, 52))
        assert [len(calls) for calls in engine.frames] == [50]

    play(socket_path, story)


def test_answers_cut_anywhere_are_put_together(socket_path: Path) -> None:
    async def story(engine: Engine, client: EngineClient) -> None:
        async def drip(frame: bytes, writer: asyncio.StreamWriter) -> None:
            for at in range(len(frame)):
                writer.write(frame[at : at + 1])
                await writer.drain()
                await asyncio.sleep(0)

        tasks = []

        def slowly(calls: list[Call], writer: asyncio.StreamWriter) -> None:
            frame = frames.encode([Answer(call.id, 7, 3, None, packed("x" * 50)) for call in calls])
            tasks.append(asyncio.ensure_future(drip(frame, writer)))

        engine.react = slowly
        answer = await client.call(Status())
        assert msgspec.msgpack.decode(answer.result) == "x" * 50
        await asyncio.gather(*tasks)

    play(socket_path, story)


def test_a_failure_is_raised_as_the_error_it_names(socket_path: Path) -> None:
    async def story(engine: Engine, client: EngineClient) -> None:
        failure = Failure("not-found", "no such file: /a", {"path": "/a"})
        engine.react = lambda calls, writer: writer.write(
            frames.encode([Answer(call.id, 7, 3, failure) for call in calls])
        )
        with pytest.raises(NotFound, match="no such file") as caught:
            await client.call(CHANGE)
        assert caught.value.details == {"path": "/a"}

    play(socket_path, story)


def test_a_change_under_a_broken_connection_is_unknown_unless_it_has_a_name(socket_path: Path) -> None:
    async def story(engine: Engine, client: EngineClient) -> None:
        def hang_up_once(calls: list[Call], writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()
            engine.react = engine.answer

        await client.call(Status())
        engine.react = hang_up_once
        outcomes = await asyncio.gather(
            client.call(CHANGE), client.call(NAMED), client.call(Status()), return_exceptions=True
        )
        assert isinstance(outcomes[0], OutcomeUnknown)
        assert isinstance(outcomes[1], Answer)
        assert isinstance(outcomes[2], Answer)
        # The second time only what may be repeated was sent.
        assert [[type(call.body) for call in calls] for calls in engine.frames[1:]] == [
            [Execute, Execute, Status],
            [Execute, Status],
        ]

    play(socket_path, story)


def test_a_restarted_engine_is_found_again(socket_path: Path) -> None:
    async def story(engine: Engine, client: EngineClient) -> None:
        await client.call(Status())
        engine.react = say_nothing
        engine.arrived.clear()
        waiting = asyncio.ensure_future(client.call(NAMED))
        await engine.arrived.wait()
        await engine.stop()
        await until(lambda: client._link is None)
        unsent = asyncio.ensure_future(client.call(CHANGE))  # never on the wire: nothing to fear
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert not unsent.done()
        engine.react = engine.answer
        await engine.start()
        assert (await waiting).txid == 7
        assert (await unsent).txid == 7

    play(socket_path, story)


def test_no_answer_in_time_is_said_to_be_possible_still(socket_path: Path) -> None:
    async def story(engine: Engine, client: EngineClient) -> None:
        engine.react = say_nothing
        for body in (CHANGE, NAMED, Status()):
            with pytest.raises(DeadlineExceeded):
                await client.call(body, timeout_ms=30)
        # A late answer finds nobody waiting and disturbs nobody.
        late = [call.id for calls in engine.frames for call in calls]
        engine.react = lambda calls, writer: writer.write(
            frames.encode([Answer(i, 7, 3) for i in late] + [Answer(call.id, 8, 3) for call in calls])
        )
        assert (await client.call(Status())).txid == 8

    play(socket_path, story)


def test_an_engine_that_is_not_there_changed_nothing(socket_path: Path) -> None:
    async def run() -> None:
        client = EngineClient(socket_path)
        with pytest.raises(Unavailable, match="nothing was changed") as caught:
            await client.call(CHANGE, timeout_ms=50)
        assert not isinstance(caught.value, DeadlineExceeded)
        await client.close()
        with pytest.raises(Unavailable, match="shutting down"):
            await client.call(Status())

    asyncio.run(run())


def test_closing_answers_everybody_who_waits(socket_path: Path) -> None:
    async def story(engine: Engine, client: EngineClient) -> None:
        engine.react = say_nothing
        waiting = [asyncio.ensure_future(client.call(body)) for body in (CHANGE, NAMED)]
        await engine.arrived.wait()
        await client.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, EsdfsError) for outcome in outcomes)
        assert isinstance(outcomes[0], OutcomeUnknown | DeadlineExceeded)

    play(socket_path, story)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1"])
def test_a_peer_that_speaks_otherwise_is_hung_up_on(socket_path: Path, garbage: bytes) -> None:
    async def story(engine: Engine, client: EngineClient) -> None:
        def nonsense(calls: list[Call], writer: asyncio.StreamWriter) -> None:
            writer.write(garbage)
            engine.react = engine.answer

        engine.react = nonsense
        with pytest.raises(OutcomeUnknown):
            await client.call(CHANGE)
        assert (await client.call(Status())).txid == 7

    play(socket_path, story)


def test_frames_stay_under_the_limit(socket_path: Path) -> None:
    async def story(engine: Engine, client: EngineClient) -> None:
        big = Execute([Delete("/" + "x" * (1 << 20))], "ada", "127.0.0.1")
        answers = await asyncio.gather(*(client.call(big) for _ in range(20)))
        assert len(answers) == 20
        assert len(engine.frames) > 1
        assert sum(len(calls) for calls in engine.frames) == 20

    play(socket_path, story)


def test_a_socket_deep_in_the_tree_is_reached(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 80) / ("e" * 80)
    directory.mkdir(parents=True)

    async def story(engine: Engine, client: EngineClient) -> None:
        assert (await client.call(Status())).txid == 7

    play(directory / "engine.sock", story)
