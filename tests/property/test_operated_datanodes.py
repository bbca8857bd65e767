"""The faults of ``test_block_manager``, on two racks, with an operator who drains and pauses DataNodes.

No order takes a last good copy. Once the faults end, every block has its copies on DataNodes in service, not
all on one rack if there are two, and what is to be switched off is shown as such, and kept.
"""

from pathlib import Path

import pytest

from tests.property.test_block_manager import Node, Simulation, through

OUT_MAX = 2
"""DataNodes out of service at a time, of five: three copies still have a place."""


class Operated(Simulation):
    """As ``Simulation``, with racks and an operator."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.wanted = 0
        self.draining: set[str] = set()
        self.resting: dict[str, int] = {}

    def add_node(self) -> None:
        super().add_node()
        number = len(self.nodes)
        self.world.racks[f"dn-{number}"] = f"/rack-{number % 2}"

    def step(self) -> None:
        if self.often(0.2):
            self.operate()
        super().step()

    def operate(self) -> None:
        now_ms = self.world.clock.now_ms
        self.resting = {name: until for name, until in self.resting.items() if until > now_ms}
        name = self.chance.choice([node.name for node in self.disks() if node.number] or ["dn-1"])
        if name not in self.world.index.numbers:
            return
        self.wanted += 1
        if name in self.draining | self.resting.keys():
            self.activate(name)
        elif len(self.draining) + len(self.resting) < OUT_MAX:
            if not self.draining and self.chance.random() < 0.5:
                self.draining.add(name)
                self.world.want(name, "decommissioning")
            else:
                for_ms = self.chance.randrange(5_000, 60_000)
                self.resting[name] = now_ms + for_ms
                self.world.want(name, "maintenance", for_ms)

    def activate(self, name: str) -> None:
        self.draining.discard(name)
        self.resting.pop(name, None)
        self.world.want(name, "in-service")

    def heal(self) -> None:
        super().heal()
        for name in sorted(self.resting):
            self.activate(name)

    def serving(self) -> list[Node]:
        return [node for node in self.disks() if node.name not in self.draining]

    def problems(self) -> list[str]:
        found = [
            line for line in super().problems() if not (line.startswith("block ") and line.endswith("copies"))
        ]
        racks = {self.world.racks[node.name] for node in self.serving()}
        for block_id, record in self.world.index.records.items():
            homes = [node for node in self.serving() if block_id in node.good]
            if not self.copies(block_id):
                continue
            if len(homes) != record.replication:
                found.append(f"block {block_id} has {len(homes)} of {record.replication} in service")
            if len(racks) > 1 and len({self.world.racks[node.name] for node in homes}) == 1:
                found.append(f"block {block_id} is on one rack")
        lost = [b for b in self.world.index.records if not self.copies(b)]
        for name in sorted(self.draining & {node.name for node in self.disks()}):
            admin = self.world.store.datanodes().get(self.nodes[name].number)
            if not lost and (admin is None or admin.admin.state != "decommissioned"):
                found.append(f"{name} is not drained")
        return found


def run(seed: int) -> Operated:
    return through(lambda directory: Operated(directory, seed), seed)


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_whatever_an_operator_wants_no_block_is_lost_and_all_of_it_comes_true(first: int) -> None:
    ran = [run(seed) for seed in range(first, first + 20)]
    assert sum(simulation.wanted for simulation in ran) > 100
    assert sum(bool(simulation.draining) for simulation in ran) > 5
    assert sum(simulation.copied for simulation in ran) > 100
