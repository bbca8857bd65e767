"""kill -9 in the middle of appending: what was acknowledged is there, and the journal goes on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from esdfs.ids import Epoch, Txid
from esdfs.journal.chain import seal
from esdfs.journal.migrate import upgrade
from esdfs.journal.sql import open_journal
from esdfs.journal.verify import verify
from tests.journals import drafts, end, in_sqlite

KILLS = 4
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return in_sqlite(tmp_path)
    found: str = request.getfixturevalue("postgres_url")
    upgrade(found)
    return found


def append_for_ever(url: str) -> None:
    """Append batches of growing size; say the last txid of each once it is durable."""
    journal = open_journal(url)
    head = journal.head()
    for size in range(1, 100_000):
        batch = seal(head, Epoch(1), drafts(size % 50 + 1, first=head.last_txid + 1))
        journal.append(batch)
        head = end(batch)
        print(head.last_txid, flush=True)  # noqa: T201 - how it tells the test


def test_a_killed_writer_loses_nothing_acknowledged(url: str) -> None:
    acknowledged = 0
    for kill in range(KILLS):
        program = f"from {__name__} import append_for_ever; append_for_ever({url!r})"
        command = [sys.executable, "-c", program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
            assert writer.stdout is not None
            for _ in range(20 + 13 * kill):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            # What it said before it died counts too. Its last line may be cut short.
            said = writer.stdout.read().splitlines(keepends=True)
            acknowledged = max([acknowledged, *(int(line) for line in said if line.endswith("\n"))])
            assert writer.wait() == -signal.SIGKILL

        journal = open_journal(url)
        report = verify(journal)
        assert report.last_txid >= acknowledged
        assert len(journal.read(Txid(0), limit=1_000_000)) == report.records
        journal.append(seal(journal.head(), Epoch(1), drafts(1, first=report.last_txid + 1)))
        journal.close()
