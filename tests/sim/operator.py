"""The operator: replaces lost disks, and now and then changes voters or moves the leader for no reason."""

from esdfs.journal.quorum.voters import Voter, VoterSet
from tests.sim.cluster import Cluster
from tests.sim.faults import Faults
from tests.sim.world import MS


class Operator:
    """Acts through the leader, at random times."""

    def __init__(
        self,
        cluster: Cluster,
        faults: Faults,
        *,
        pause_ns: tuple[int, int],
        transfers: float,
        removals: float,
    ) -> None:
        self._cluster, self._faults = cluster, faults
        self._rng = cluster.world.rng("operator")
        self._pause_ns, self._transfers, self._removals = pause_ns, transfers, removals
        cluster.world.after(200 * MS, self._act)

    def _act(self) -> None:
        cluster, rng = self._cluster, self._rng
        cluster.world.after(rng.randrange(*self._pause_ns), self._act)
        leader = cluster.leader()
        if leader is None:
            return
        voters = leader.core.voters
        for voter in voters:
            disk = cluster.nodes[voter.node_id].disk
            if disk.identity.storage_id != voter.storage_id and voter.node_id != leader.node_id:
                self._change(voters.without(voter.node_id))
                return
        missing = [node_id for node_id in cluster.voter_ids if voters.get(node_id) is None]
        for node_id in missing:
            storage_id = cluster.nodes[node_id].disk.identity.storage_id
            if self._change(voters.with_voter(Voter(node_id, storage_id, cluster.kinds[node_id]))):
                return
        self._faults.replaced(leader, is_complete=not missing)
        if not self._faults.are_on:
            return
        dice = rng.random()
        if dice < self._transfers:
            target = rng.choice(voters.ids)
            if not leader.administer(lambda core, now: core.transfer(target, now)):
                cluster.stats["transfers"] += 1
        elif dice < self._transfers + self._removals and len(voters) > 2 and not self._faults.storage_fault:
            self._change(voters.without(rng.choice(voters.ids)))

    def _change(self, voters: VoterSet) -> bool:
        leader = self._cluster.leader()
        assert leader is not None
        refusal = leader.administer(lambda core, now: core.change_voters(voters, now))
        if not refusal:
            self._cluster.stats["voter changes"] += 1
        return not refusal
