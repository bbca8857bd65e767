"""One seed: a random cluster, random faults, then peace, and a demand for progress."""

from dataclasses import dataclass

from esdfs.ids import NodeId, Txid
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.voters import VoterKind
from tests.sim.checkers import InvariantBrokenError
from tests.sim.cluster import Cluster
from tests.sim.faults import KINDS, Faults
from tests.sim.mutants import mutant
from tests.sim.node import SimNode
from tests.sim.operator import Operator
from tests.sim.workload import Client, History
from tests.sim.world import MS, World

TROUBLE_MS = 60_000
PEACE_MS = 30_000
SETTLING_MS = 10_000
LAG_RECORDS = 60


@dataclass(frozen=True)
class Result:
    """What a run came to. ``broken`` is "" when every checker held."""

    seed: int
    broken: str
    digest: int
    events: int
    simulated_s: float
    stats: dict[str, int]


def simulate(seed: int, mutant_name: str = "", *, trouble_ms: int = TROUBLE_MS) -> Result:
    """Run ``seed``. The same seed and mutant give the same result, in any process."""
    world = World(seed)
    cluster = _cluster(world, mutant_name)
    history = History()
    try:
        _populate(world, cluster, history, trouble_ms)
        cluster.boot_all()
        world.run_until((trouble_ms + SETTLING_MS) * MS)
        reached = {node.node_id: node.core.commit_txid for node in cluster.nodes.values()}
        world.run_until((trouble_ms + PEACE_MS) * MS)
        _final(cluster, history, trouble_ms, reached)
        broken = ""
    except AssertionError as error:
        broken = f"{type(error).__name__} at {world.now_ns / 1e9:.3f} s: {error}"
    return Result(seed, broken, world.digest, world.events, world.now_ns / 1e9, dict(cluster.stats))


def _cluster(world: World, mutant_name: str) -> Cluster:
    rng = world.rng("shape")
    size = rng.choice((1, 2, 3, 3, 3, 3, 5, 5))
    has_witness = size >= 3 and rng.random() < 0.25
    ids = [NodeId(f"n{number}") for number in range(size)]
    voters = [(node_id, VoterKind.FULL) for node_id in ids]
    if has_witness:
        voters[-1] = (ids[-1], VoterKind.WITNESS)
    observers = [NodeId("o0")] if rng.random() < 1 / 3 else []
    election_ms = rng.choice((150, 300, 300, 500))
    config = QuorumConfig(
        heartbeat_ms=election_ms // 6,
        election_min_ms=election_ms,
        election_max_ms=2 * election_ms,
        check_quorum_ms=rng.choice((2, 2, 5)) * election_ms,
        lease_reads=rng.random() < 0.5,
        fetch_records=rng.choice((1, 2, 16)),
        uncommitted_records=64,
        window_records=rng.choice((8, 64)),
    )
    cluster = Cluster(world, voters=voters, observers=observers, config=config, mutant=mutant(mutant_name))
    cluster.checkpoint_every = rng.choice((12, 60, 10**9))
    cluster.records_kept = rng.choice((2, 20))
    cluster.physics.latency_ns = rng.choice(((300_000, 1_500_000), (1 * MS, 30 * MS), (5 * MS, 80 * MS)))
    cluster.physics.fsync_ns = rng.choice(((200_000, 600_000), (1 * MS, 10 * MS), (5 * MS, 40 * MS)))
    return cluster


def _populate(world: World, cluster: Cluster, history: History, trouble_ms: int) -> None:
    rng = world.rng("swarm")
    kinds = [kind for kind in KINDS if rng.random() < 0.55] or ["crash"]
    faults = Faults(
        cluster,
        kinds=kinds,
        pause_ns=rng.choice((150, 400, 700, 2000)) * MS,
        until_ns=trouble_ms * MS,
        election_crash=rng.choice((0.0, 0.0, 0.3, 0.6)),
    )
    transfers, removals = rng.choice(((0.02, 0.03), (0.02, 0.2), (0.2, 0.25), (0.0, 0.0)))
    pause_ns = rng.choice(((30 * MS, 100 * MS), (100 * MS, 400 * MS)))
    Operator(cluster, faults, pause_ns=pause_ns, transfers=transfers, removals=removals)
    loyalty = rng.choice((0.9, 0.9, 0.5))
    for number in range(3):
        until_ns = (trouble_ms + PEACE_MS - 10_000) * MS
        Client(
            cluster,
            history,
            number,
            until_ns=until_ns,
            reads=0.3,
            loyalty=loyalty,
            think_ns=(5 * MS, 60 * MS),
        )


def _final(cluster: Cluster, history: History, trouble_ms: int, reached: dict[NodeId, Txid]) -> None:
    """After peace: somebody leads, everybody has caught up, and every promise was kept."""
    leader = cluster.leader()
    if leader is None:
        raise InvariantBrokenError("ClusterRecovers", f"nobody leads at the end: {_portrait(cluster)}")
    if history.last_answer_ns < (trouble_ms + 5000) * MS:
        at_s = history.last_answer_ns / 1e9
        raise InvariantBrokenError("ClusterRecovers", f"no answer after {at_s:.3f} s: {_portrait(cluster)}")
    for node in cluster.nodes.values():
        lags = node.core.commit_txid < leader.core.commit_txid - LAG_RECORDS
        # One or two records for each round trip may be less than what the clients write.
        is_slow = cluster.config.fetch_records <= 2 and node.core.commit_txid > reached[node.node_id]
        if lags and not is_slow:
            raise InvariantBrokenError("EverybodyCatchesUp", f"{node.node_id} lags: {_portrait(cluster)}")
    _check_items(leader, history)
    for node in cluster.nodes.values():
        length = len(node.machine.items)
        if node.machine.items != leader.machine.items[:length]:
            raise InvariantBrokenError("StatesAgree", f"{node.node_id} has other items than the leader")
        entries = len(node.disk.entries)
        node.disk.check()
        if len(node.disk.entries) != entries:
            raise InvariantBrokenError("JournalIsDenseAndChained", f"{node.node_id} holds a damaged record")


def _check_items(leader: SimNode, history: History) -> None:
    positions: dict[tuple[bytes, int], int] = {}
    for position, item in enumerate(leader.machine.items, start=1):
        if item in positions:
            raise InvariantBrokenError("AppliedOnce", f"{item} at {positions[item]} and at {position}")
        positions[item] = position
    for item, position in history.acknowledged.items():
        if positions.get(item) != position:
            now = positions.get(item)
            raise InvariantBrokenError(
                "AcknowledgedWritesSurvive", f"{item} was acknowledged at {position}, is now at {now}"
            )


def _portrait(cluster: Cluster) -> str:
    return "; ".join(
        f"{node.node_id} {'up' if node.is_up else 'down'} {node.core.role} epoch {node.core.epoch}"
        f" commit {node.core.commit_txid} last {tuple(node.core.last)} floor {node.disk.floor}"
        f"{' recovering' if node.core.is_recovering else ''} voters {node.core.voters}"
        for node in cluster.nodes.values()
    )
