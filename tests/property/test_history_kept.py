"""Random commands against a dictionary of every version, while history is forgotten.

At random transactions of the window, and at every snapshot, listing, lookup by path and by id, attributes
and bytes equal the model's: with garbage collected in random bites, after restarts, after a rebuild from the
journal, and at a follower. Elsewhere the answer is ``Compacted``, never a part of a tree. Once everything
was forgotten that may be, the blocks known are exactly those that the window and the snapshots show, and
without either nothing of history is left.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest

from esdfs.errors import Compacted, FutureTxid, Restoring
from esdfs.ids import ROOT, Txid
from esdfs.namenode import commands as cmd
from esdfs.namenode import events as ev
from esdfs.namenode.commands import Command
from esdfs.namenode.engine import Internal, Settled
from esdfs.namenode.events import Event
from esdfs.namenode.namespace import fanout
from esdfs.namenode.projection.digest import digest
from esdfs.namenode.projection.horizon import wanted_horizon
from esdfs.namenode.projection.lmdb import ProjectionStore, raw_entries
from esdfs.namenode.projection.purging import Backlog
from esdfs.namenode.projection.snapshot import Snapshot
from esdfs.namenode.projection.writer import Writer
from tests.property.kept_history import Model, Node, Tree, below, parent_of
from tests.unit.namenode.world import World, asking

OPERATIONS = 100_000
SEEDS = 20
TELLING = (110, 162, 173)
"""Seeds that lost the way to past inodes once."""
BATCH = 25
Apply = Callable[[list[dict[str, Any]], int], None]
"""Told a request's results and its txid: does the same to the model."""


class Run:
    """A NameNode, a follower, the DataNodes' disks as one dictionary, and the model."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = World(directory)
        self.follower = ProjectionStore(directory / "follower", bytes_max=1 << 32)
        self.model = Model(self.world.txid)
        self.disk: dict[int, bytes] = {}
        self.blocks_of: dict[bytes, list[int]] = {}
        self.writing: list[tuple[int, list[tuple[int, int]]]] = []
        self.moments: list[tuple[int, int]] = []
        self.operations = 0
        self.accepted = 0

    def close(self) -> None:
        self.follower.close()
        self.world.close()

    # --- a batch of random requests -----------------------------------------------------------

    def batch(self) -> None:
        """Requests that are committed together, each a record of its own."""
        self.moments.append((self.world.clock.now_us, self.world.txid))
        self.world.clock.now_us += 1_000_000
        asked = [self.completed(*one) for one in self.writing]
        self.writing = []
        while len(asked) < BATCH:
            asked.append(self.random_request())
        settled = self.world.settle(*(asking(*commands) for commands, _ in asked))
        self.finish_restores()
        for (commands, apply), one in zip(asked, settled, strict=True):
            self.operations += len(commands)
            if one.error is None:
                self.accepted += len(commands)
                apply(msgspec.msgpack.decode(one.result), one.txid)
            self.model.commit(one.txid)
        self.abandon()

    def abandon(self) -> None:
        """Files that could not be completed are given up."""
        known = {inode for inode, _ in self.writing}
        for file in self.world.metadata.open_files():
            if file.inode not in known:
                self.world.run(cmd.AbortFile(file.inode, file.lease))

    def settle(self, make: Callable[[Writer], Event | None]) -> Settled:
        (settled,) = self.world.settle(Internal(make))
        assert settled.error is None
        return settled

    def finish_restores(self) -> None:
        while unfinished := self.world.metadata.meta().unfinished:
            if not self.rng.randrange(3):
                self.settle(lambda _: ev.HistoryPurged(5))  # does nothing: a restore still reads
            (began_txid, top), steps = self.rng.choice(unfinished), self.rng.randint(1, 40)
            with pytest.raises(Restoring), self.world.snapshot(self.world.txid) as view:
                view.children(top or ROOT)
            self.settle(partial(_continued, ev.WorkContinued(began_txid, steps)))

    # --- requests -----------------------------------------------------------------------------

    def path(self) -> str:
        return "/" + "/".join(self.rng.choice("abcd") for _ in range(self.rng.randint(1, 4)))

    def present_path(self) -> str:
        """Mostly one that is there."""
        return self.rng.choice(list(self.model.now)[1:] or ["/a"]) if self.rng.random() < 0.8 else self.path()

    def moment(self) -> int:
        """Mostly one of the window, now and then a snapshot's, or any."""
        pins, dice = list(self.model.pins.values()), self.rng.random()
        if dice < 0.2 and pins:
            return self.rng.choice(pins).txid
        return self.rng.randint(self.model.oldest if dice < 0.9 else 1, self.world.txid)

    def random_request(self) -> tuple[list[Command], Apply]:
        if self.rng.random() < 0.15:
            parts = [self.simple() for _ in range(self.rng.randint(2, 4))]

            def apply_all(_: list[dict[str, Any]], __: int) -> None:
                for _command, apply_one in parts:
                    apply_one()

            return [command for command, _ in parts], apply_all
        dice = self.rng.random()
        if dice < 0.3:
            return self.opened()
        if dice < 0.4:
            return self.restored()
        if dice < 0.46:
            return self.pinned()
        if dice < 0.48:
            records_max, window_s = self.rng.choice([0, 5, 50, 200, 600]), self.rng.choice([0, 0, 1, 5, 20])
            return [cmd.SetRetention(window_s, records_max)], lambda _, __: None
        command, apply = self.simple()
        return [command], lambda _, __: apply()

    def simple(self) -> tuple[Command, Callable[[], None]]:
        """A command whose outcome depends on nothing but the tree."""
        path, other, model = self.present_path(), self.path(), self.model
        match self.rng.randrange(7):
            case 0 | 1:
                return cmd.MakeDirectory(other, parents=True), lambda: model.make_directory(other)
            case 2:
                return cmd.Rename(path, other, overwrite=True), lambda: model.rename(path, other)
            case 3:
                return cmd.Delete(path, recursive=True), lambda: model.delete(path)
            case 4:
                mode = self.rng.randrange(0o777)
                here = model.now.get(path)
                copies = None if here is None or here.data is None else 2 + mode % 4
                changed = cmd.SetAttributes(path, mode=mode, replication=copies)
                return changed, lambda: model.set_mode(path, mode)
            case 5:
                return cmd.Copy(path, other, overwrite=True), lambda: model.copy(path, other)
            case _:
                source, parent = self.present_path(), self.present_path()
                target = f"{parent}/{source.rsplit('/', 1)[1]}"
                return cmd.Rename(source, target), lambda: model.rename(source, target)

    def opened(self) -> tuple[list[Command], Apply]:
        command = cmd.CreateFile(
            self.present_path() if self.rng.random() < 0.4 else self.path(),
            "lease",
            overwrite=True,
            parents=True,
            blocks=self.rng.choice([0, 1, 1, 2, 3]),
        )

        def apply(results: list[dict[str, Any]], _: int) -> None:
            self.model.make_directory(parent_of(command.path))
            opened = results[-1]
            self.writing.append((opened["inode"], [(block, gen) for block, gen, _ in opened["blocks"]]))

        return [command], apply

    def completed(self, inode: int, blocks: list[tuple[int, int]]) -> tuple[list[Command], Apply]:
        pieces = {block_id: self.rng.randbytes(8) for block_id, _ in blocks}
        written = [cmd.WrittenBlock(block_id, gen, 8, 8, 0, ["dn-1", "dn-2"]) for block_id, gen in blocks]

        def apply(_: list[dict[str, Any]], txid: int) -> None:
            data = b"".join(pieces.values())
            self.blocks_of[data] = list(pieces)
            self.disk |= pieces
            with self.world.snapshot(txid) as view:
                path = view.by_id(inode)[0]  # its directory may have been moved since it was opened
            self.model.write(path, data)

        return [cmd.CompleteFile(inode, "lease", written)], apply

    def restored(self) -> tuple[list[Command], Apply]:
        txid, model = self.moment(), self.model
        if self.rng.random() < 0.1:

            def apply_all(_: list[dict[str, Any]], began_txid: int) -> None:
                rewound = txid >= model.oldest
                model.restore_all(txid, rewound=rewound)
                model.rewound = began_txid if rewound else model.rewound

            return [cmd.Restore("/", txid)], apply_all
        path, target = self.past_path(txid), self.path()

        def apply(_: list[dict[str, Any]], __: int) -> None:
            model.restore(path, txid, target)

        return [cmd.Restore(path, txid, target)], apply

    def past_path(self, txid: int) -> str:
        """Mostly one that was there then."""
        trees = [tree for tree in [self.model.readable(txid)] if tree]
        trees += [pin.tree for pin in self.model.pins.values() if pin.txid == txid]
        found = [path for path in (self.rng.choice(trees) if trees else {}) if path != "/"]
        return self.rng.choice(found) if found and self.rng.random() < 0.8 else self.path()

    def pinned(self) -> tuple[list[Command], Apply]:
        name, model = f"s{self.rng.randrange(8)}", self.model
        if self.rng.random() < 0.4:

            def apply_deleted(_: list[dict[str, Any]], __: int) -> None:
                del model.pins[name]

            return [cmd.DeleteSnapshot(name)], apply_deleted
        as_of = self.rng.choice([0, self.moment()])
        path = "/" if self.rng.random() < 0.4 else self.past_path(as_of or self.world.txid)

        def apply(results: list[dict[str, Any]], _: int) -> None:
            model.pin(name, results[-1]["txid"], path)

        return [cmd.CreateSnapshot(name, path, as_of)], apply

    # --- forgetting ---------------------------------------------------------------------------

    def move_horizon(self) -> None:
        """As the leader's chore does, and as the model says from when each transaction was."""
        with self.world.metadata.present() as view:
            retention = view.retention()
        now_us, last_txid, wanted = self.world.clock.now_us, self.world.txid, self.model.oldest
        if retention.window_s:
            before_us = now_us - retention.window_s * 1_000_000
            wanted = max([wanted, *(txid for us, txid in self.moments if us <= before_us)])
        if retention.records_max:
            wanted = max(wanted, last_txid - retention.records_max)
        self.settle(lambda writer: ev.HorizonMoved(wanted_horizon(writer, now_us)))
        self.model.move_horizon(wanted)
        assert self.world.metadata.meta().oldest_txid == wanted

    def purge(self, bites: int, steps_max: int) -> bool:
        """Forget a little; whether nothing is left to forget."""
        for _ in range(bites):
            with self.world.metadata.present() as view:
                if Backlog(view).is_empty():
                    return True
            self.settle(lambda _: ev.HistoryPurged(steps_max))
            self.collect()
        return False

    def collect(self) -> None:
        """The DataNodes delete what was released: once, and only what they have."""
        for block_id in self.world.released:
            del self.disk[block_id]
        self.world.released.clear()

    # --- looking ------------------------------------------------------------------------------

    def read(self, view: Snapshot, top: str) -> Iterator[tuple[str, Node]]:
        """What readers see from ``top`` down, each entry looked up by path and by id as well."""
        pending = [top]
        while pending:
            path = pending.pop()
            inode = view.resolve(path)
            assert view.by_id(inode.inode) == (path, inode)
            data = (
                None if inode.is_directory else b"".join(self.disk[block.block_id] for block in inode.blocks)
            )
            yield path, Node(inode.mode, data)
            if inode.is_directory:
                pending += [f"{path.rstrip('/')}/{name}" for name, _ in view.children(inode.inode)]

    def look(self, store: ProjectionStore, txid: int) -> None:
        """All of one moment, or the refusal of it."""
        model = self.model
        with store.present() as present:

            def tree(path: str) -> Tree:
                return dict(self.read(Snapshot(present, txid), path))

            whole = model.readable(txid)
            if whole is not None:
                assert tree("/") == whole
                return
            pins = [pin for pin in model.pins.values() if pin.txid == txid]
            if not pins:
                with pytest.raises(Compacted) as refused:
                    Snapshot(present, txid)
                assert refused.value.details["oldest_txid"] == model.oldest
            for pin in pins:
                assert tree(pin.path) == below(pin.tree, pin.path) == pin.tree
                with pytest.raises(Compacted):
                    tree("/")
                for other in (self.path(), self.present_path(), parent_of(pin.path)):
                    if model.part(txid, other) is None and not any(is_above(other, one.path) for one in pins):
                        with pytest.raises(Compacted):
                            Snapshot(present, txid).resolve(other)

    def check(self) -> None:
        """Random moments and every snapshot, here and at the follower."""
        self.collect()
        self.follow()
        with self.world.snapshot() as view:
            assert dict(self.read(view, "/")) == self.model.now
        for store in (self.world.store, self.follower):
            moments = {self.moment() for _ in range(4)} | {self.model.oldest, self.world.txid}
            for txid in sorted(moments | {pin.txid for pin in self.model.pins.values()}):
                self.look(store, txid)
            with store.present() as present, pytest.raises(FutureTxid):
                present.past(self.world.txid + 1)
        with self.world.metadata.present() as view:
            known = {*view.blocks_after(0, 1 << 30)[0]}
            known -= {block.block_id for file in view.open_files() for block in file.blocks}
        for block_id, asked in self.asked().items():
            assert self.copies(block_id) >= asked
        assert known == set(self.disk)
        shown = set(chain.from_iterable(self.blocks_of[data] for data in self.model.referenced()))
        assert shown <= known
        if self.purge(0, 0) or self.is_purged():
            # What a restore of everything undid below removed directories ends with the restore.
            assert shown == known or self.model.rewound > self.model.oldest
            shown_now = {node.data for node in self.model.now.values() if node.data}
            past = known.difference(chain.from_iterable(self.blocks_of[data] for data in shown_now))
            with self.world.snapshot() as view:
                assert view.costs(1, self.world.clock.now_us).history.bytes == 8 * len(past)

    def asked(self) -> dict[int, int]:
        """The most copies that any present file asks for, of each block."""
        found: dict[int, int] = {}
        with self.world.snapshot() as view:
            for path in self.model.now:
                inode = view.resolve(path)
                for block in inode.blocks:
                    found[block.block_id] = max(inode.replication, found.get(block.block_id, 0))
        return found

    def copies(self, block_id: int) -> int:
        with self.world.metadata.present() as view:
            record = view.block(block_id)
        return 0 if record is None else record.replication

    def is_purged(self) -> bool:
        with self.world.metadata.present() as view:
            return Backlog(view).is_empty()

    def follow(self) -> None:
        """The follower applies what it lacks, in batches of its own."""
        while (applied := self.follower.meta().applied_txid) < self.world.txid:
            rows = next(iter(self.world.journal.scan(Txid(applied), until=Txid(self.world.txid))))
            writer = self.follower.begin()
            for row in rows[: self.rng.randint(1, len(rows))]:
                writer.apply_row(row)
            writer.commit()
        assert digest(self.follower) == digest(self.world.store)

    def restart(self) -> None:
        self.world.close()
        self.world.open()

    def rebuild(self) -> None:
        before = digest(self.world.store)
        self.world.store.clear()
        self.world.metadata.catch_up()
        assert digest(self.world.store) == before

    def let_go(self) -> None:
        """Without a window and without snapshots there is only the present."""
        for name in list(self.model.pins):
            self.world.run(cmd.DeleteSnapshot(name))
            del self.model.pins[name]
        for file in self.world.metadata.open_files():
            self.world.run(cmd.AbortFile(file.inode, file.lease))
        self.writing = []
        self.world.run(cmd.SetRetention(0, 1))
        self.world.run(cmd.SetAttributes("/", owner="the-end"))
        self.model.commit(self.world.txid)
        self.settle(lambda writer: ev.HorizonMoved(writer.meta.applied_txid))
        self.model.move_horizon(self.world.txid - 1)
        while not self.purge(10, 100):
            pass
        tables = {name: dict(pairs) for name, pairs in raw_entries(self.world.store)}
        for table in (b"hist", b"moved", b"chg", b"held", b"dead", b"drain", b"work", b"pin", b"open"):
            assert not tables[table], f"{table.decode()} is not empty"
        assert len(tables[b"ino"]) == len(tables[b"cur"]) == len(self.model.now)
        assert len(tables[b"times"]) <= 2 + 3
        files: dict[bytes, int] = {}
        for node in self.model.now.values():
            if node.data:
                files[node.data] = files.get(node.data, 0) + 1
        assert sorted(int.from_bytes(count) for count in tables[b"refs"].values()) == sorted(
            count for count in files.values() if count > 1
        )
        assert set(self.disk) == set(chain.from_iterable(self.blocks_of[data] for data in files))
        for path, node in self.model.now.items():
            if node.data:
                self.world.run(cmd.SetAttributes(path, replication=2))
        assert {self.copies(block_id) for block_id in self.asked()} <= {2}


def _continued(event: Event, _: Writer) -> Event:
    return event


def is_above(path: str, other: str) -> bool:
    return path == other or other.startswith(path.rstrip("/") + "/")


@contextmanager
def started(directory: Path, seed: int) -> Iterator[Run]:
    run = Run(directory, seed)
    try:
        yield run
    finally:
        run.close()


@pytest.mark.parametrize("seed", [*range(SEEDS), *TELLING])
def test_the_window_and_the_snapshots_read_as_they_were(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "FIRST_STEPS", (500, 3)[seed % 2])
    with started(tmp_path, seed) as run:
        rounds = 0
        while run.operations < OPERATIONS // SEEDS:
            run.batch()
            rounds += 1
            if run.rng.random() < 0.3:
                run.move_horizon()
            if run.rng.random() < 0.6:
                run.purge(run.rng.randint(1, 8), run.rng.choice([1, 7, 50, 500]))
            if rounds % 10 == 0:
                run.check()
            if rounds % 67 == 0:
                run.restart()
                run.model.commit(run.world.txid)
                run.check()
            if rounds % 97 == 0:
                run.rebuild()
                run.check()
        while not run.purge(10, 100):
            pass
        run.check()
        run.rebuild()
        run.let_go()
        run.check()
        assert run.accepted > run.operations // 3
