"""One seed: a cluster, a swarm of faults, then peace, and a demand that all is as it should be."""

import shutil
import tempfile
import traceback
from pathlib import Path
from random import Random

from esdfs.namenode.blocks.policy import Policy
from tests.sim.blocks.cluster import Cluster
from tests.sim.blocks.faults import KINDS, Faults
from tests.sim.blocks.mutants import mutant
from tests.sim.blocks.operator import Operator
from tests.sim.blocks.workload import Workload
from tests.sim.checkers import InvariantBrokenError
from tests.sim.run import Result
from tests.sim.world import MS, World

# Large ones are rare, since they take long: most of what goes wrong needs few.
DATANODES = (*[50] * 7, *[60] * 7, *[80] * 5, *[120] * 3, 200, 500)
BLOCKS = (*[1_000] * 7, *[2_000] * 8, 5_000)
TROUBLE_MS = 200_000
PEACE_MS = 600_000
LOOK_MS = 5_000
STILL_MS = 40_000
FUTURE = 1 << 40
HOPELESS = ("missing", "corrupt_only")


def simulate(seed: int, mutant_name: str = "", *, trouble_ms: int = TROUBLE_MS) -> Result:
    """Run ``seed``. The same seed and mutant give the same result, in any process."""
    world = World(seed)
    shm = Path("/dev/shm")  # noqa: S108 - LMDB without a disk behind it
    directory = Path(tempfile.mkdtemp(prefix="esdfs-s-", dir=shm if shm.is_dir() else None))
    cluster = _cluster(world, mutant_name, directory)
    try:
        _run(cluster, trouble_ms)
        broken = ""
    except AssertionError as error:
        broken = f"{type(error).__name__} at {world.now_ns / 1e9:.3f} s: {error}"
    except Exception as error:  # noqa: BLE001 - whatever it trips over, its seed is named and others run on
        *_, (file, line, _, _) = traceback.extract_tb(error.__traceback__)
        where = f"{Path(file).name}:{line}"
        broken = f"{type(error).__name__} at {world.now_ns / 1e9:.3f} s: {error} ({where})"
    finally:
        for namenode in cluster.namenodes:
            if namenode.up:
                namenode.crash()
        shutil.rmtree(directory)
    return Result(seed, broken, world.digest, world.events, world.now_ns / 1e9, dict(cluster.stats))


def _cluster(world: World, mutant_name: str, directory: Path) -> Cluster:
    rng = world.rng("shape")
    datanodes = rng.choice(DATANODES)
    is_small = datanodes <= 120
    heartbeat_ms = 3_000 if is_small else 8_000
    policy = Policy(
        heartbeat_interval_ms=heartbeat_ms,
        inactive_after_ms=10_000 if is_small else 14_000,
        dead_after_ms=30_000,
        slice_ms=rng.choice((0, 0, 3)),
        slice_blocks=256,  # there are fewer blocks than elsewhere
        copy_timeout_ms=20_000,
        brake_hold_ms=120_000,
        brake_window_ms=60_000,
        delete_answer_ms=20_000,
        delete_settle_ms=15_000,
        orphan_grace_ms=10_000,
        purge_grace_ms=10_000,
        hint_ms=20_000,
        safe_mode_min_ms=5_000,
        safe_mode_scan_ms=5_000,
        safe_mode_recount_ms=30_000,
        safe_mode_max_ms=60_000,
        forget_after_ms=90_000,
        full_report_every_ms=120_000,
        takeover_report_ms=5_000,
        scan_interval_ms=150_000,
    )
    cluster = Cluster(world, directory, mutant(mutant_name), policy, heartbeat_ms * MS)
    cluster.page = rng.choice((10, 40, 40, 1_000))
    _shape(cluster, rng, datanodes)
    return cluster


def _shape(cluster: Cluster, rng: Random, datanodes: int) -> None:
    cluster.blocks = rng.choice(BLOCKS)
    cluster.capacity_blocks = int(cluster.blocks * 2.5 / datanodes / rng.choice((0.1, 0.2, 0.3)))
    racks = rng.choice((3, 5, 10))
    on_host = rng.choice((1, 1, 2))
    for number in range(datanodes):
        host = number // on_host
        cluster.add_datanode(f"host-{host}", f"rack-{host % racks}")


def _run(cluster: Cluster, trouble_ms: int) -> None:
    world = cluster.world
    rng = world.rng("swarm")
    workload = Workload(cluster, pause_ns=rng.choice((200, 500, 2_000)) * MS, until_ns=trouble_ms * MS)
    kinds = [kind for kind in KINDS if rng.random() < 0.5] or ["crash"]
    faults = Faults(
        cluster, kinds=kinds, pause_ns=rng.choice((300, 1_000, 3_000, 10_000)) * MS, until_ns=trouble_ms * MS
    )
    operator = Operator(cluster, until_ns=trouble_ms * MS)
    workload.populate(cluster.blocks)
    nodes = list(cluster.datanodes.values())
    for number, node in enumerate(rng.sample(nodes, 3)):
        node.plant(FUTURE + number)
        cluster.futures[FUTURE + number] = node.name
    for namenode in cluster.namenodes:
        namenode.boot(fresh=True)
    cluster.elect(cluster.namenodes[0])
    for node in nodes:
        node.start()
    world.run_until(10_000 * MS)
    workload.begin()
    faults.begin()
    operator.begin()
    world.run_until(trouble_ms * MS)
    workload.end()
    faults.heal()
    operator.heal()
    _recovers(cluster, operator, trouble_ms)
    if operator.balances and (leader := cluster.leader()) is not None:
        cluster.checkers.moving.ended(leader, operator.threshold)


def _recovers(cluster: Cluster, operator: Operator, trouble_ms: int) -> None:
    """Everything with a copy left has all its copies again; and then nothing moves any more.

    If garbage was left when balancing ended, it may have become uneven since: the operator asks once more.
    """
    world = cluster.world
    problems: list[str] = []
    ended_early = False
    for at_ms in range(trouble_ms, trouble_ms + PEACE_MS, LOOK_MS):
        world.run_until(at_ms * MS)
        problems = _problems(cluster)
        if not problems and not ended_early:
            break
        if not problems:
            operator.heal()
        ended_early = bool(problems) and operator.balances and (ended_early or not _balances(cluster))
    else:
        raise InvariantBrokenError("B2", f"{len(problems)} wrong after peace: {'; '.join(problems[:5])}")
    cluster.stats["healed in s"] += world.now_ns // 10**9 - trouble_ms // 1000
    done = _done(cluster)
    world.run_until(world.now_ns + STILL_MS * MS)
    if problems := [problem for problem in _problems(cluster) if not problem.endswith(" in reports")]:
        raise InvariantBrokenError("B2", f"it had settled, then: {'; '.join(problems[:5])}")
    if done != _done(cluster):
        raise InvariantBrokenError("B2", "it had settled, and copied, moved or deleted again")
    _knows(cluster)


def _done(cluster: Cluster) -> list[int]:
    return [cluster.stats[what] for what in ("deleted", "copied", "moved")]


def _problems(cluster: Cluster) -> list[str]:
    """What is not yet as it should be."""
    leader = cluster.leader()
    if leader is None:
        return ["nobody leads"]
    status = leader.manager.status()
    found = [
        f"{value} in {name}" for name, value in status["queues"].items() if value and name not in HOPELESS
    ]
    if status["blocks"]["pending"]:
        found.append(f"{status['blocks']['pending']} copies under way")
    if status["copying_stopped"]:
        found.append(status["copying_stopped"])
    if _balances(cluster):
        balance = leader.manager.balancer.status()
        found.append(f"balancing, spread {balance['spread']:.3f} {balance['why']}")
    for block_id, record in cluster.truth.records.items():
        copies = len(cluster.holders.get(block_id, ()))
        if copies not in {0, record.replication}:
            found.append(f"block {block_id} has {copies} of {record.replication} copies")
    found += [f"block {b} is garbage" for b in cluster.garbage if cluster.holders.get(b)]
    # A source that was away for a moment goes on with moves that its NameNode no longer waits for.
    at_work = [(node.name, node.transfers_left) for node in cluster.disks() if node.transfers_left]
    found += [f"{count} moves in {name}" for name, count in at_work]
    return found


def _balances(cluster: Cluster) -> bool:
    leader = cluster.leader()
    return leader is not None and leader.manager.balancer.status()["state"] == "running"


def _knows(cluster: Cluster) -> None:
    """Both NameNodes know exactly what is there, and raise the alarm about what should not be."""
    for namenode in cluster.namenodes:
        status = namenode.manager.status()
        alarms = {int(alarm["block_id"]) for alarm in status["alarms"]}
        if alarms != set(cluster.futures):
            raise InvariantBrokenError("B3", f"{namenode.name} has alarms {sorted(alarms)}")
        for block_id in cluster.truth.records:
            known = {
                cluster.truth.names[replica.number]
                for replica in namenode.store.replicas(block_id)
                if not replica.corrupt
            }
            known = {name for name in known if not cluster.datanodes[name].destroyed}
            if known != cluster.holders.get(block_id, set()):
                raise InvariantBrokenError("Knows", f"{namenode.name} believes {block_id} on {sorted(known)}")
