"""How long nobody can write, at the default timings, on a simulated LAN. The same in every run."""

from collections.abc import Callable
from statistics import median

from esdfs.ids import NodeId
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.voters import VoterKind
from tests.sim.cluster import Cluster
from tests.sim.mutants import Mutant
from tests.sim.node import SimNode
from tests.sim.world import MS, World

TRIALS = 40


def trials(fault: Callable[[Cluster, SimNode], None]) -> list[float]:
    """Milliseconds from each fault to a leader that takes proposals, sorted."""
    world = World(1)
    voters = [(NodeId(f"n{number}"), VoterKind.FULL) for number in range(3)]
    cluster = Cluster(world, voters=voters, observers=[], config=QuorumConfig(), mutant=Mutant())
    rng = world.rng("trials")
    cluster.boot_all()
    taken_ms = []
    for _ in range(TRIALS):
        world.run_until(world.now_ns + rng.randrange(2000, 3000) * MS)
        leader = cluster.leader()
        assert leader is not None
        assert leader.core.is_active
        epoch, begun_ns = leader.core.epoch, world.now_ns
        fault(cluster, leader)
        done = world.run_while(lambda epoch=epoch: not led(cluster, epoch), at_most_ns=10_000 * MS)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert done, "nobody took over"
        taken_ms.append((world.now_ns - begun_ns) / MS)
        cluster.physics.cut.clear()
        leader.resume()
        leader.boot()
    return sorted(taken_ms)


def led(cluster: Cluster, after_epoch: int) -> bool:
    return any(
        node.is_up and node.core.is_active and node.core.epoch > after_epoch
        for node in cluster.nodes.values()
    )


def test_a_crashed_leader_is_replaced_within_its_timeout() -> None:
    taken_ms = trials(lambda _, leader: leader.crash(keeps_projection=True))

    assert median(taken_ms) < 800
    assert taken_ms[-1] < 1100


def test_so_is_a_frozen_one() -> None:
    taken_ms = trials(lambda _, leader: leader.pause())

    assert median(taken_ms) < 800
    assert taken_ms[-1] < 1100


def test_so_is_one_cut_off() -> None:
    def cut(cluster: Cluster, leader: SimNode) -> None:
        cluster.physics.cut |= {(leader.node_id, other) for other in cluster.ids}
        cluster.physics.cut |= {(other, leader.node_id) for other in cluster.ids}

    taken_ms = trials(cut)

    assert median(taken_ms) < 800
    assert taken_ms[-1] < 1100


def test_a_transfer_takes_no_timeout() -> None:
    def transfer(_: Cluster, leader: SimNode) -> None:
        successor = leader.core.successor
        assert successor is not None
        assert leader.administer(lambda core, now: core.transfer(successor, now)) == ""

    assert trials(transfer)[-1] < 50


def test_nor_does_a_resignation() -> None:
    def resign(_: Cluster, leader: SimNode) -> None:
        assert leader.administer(lambda core, now: core.resign(now)) == ""

    assert trials(resign)[-1] < 200


def test_nothing_happens_without_a_cause() -> None:
    world = World(1)
    voters = [(NodeId(f"n{number}"), VoterKind.FULL) for number in range(3)]
    cluster = Cluster(world, voters=voters, observers=[], config=QuorumConfig(), mutant=Mutant())
    cluster.boot_all()
    world.run_until(300_000 * MS)

    assert cluster.stats["elections"] == 1
