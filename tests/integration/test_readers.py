"""Readers in their own process follow their stores however much those grow."""

import subprocess
import sys
from pathlib import Path

from esdfs.namenode.blocks.locations import LocationsStore
from esdfs.namenode.blocks.replicas import Replica
from esdfs.namenode.commands import Command, MakeDirectory
from tests.unit.namenode.world import World

GROWN_BYTES = 12 << 20  # above LMDB's default map of 10 MiB

READ = """
import sys
from pathlib import Path
from esdfs.namenode.blocks.locations import open_reader as open_locations
from esdfs.namenode.projection.lmdb import open_reader as open_projection

directory = Path(sys.argv[1])
projection, locations = open_projection(directory), open_locations(directory)
for line in sys.stdin:
    path, block_id = line.split()
    with projection.snapshot() as view:
        inode = view.resolve(path).inode
    print(inode, len(locations.replicas(int(block_id))), flush=True)
"""


def test_readers_see_what_is_written_after_they_opened_and_beyond_ten_mebibytes(tmp_path: Path) -> None:
    world, locations = World(tmp_path), LocationsStore(tmp_path)
    last = world.run(MakeDirectory("/d"))
    reader = subprocess.Popen(
        [sys.executable, "-c", READ, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdin is not None
    assert reader.stdout is not None

    def seen(path: str, block_id: int) -> list[str]:
        assert reader.stdin is not None
        assert reader.stdout is not None
        print(path, block_id, file=reader.stdin, flush=True)
        return reader.stdout.readline().split()

    assert seen("/d", 1) == [str(last["inode"]), "0"]
    number = 0
    while (tmp_path / "namespace.mdb" / "data.mdb").stat().st_size < GROWN_BYTES:
        names = [f"/d/{number + i:06d}{'x' * 249}" for i in range(1000)]
        commands: list[Command] = [MakeDirectory(name) for name in names]
        last = world.run(*commands)
        number += 1000
    block_id = 0
    while (tmp_path / "locations.mdb" / "data.mdb").stat().st_size < GROWN_BYTES:
        with locations.write() as writing:
            for _ in range(5_000):
                block_id += 1
                writing.lead(block_id, [Replica(1, 1), Replica(2, 1)])
    assert seen(f"/d/{number - 1:06d}{'x' * 249}", block_id) == [str(last["inode"]), "2"]
    reader.stdin.close()
    assert reader.wait(20) == 0
    reader.stdout.close()
    locations.close()
    world.close()
