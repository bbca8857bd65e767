"""Runs a story: a text file, one step a line, that tells what a cluster goes through.

    nodes 3 [witness 3] [observers 1] [lease] [fetch N] [checkpoint N] [keep N]    first line
    win N              everybody is silent long enough for N to be elected, and it is
    elect N            and its first record commits, if it can
    timeout N          N's election timer expires
    write N KEY        a client asks N to add KEY; its answer is looked at later
    retry N KEY        the same request again, at N
    read N KEY         a client asks N for the length of the list, under the name KEY
    run MS, settle     time passes
    await CONDITION    things happen until it holds, for at most ten seconds
    cut A B, cut A>B, cut A      links are cut: both ways, one way, all of A's; heal, heal A B, heal A>B
    crash N, boot N, reboot N    the process; ``power-cut N`` takes its projection too
    freeze N, thaw N, slow N MS  the process; its disk
    wipe N, lose N COUNT, lose-floor N, rot N COUNT    the disk loses all, its tail, its floor; a bit flips
    torn-crash N       it crashes between the two halves of the write under way (journal, floor)
    writes N COUNT     that many requests, one after the other
    copy A>B, replay A>B    what passes is noted from here on; it arrives once more
    damage CHANCE      a bit of records under way flips, that likely
    never-checkpoint N
    forge-floor N      the floor says what the journal says, as if an old copy of both had been restored
    transfer N M, resign N, remove N M, add N M, refused STEP...
    expect CONDITION
    halts N            from here on N may stop for good

Conditions: leader N | leader none | follows N M | role N ROLE | epoch N E | committed N T | last N E.T |
    disk N E.T | answered KEY yes|no|pending | position KEY P | recovering N | whole N | halted N |
    voters N M... | same N M | active N | items N COUNT | floor N E.T
``not CONDITION`` is its opposite.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from esdfs.ids import Epoch, NodeId, Position, Txid
from esdfs.journal.quorum.config import QuorumConfig
from esdfs.journal.quorum.messages import Message
from esdfs.journal.quorum.roles import Leader
from esdfs.journal.quorum.voters import Voter, VoterKind
from tests.sim.cluster import Cluster
from tests.sim.disk import Disk
from tests.sim.mutants import mutant
from tests.sim.node import Outcome, SimNode
from tests.sim.world import MS, World

ELECTION_MIN_MS, ELECTION_MAX_MS = 500, 1000
CLIENT = b"story"


class StepFailedError(AssertionError):
    """A story did not go as told. ``line`` says where."""


def tell(path: Path, mutant_name: str = "", *, by_checkers_only: bool = False) -> None:
    """Run the story in ``path``. Raises AssertionError when it, or an invariant, does not hold.

    With ``by_checkers_only`` what the story expects does not matter, and a step that cannot be done is
    left out: only an invariant ends it.
    """
    lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    steps = [(number, line) for number, line in enumerate(lines, start=1) if line]
    story = Story(steps[0][1].split(), mutant_name)
    for number, line in steps[1:]:
        try:
            story.step(line.split())
        except StepFailedError as error:
            if by_checkers_only:
                continue
            raise StepFailedError(f"{path.name}:{number}: {line}: {error}\n{story.portrait()}") from None


class Story:
    """A cluster in the hands of a script: messages take 1 ms, writes 0.5 ms; next to no chance."""

    def __init__(self, header: list[str], mutant_name: str) -> None:
        options = {"nodes": 3, "witness": 0, "observers": 0, "fetch": 16, "checkpoint": 10**9, "keep": 10**9}
        is_lease = "lease" in header
        words = iter(word for word in header if word != "lease")
        options.update((word, int(next(words))) for word in words)
        self.world = World(1)
        voters = [
            (_id(n), VoterKind.WITNESS if n == options["witness"] else VoterKind.FULL)
            for n in range(1, options["nodes"] + 1)
        ]
        observers = [_id(options["nodes"] + n) for n in range(1, options["observers"] + 1)]
        config = QuorumConfig(
            heartbeat_ms=50,
            election_min_ms=ELECTION_MIN_MS,
            election_max_ms=ELECTION_MAX_MS,
            lease_reads=is_lease,
            fetch_records=options["fetch"],
            uncommitted_records=64,
            window_records=16,
        )
        self.cluster = Cluster(
            self.world, voters=voters, observers=observers, config=config, mutant=mutant(mutant_name)
        )
        self.cluster.checkpoint_every, self.cluster.records_kept = options["checkpoint"], options["keep"]
        physics = self.cluster.physics
        physics.latency_ns, physics.fsync_ns, physics.hiccup = (MS, MS + 1), (MS // 2, MS // 2 + 1), 0.0
        self.answers: dict[str, Outcome | None] = {}
        self.sequence: dict[str, int] = {}
        self.disks = 0
        self.copies: dict[tuple[NodeId, NodeId], list[Message]] = {}
        self.cluster.taps.append(self._note)
        for node in self.cluster.nodes.values():
            node.use_exact_clock()
        self.cluster.boot_all()

    def step(self, words: list[str]) -> None:
        action: Callable[..., None] | None = getattr(self, "do_" + words[0].replace("-", "_"), None)
        if action is None:
            raise StepFailedError("no such step")
        action(*words[1:])

    def node(self, number: str) -> SimNode:
        return self.cluster.nodes[_id(number)]

    def portrait(self) -> str:
        return "\n".join(
            f"  {node.node_id} {'up' if node.is_up else 'down'} {node.core.role} of epoch {node.core.epoch},"
            f" leader {node.core.leader_id}, last {node.core.last.epoch}.{node.core.last.txid},"
            f" committed {node.core.commit_txid}, durable {node.core.durable_txid}, floor {node.disk.floor}"
            for node in self.cluster.nodes.values()
        )

    # --- time ---

    def do_run(self, ms: str) -> None:
        self.world.run_until(self.world.now_ns + int(ms) * MS)

    def do_settle(self) -> None:
        self.do_run("150")

    def do_await(self, *condition: str) -> None:
        if not self.world.run_while(lambda: not self.holds(list(condition)), at_most_ns=10_000 * MS):
            raise StepFailedError("it never came")

    def do_expect(self, *condition: str) -> None:
        if not self.holds(list(condition)):
            raise StepFailedError("it is not so")

    # --- elections ---

    def do_elect(self, number: str) -> None:
        self.do_win(number)
        self.do_run("20")

    def do_win(self, number: str) -> None:
        self._delay_timers()
        self.do_run(str(ELECTION_MIN_MS + 30))
        self._delay_timers()
        self.do_timeout(number)
        self.do_await("leader", number)

    def do_timeout(self, number: str) -> None:
        node = self.node(number)
        self._delay_timer(node, 0)
        node.handle(node._tick)

    def _delay_timers(self) -> None:
        for node_id in self.cluster.voter_ids:
            self._delay_timer(self.cluster.nodes[node_id], 4 * ELECTION_MAX_MS)

    def _delay_timer(self, node: SimNode, ms: int) -> None:
        if node.is_up and not isinstance(node.core._state.role, Leader):
            local_ns = node.now().monotonic_ns
            node.core._state.role.timer_ns = type(local_ns)(local_ns + ms * MS)

    # --- clients and operators ---

    def do_write(self, number: str, key: str) -> None:
        assert key not in self.sequence, f"{key} was written already: retry it"
        self.sequence[key] = len(self.sequence) + 1
        self.do_retry(number, key)

    def do_writes(self, number: str, count: str) -> None:
        for _ in range(int(count)):
            self.do_write(number, f"write-{len(self.sequence)}")
            self.do_run("10")

    def do_retry(self, number: str, key: str) -> None:
        self.answers[key] = None
        node = self.node(number)
        node.handle(node.write, CLIENT, self.sequence[key], lambda outcome: self._answered(key, outcome))

    def do_read(self, number: str, key: str) -> None:
        self.answers[key] = None
        node = self.node(number)
        node.handle(node.read, lambda outcome: self._answered(key, outcome))

    def _answered(self, key: str, outcome: Outcome) -> None:
        self.answers[key] = outcome

    def do_refused(self, *step: str) -> None:
        try:
            self.step(list(step))
        except StepFailedError:
            return
        raise StepFailedError("it was not refused")

    def do_transfer(self, number: str, target: str) -> None:
        self._administer(
            number, self.node(number).administer(lambda core, now: core.transfer(_id(target), now))
        )

    def do_resign(self, number: str) -> None:
        self._administer(number, self.node(number).administer(lambda core, now: core.resign(now)))

    def do_remove(self, number: str, target: str) -> None:
        node = self.node(number)
        voters = node.core.voters.without(_id(target))
        self._administer(number, node.administer(lambda core, now: core.change_voters(voters, now)))

    def do_add(self, number: str, target: str) -> None:
        node, disk = self.node(number), self.node(target).disk
        voters = node.core.voters.with_voter(Voter(_id(target), disk.identity.storage_id))
        self._administer(number, node.administer(lambda core, now: core.change_voters(voters, now)))

    def _administer(self, number: str, refusal: str) -> None:
        if refusal:
            raise StepFailedError(f"{number} refuses: {refusal}")

    # --- faults ---

    def do_cut(self, *ends: str) -> None:
        self.cluster.physics.cut |= self._links(list(ends))

    def do_heal(self, *ends: str) -> None:
        if ends:
            self.cluster.physics.cut -= self._links(list(ends))
        else:
            self.cluster.physics.cut.clear()

    def _links(self, ends: list[str]) -> set[tuple[NodeId, NodeId]]:
        if ">" in ends[0]:
            pairs = [end.split(">") for end in ends]
            return {(_id(a), _id(b)) for a, b in pairs}
        first = _id(ends[0])
        others = [_id(end) for end in ends[1:]] or self.cluster.ids
        return {(first, other) for other in others} | {(other, first) for other in others}

    def do_crash(self, number: str) -> None:
        self.node(number).crash(keeps_projection=True, tears=False)

    def do_power_cut(self, number: str) -> None:
        self.node(number).crash(keeps_projection=False, tears=False)

    def do_torn_crash(self, number: str) -> None:
        self.node(number).crash(keeps_projection=True, tears=True)

    def do_copy(self, link: str) -> None:
        (pair,) = self._links([link])
        self.copies[pair] = []

    def _note(self, sender: NodeId, to: NodeId, message: Message) -> None:
        if (sender, to) in self.copies:
            self.copies[sender, to].append(message)

    def do_replay(self, link: str) -> None:
        (pair,) = self._links([link])
        node = self.cluster.nodes[pair[1]]
        for message in self.copies.pop(pair):
            node.handle(node.receive, message)

    def do_damage(self, chance: str) -> None:
        self.cluster.physics.damaged = float(chance)

    def do_never_checkpoint(self, number: str) -> None:
        self.node(number).takes_checkpoints = False

    def do_boot(self, number: str) -> None:
        self.node(number).boot()

    def do_reboot(self, number: str) -> None:
        self.do_crash(number)
        self.do_boot(number)

    def do_freeze(self, number: str) -> None:
        self.node(number).pause()

    def do_thaw(self, number: str) -> None:
        self.node(number).resume()

    def do_slow(self, number: str, ms: str) -> None:
        self.cluster.physics.slow_disk_ns[_id(number)] = int(ms) * MS

    def do_wipe(self, number: str) -> None:
        node = self.node(number)
        self.do_power_cut(number)
        former = node.disk.identity.storage_id
        self.disks += 1
        node.disk = self.cluster.empty_disk(node.node_id, self.disks)
        self.cluster.checkers.lost_records(former)
        if self.cluster.mutant.wiped_disk_keeps_its_name:
            node.disk.identity = msgspec.structs.replace(node.disk.identity, storage_id=former)

    def do_lose(self, number: str, count: str) -> None:
        disk = self._disk_of_dead(number)
        del disk.entries[len(disk.entries) - int(count) :]

    def do_rot(self, number: str, count: str) -> None:
        disk = self._disk_of_dead(number)
        entry = disk.entries[-int(count)]
        disk.entries[-int(count)] = msgspec.structs.replace(entry, ts_us=entry.ts_us ^ 1)

    def do_lose_floor(self, number: str) -> None:
        self._disk_of_dead(number).floor = None

    def do_forge_floor(self, number: str) -> None:
        """The floor says what the journal says: as if an old copy of both had been restored."""
        disk = self._disk_of_dead(number)
        disk.floor = disk.last

    def _disk_of_dead(self, number: str) -> Disk:
        node = self.node(number)
        if node.is_up:
            raise StepFailedError(f"{number} runs: crash it first")
        self.cluster.checkers.lost_records(node.disk.identity.storage_id)
        return node.disk

    def do_halts(self, number: str) -> None:
        self.cluster.checkers.expected_halts.add(_id(number))

    # --- conditions ---

    def holds(self, words: list[str]) -> bool:
        if words[0] == "not":
            return not self.holds(words[1:])
        check: Callable[..., bool] | None = getattr(self, "is_" + words[0], None)
        if check is None:
            raise StepFailedError("no such condition")
        return check(*words[1:])

    def is_leader(self, number: str) -> bool:
        leader = self.cluster.leader()
        return (leader.node_id if leader else None) == (None if number == "none" else _id(number))

    def is_active(self, number: str) -> bool:
        return self.node(number).core.is_active

    def is_follows(self, number: str, leader: str) -> bool:
        core = self.node(number).core
        return core.role == "follower" and core.leader_id == _id(leader)

    def is_role(self, number: str, role: str) -> bool:
        return self.node(number).core.role == role

    def is_epoch(self, number: str, epoch: str) -> bool:
        return self.node(number).core.epoch == int(epoch)

    def is_committed(self, number: str, txid: str) -> bool:
        return self.node(number).core.commit_txid == int(txid)

    def is_last(self, number: str, position: str) -> bool:
        return self.node(number).core.last == _position(position)

    def is_disk(self, number: str, position: str) -> bool:
        return self.node(number).disk.last == _position(position)

    def is_floor(self, number: str, position: str) -> bool:
        return self.node(number).disk.floor == _position(position)

    def is_answered(self, key: str, how: str) -> bool:
        outcome = self.answers[key]
        return how == ("pending" if outcome is None else "yes" if outcome.ok else "no")

    def is_position(self, key: str, position: str) -> bool:
        outcome = self.answers[key]
        return outcome is not None and outcome.ok and outcome.value == int(position)

    def is_recovering(self, number: str) -> bool:
        return self.node(number).core.is_recovering

    def is_whole(self, number: str) -> bool:
        node = self.node(number)
        return not node.core.is_recovering and node.disk.floor is not None

    def is_halted(self, number: str) -> bool:
        return bool(self.node(number).core.halted)

    def is_voters(self, number: str, *members: str) -> bool:
        return self.node(number).core.voters.ids == tuple(sorted(_id(member) for member in members))

    def is_same(self, number: str, other: str) -> bool:
        one, two = self.node(number), self.node(other)
        return one.core.last == two.core.last and one.machine.digest == two.machine.digest

    def is_items(self, number: str, count: str) -> bool:
        return len(self.node(number).machine.items) == int(count)


def _id(number: str | int) -> NodeId:
    return NodeId(f"n{number}")


def _position(text: str) -> Position:
    epoch, _, txid = text.partition(".")
    return Position(Epoch(int(epoch)), Txid(int(txid)))
