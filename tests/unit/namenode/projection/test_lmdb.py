"""What is found on disk is trusted only when somebody can vouch for it."""

from pathlib import Path

import pytest

from esdfs.errors import Compacted, FutureTxid, JournalCorrupt
from esdfs.ids import Epoch, Position, Txid
from esdfs.journal.floor import FILE, AckFloor
from esdfs.namenode import commands as cmd
from esdfs.namenode.projection.digest import digest
from esdfs.namenode.projection.layout import FORMAT
from tests.unit.namenode.world import World


def trust(world: World) -> Path:
    return world.config.path / "namespace.mdb" / "TRUST"


def test_a_clean_stop_keeps_the_projection(world: World) -> None:
    world.run(cmd.MakeDirectory("/a"))
    before = world.txid
    world.close()
    world.open()

    assert world.caught_up == 0
    assert world.txid == before + 1  # the new leader's record


@pytest.mark.parametrize("mark", [None, f"{FORMAT} another-boot", f"{FORMAT + 1} clean"])
def test_what_nobody_vouches_for_is_rebuilt_from_the_journal(world: World, mark: str | None) -> None:
    world.run(cmd.MakeDirectory("/a"))
    world.write("/a/f")
    before = digest(world.store)
    world.close()
    if mark is None:
        trust(world).unlink()
    else:
        trust(world).write_text(mark)

    world.open(announce=False)

    assert world.caught_up == before[0]
    assert digest(world.store) == before


def test_a_killed_process_keeps_the_projection_on_the_same_boot(world: World) -> None:
    """No clean mark, but this kernel wrote it: its page cache is whole."""
    world.run(cmd.MakeDirectory("/a"))
    world.kill()
    world.open()

    assert world.caught_up == 0
    with world.snapshot() as view:
        assert view.resolve("/a").is_directory


def test_a_journal_that_lost_applied_records_stops_the_node(world: World) -> None:
    world.run(cmd.MakeDirectory("/a"))
    world.journal.truncate(Txid(world.txid - 1))
    identity = world.metadata.identity
    world.kill()

    with pytest.raises(JournalCorrupt, match="1 records are missing"):
        world.open()
    floor = AckFloor(world.config.path / FILE, identity)
    floor.write(Position(Epoch(0), Txid(1)))
    floor.close()
    with pytest.raises(JournalCorrupt, match="records were lost"):
        world.open()
    world.open(anew=True)


def test_a_projection_of_another_journal_is_rebuilt(world: World, tmp_path: Path) -> None:
    world.run(cmd.MakeDirectory("/a"))
    other = World(tmp_path / "other", cluster_id="other")
    other.run(cmd.MakeDirectory("/b"))
    other.close()
    world.close()
    (other.config.path / "namespace.mdb").rename(world.config.path / "other.mdb")
    (world.config.path / "namespace.mdb").rename(world.config.path / "mine.mdb")
    (world.config.path / "other.mdb").rename(world.config.path / "namespace.mdb")

    world.open()

    assert world.caught_up > 0
    with world.snapshot() as view:
        assert [name for name, _ in view.children(1)] == ["a"]


def test_the_past_has_two_ends(world: World) -> None:
    with pytest.raises(FutureTxid), world.snapshot(world.txid + 1):
        pass
    with pytest.raises(Compacted) as refused, world.snapshot(0):
        pass
    assert refused.value.details["oldest_txid"] == 1


def test_a_time_means_the_last_transaction_before_it(world: World) -> None:
    moments = []
    for name in "abc":
        world.clock.sleep(10)
        world.run(cmd.MakeDirectory(f"/{name}"))
        moments.append((world.clock.now_us, world.txid))
    with world.snapshot() as view:
        for now_us, txid in moments:
            assert view.txid_at(now_us) == view.txid_at(now_us + 9_999_999) == txid
            assert view.txid_at(now_us - 1) == txid - 1
        assert view.txid_at(0) == 0
