"""The helper process makes and loads checkpoints, and may die at any moment."""

import asyncio
import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from esdfs.errors import CheckpointDamaged, JournalUnavailable
from esdfs.namenode.checkpoints.files import CheckpointFiles, sha256_of
from esdfs.namenode.checkpoints.helper import Helper, LoadImage, Opened, Progressed, TakeImage
from esdfs.namenode.projection.digest import digest
from tests.unit.namenode.checkpoints.records import BYTES_MAX, CLUSTER, apply, more, projection, records

LINE = records(400)
TXID = LINE[-1].txid


async def image(helper: Helper, txid: int, heard: list[str]) -> None:
    def told(what: Opened | Progressed) -> None:
        heard.append(type(what).__name__)

    done = await helper.run(TakeImage(txid, CLUSTER, 0, ()), told)
    heard.append(done.sha256)


def test_one_process_makes_a_checkpoint_and_loads_it_again(tmp_path: Path) -> None:
    with closing(projection(tmp_path, LINE)) as store:
        before = digest(store)
    files = CheckpointFiles(tmp_path)
    heard: list[str] = []

    async def all_of_it() -> None:
        helper = Helper(tmp_path, bytes_max=BYTES_MAX)
        try:
            await image(helper, TXID, heard)
            with pytest.raises(JournalUnavailable, match="no longer at 7"):
                await image(helper, 7, [])
            await asyncio.to_thread(lambda: projection(tmp_path, more(LINE, 9)).close())
            await helper.run(LoadImage(TXID), lambda _: None)
            with pytest.raises(CheckpointDamaged):
                await helper.run(LoadImage(TXID + 1), lambda _: None)
        finally:
            await helper.stop()

    asyncio.run(all_of_it())
    assert heard == ["Opened", sha256_of(files.path(TXID)).hex()]
    with closing(projection(tmp_path)) as store:
        assert digest(store) == before


def test_a_helper_that_dies_fails_its_job_and_the_next_job_starts_another(tmp_path: Path) -> None:
    projection(tmp_path, LINE).close()

    async def all_of_it() -> None:
        helper = Helper(tmp_path, bytes_max=BYTES_MAX)
        # It writes into a pipe that nobody reads: it stands in the middle of its job.
        pipe = CheckpointFiles(tmp_path).begun(TXID)
        os.mkfifo(pipe)

        def kill(what: Opened | Progressed) -> None:
            if isinstance(what, Opened):
                assert helper.pid is not None
                os.kill(helper.pid, signal.SIGSTOP)
                os.kill(helper.pid, signal.SIGKILL)

        try:
            with pytest.raises(JournalUnavailable, match="in the middle of its job"):
                await helper.run(TakeImage(TXID, CLUSTER, 0, ()), kill)
            pipe.unlink()
            await image(helper, TXID, [])
        finally:
            await helper.stop()

    asyncio.run(all_of_it())
    assert CheckpointFiles(tmp_path).path(TXID).exists()


def test_a_helper_killed_while_it_loads_leaves_the_state_of_before(tmp_path: Path) -> None:
    """Frozen within its transaction and killed: the lock it held is free, and nothing of it is seen."""
    with closing(projection(tmp_path, LINE)) as store:
        before = digest(store)

    async def all_of_it() -> None:
        helper = Helper(tmp_path, bytes_max=BYTES_MAX)
        try:
            await image(helper, TXID, [])
            fifo = CheckpointFiles(tmp_path).path(TXID + 1)
            os.mkfifo(fifo)
            whole = CheckpointFiles(tmp_path).path(TXID).read_bytes()
            job = asyncio.create_task(helper.run(LoadImage(TXID + 1), lambda _: None))
            # It reads from a pipe that never ends: it stands in the middle of its transaction.
            pipe = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)
            await asyncio.to_thread(os.write, pipe, whole[: len(whole) // 2])
            assert helper.pid is not None
            os.kill(helper.pid, signal.SIGKILL)
            with pytest.raises(JournalUnavailable):
                await job
            os.close(pipe)
        finally:
            await helper.stop()

    asyncio.run(all_of_it())
    with closing(projection(tmp_path)) as store:
        assert digest(store) == before
        apply(store, more(LINE, 9))
