"""A cluster on this machine, real files in and out, nodes killed, the past read. Exit 0: all bytes equal."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from esdfs.client import DFSClient

LARGE_BYTES = 64 << 20
# As many of these as there are make a tree of a few hundred files.
PACKAGES = (
    "json",
    "email",
    "asyncio",
    "concurrent",
    "importlib",
    "unittest",
    "xml",
    "http",
    "logging",
    "sqlite3",
)


class Differs(Exception):
    """Bytes came back that are not those that went in."""


class Demo:
    """The steps, in order, on one cluster in one directory."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.step = 0
        self.url = ""
        self.tree = directory / "tree"
        self.large = directory / "large.bin"

    def run(self) -> None:
        self.prepare()
        try:
            self.start()
            self.tree_in_and_out()
            self.large_three_ways()
            self.kill_while_reading()
            self.read_the_past()
            self.kill_the_leader()
            self.verify()
        finally:
            self.stop()

    def prepare(self) -> None:
        library = Path(sysconfig.get_paths()["stdlib"])
        for package in PACKAGES:
            if (library / package).is_dir():
                skip = shutil.ignore_patterns("__pycache__")
                shutil.copytree(library / package, self.tree / package, ignore=skip)
        with self.large.open("wb") as file:
            file.write(os.urandom(LARGE_BYTES))

    def start(self) -> None:
        size = ("--namenodes", "2", "--witness", "--block-size", "16M")
        with self.said("a cluster: two NameNodes and a witness, three DataNodes, each a process of its own"):
            info = json.loads(self.esdfs("local", "up", "--dir", str(self.dir / "cluster"), *size, "--json"))
        self.url = ",".join(info["urls"])
        pids = ", ".join(f"{node['id']} {node['pid']}" for node in info["namenodes"] + info["datanodes"])
        print(f"   pids: {pids}; REST: {self.url}")

    def tree_in_and_out(self) -> None:
        files = [file for file in self.tree.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        with self.said(f"put -r of {len(files)} files of Python's library, {size / 1e6:.1f} MB"):
            self.esdfs("put", "-r", str(self.tree), "/tree")
        with self.said("get -r of the same"):
            self.esdfs("get", "-r", "/tree", str(self.dir / "back"))
        for file in files:
            same(file.read_bytes(), (self.dir / "back" / file.relative_to(self.tree)).read_bytes(), str(file))
        print(f"   all {len(files)} files equal, byte for byte")

    def large_three_ways(self) -> None:
        wanted = self.large.read_bytes()
        with self.said(f"put of one file of {LARGE_BYTES >> 20} MiB: blocks of 16 MiB, two copies each"):
            self.esdfs("put", str(self.large), "/large")
        with self.said("cat through the command line"):
            same(wanted, self.esdfs("cat", "/large"), "cat")
        with self.said("read through the Python client"), DFSClient(self.url) as client:
            same(wanted, client.read_bytes("/large"), "the Python client")
            blocks = client.blocks("/large")
        shown = self.rest(f"/files?path={urllib.parse.quote('/large')}")
        if (shown["size_bytes"], shown["blocks"]) != (LARGE_BYTES, len(blocks)):
            raise Differs(f"REST says {shown}")
        nodes = ["+".join(location.node_id for location in block.locations) for block in blocks]
        print(f"   equal both times; REST says crc32c {shown['crc32c']}; copies are on {', '.join(nodes)}")

    def kill_while_reading(self) -> None:
        wanted = self.large.read_bytes()
        with DFSClient(self.url) as client:
            victim = client.blocks("/large")[-1].locations[0].node_id
            with self.said(f"kill -9 of {victim} while the file is being read"):
                killer = threading.Thread(target=self.local, args=("kill", victim))
                got = bytearray()
                with client.open("/large") as file:
                    while piece := file.read(1 << 20):
                        got += piece
                        if len(got) == 4 << 20:
                            killer.start()
                        if len(got) == 32 << 20:
                            killer.join()  # the second half is read from what is left
                same(wanted, bytes(got), "the read over the kill")
        self.local("restart", victim)
        print(f"   equal; {victim} is back")

    def read_the_past(self) -> None:
        (status,) = self.rows("journal", "status")
        then = str(status["last_txid"])
        with self.said(f"the present moves on from transaction {then}: overwrite, rename, delete"):
            (self.dir / "other").write_bytes(b"something else entirely\n")
            self.esdfs("put", "-f", str(self.dir / "other"), "/large")
            self.esdfs("mv", "/large", "/renamed")
            self.esdfs("rm", "-r", "/tree")
        with self.said(f"read as of {then}"):
            same(self.large.read_bytes(), self.esdfs("get", "--as-of", then, "/large", "-"), "the past")
        with self.said(f"restore /tree --as-of {then}"):
            self.esdfs("restore", "/tree", "--as-of", then)
            self.esdfs("get", "-r", "/tree", str(self.dir / "restored"))
        for file in self.tree.rglob("*"):
            if file.is_file():
                restored = self.dir / "restored" / file.relative_to(self.tree)
                same(file.read_bytes(), restored.read_bytes(), str(file))
        print("   the overwritten file and the deleted tree are both as they were")

    def kill_the_leader(self) -> None:
        led = self.quorum()["leader"]
        wanted = self.large.read_bytes()
        with (
            self.said(f"kill -9 of {led}, which leads, in the middle of a put"),
            DFSClient(self.url) as client,
        ):
            killer = threading.Thread(target=self.local, args=("kill", led))
            with client.open("/written-across", "wb") as file:
                for start in range(0, len(wanted), 1 << 20):
                    file.write(wanted[start : start + (1 << 20)])
                    if start == 24 << 20:
                        killer.start()  # the second of four blocks is under way
            killer.join()
            same(wanted, client.read_bytes("/written-across"), "the put over the kill")
        same(b"something else entirely\n", self.esdfs("cat", "/renamed"), "after the kill")
        told = self.quorum()
        if told["leader"] == led:
            raise Differs(f"{led} was killed and is said to lead")
        print(
            f"   the put went on, and its bytes are equal; {told['leader']} leads now, epoch {told['epoch']}"
        )
        self.show("quorum", "status")
        with self.said(f"start {led} again; hand leadership back to it"):
            self.local("restart", led)
            self.esdfs("quorum", "transfer", led)
        print(f"   {self.quorum()['leader']} leads again")

    def verify(self) -> None:
        with self.said("journal verify: every record's checksum and hash chain"):
            said = self.esdfs("journal", "verify").decode().strip().splitlines()
        print(f"   {said[-1]}" if said else "   proved")

    def stop(self) -> None:
        if (self.dir / "cluster" / "cluster.json").exists():
            with self.said("stop"):
                self.local("down")

    # --- means ---

    @contextlib.contextmanager
    def said(self, what: str) -> Iterator[None]:
        """One numbered line, with how long it took."""
        self.step += 1
        print(f"{self.step:2}. {what} … ", end="", flush=True)
        started = time.perf_counter()
        yield
        print(f"{time.perf_counter() - started:.1f} s", flush=True)

    def esdfs(self, *args: str) -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "esdfs.cli.app", *args],
            env={**os.environ, "ESDFS_URL": self.url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise Differs(f"esdfs {' '.join(args)}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def rows(self, *args: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.esdfs(*args, "--json").splitlines()]

    def quorum(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.esdfs("quorum", "status", "--json"))
        return found

    def show(self, *args: str) -> None:
        print(f"   $ esdfs {' '.join(args)}")
        for line in self.esdfs(*args).decode().splitlines():
            print(f"   {line}")

    def local(self, *args: str) -> None:
        self.esdfs("local", *args, "--dir", str(self.dir / "cluster"))

    def rest(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self.url.split(",")[0] + path, timeout=20) as answer:  # noqa: S310 - our server
            found: dict[str, Any] = json.load(answer)
        return found


def same(wanted: bytes, got: bytes, what: str) -> None:
    if wanted != got:
        raise Differs(f"{what}: {len(got)} bytes came back that differ from the {len(wanted)} that went in")


def main() -> int:
    # TERM as Ctrl-C: processes are stopped and the directory is removed either way.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    directory = Path(tempfile.mkdtemp(prefix="esdfs-demo-"))
    started = time.perf_counter()
    try:
        Demo(directory).run()
    except Differs as error:
        print(f"\nFAILED: {error}")
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; everything that was started is stopped")
        return 130
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"Every byte came back equal. {time.perf_counter() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
