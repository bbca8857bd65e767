"""Bytes of files go between clients and DataNodes. NameNodes never see one: their sockets are counted."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from esdfs.blocks import MIB
from tests.blocks import content
from tests.cluster import QUICK, cluster, eventually

DATA = content(24 * MIB)
CALLS = "read,write,readv,writev,recvfrom,sendto,recvmsg,sendmsg,recvmmsg,sendmmsg,splice,sendfile"
ON_SOCKET = re.compile(r"\(\d+<(?:TCP|TCPv6|UNIX[A-Z-]*|socket)[:(\[].* = (\d+)$")

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="sockets are counted with strace")


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in tasks.read_text().split():
            found += family(int(child))
    return found


class Counted:
    """Bytes that went through sockets of some processes, while they were watched."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def size_bytes(self) -> int:
        of_threads = self._log.parent.glob(f"{self._log.name}.*")
        lines = (line for log in of_threads for line in log.read_text(errors="replace").splitlines())
        return sum(int(found[1]) for line in lines if (found := ON_SOCKET.search(line)))


@contextmanager
def counting(pids: list[int], log: Path) -> Iterator[Counted]:
    said = log.parent / f"said-of-{log.name}"
    # A file for each thread: in one, calls that another thread interrupts are told in two lines.
    options = ["-ff", "-yy", "-s", "0", "-e", f"trace={CALLS}", "-o", str(log)]
    with said.open("wb") as stderr:
        tracer = subprocess.Popen(
            ["strace", *options, *(word for pid in pids for word in ("-p", str(pid)))], stderr=stderr
        )
    try:
        eventually(lambda: said.read_text().count(" attached") >= len(pids), what="strace to attach")
        yield Counted(log)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(30)


def test_no_byte_of_a_file_goes_through_a_namenode(tmp_path: Path) -> None:
    settings = QUICK | {"nn.inactive_after_ms": "20000", "nn.dead_after_ms": "60000"}
    with cluster("--datanodes", "2", "--block-size", "4M", settings=settings) as live:
        namenodes = family(live.info["namenodes"][0]["pid"])
        assert len(namenodes) > 1, "its REST server is a process of its own"
        datanode = family(live.info["datanodes"][0]["pid"])
        with (
            counting(namenodes, tmp_path / "namenode") as there,
            counting(datanode, tmp_path / "datanode") as here,
            live.client(timeout=120) as dfs,
        ):
            dfs.write_bytes("/file", DATA)
            assert dfs.read_bytes("/file") == DATA
        assert here.size_bytes > len(DATA), "what is counted is what travels"
        assert 0 < there.size_bytes < len(DATA) // 50
