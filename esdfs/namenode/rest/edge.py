"""What every resource shares: this worker's readers, its way to the engine, and how both are used."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from falcon.asgi import Request, Response

from esdfs.blocks import Block
from esdfs.env import Clock, Rng
from esdfs.errors import Compacted, InvalidRequest, NotFound, PreconditionFailed, Unavailable
from esdfs.ids import Micros
from esdfs.namenode.audit.reading import AuditReader
from esdfs.namenode.commands import Command
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.frames import Answer, Body, Execute, ReadIndex
from esdfs.namenode.namespace.inodes import Inode
from esdfs.namenode.namespace.paths import parse_point
from esdfs.namenode.rest import answers, request
from esdfs.namenode.rest.answers import CommandResult, FileStatus, LocatedBlock
from esdfs.namenode.rest.confirming import Confirmations
from esdfs.namenode.rest.ports import Engine, JournalReader, LocationsReader, ProjectionReader, View

T = TypeVar("T")

JSON: Final = "application/json"
DEFAULT_GROUP: Final = "users"

_MIN_TXID_WAIT_NS: Final = 5_000_000_000
_POLL_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05)
_CONSISTENCY: Final = frozenset({"linearizable", "session", "stale"})


class Done(NamedTuple):
    """A transaction the engine carried out."""

    txid: int
    results: list[CommandResult]


class Edge:
    """One worker's means. All are opened after the fork.

    Args:
        journal, audit: Their calls block, so they are made in a thread of their own.
        beside: What a program prints; for what would keep this worker from answering others.
        digest: The whole projection's hash as ``{"txid", "digest"}``; takes seconds per million inodes.
        is_sole: Whether this NameNode leads with the only vote there is.
        stopping: Whether this worker was told to stop: nobody waits any longer then.
    """

    def __init__(
        self,
        *,
        reader: ProjectionReader,
        locations: LocationsReader,
        engine: Engine,
        journal: JournalReader,
        audit: AuditReader,
        digest: Callable[[], Awaitable[bytes]],
        beside: Callable[[list[str]], Awaitable[bytes]],
        settings: NameNodeConfig,
        clock: Clock,
        rng: Rng,
        is_sole: Callable[[], bool],
        stopping: Callable[[], bool],
    ) -> None:
        self.reader = reader
        self.locations = locations
        self.engine = engine
        self.settings = settings
        self.clock = clock
        self.rng = rng
        self._is_sole = is_sole
        self._confirmations = Confirmations(lambda: engine.call(ReadIndex()))
        self._journal = journal
        self._audit = audit
        self._digest = digest
        self._beside = beside
        self._stopping = stopping
        self._digesting = asyncio.Lock()
        self._journal_thread = ThreadPoolExecutor(1, "journal-reader")

    # --- reads --------------------------------------------------------------------------------

    async def moment(self, req: Request) -> int | None:
        """The txid to read at; None = the present.

        Linearizable unless asked otherwise. With the only vote that is free: the engine answers a change
        after the projection shows it. As one of several, the leader asks a majority (all reads under way
        share the question), and a follower sends the reader to it.

        Raises:
            NotLeader: Ask the leader, or for ``consistency=session`` (with ``min_txid``) or ``stale``.
            Unavailable: ``min_txid`` was not applied here within five seconds.
            InvalidRequest: ``as_of``, ``min_txid`` or ``consistency`` is not understood.
        """
        params = req.params
        if "min_txid" in params:
            await self._wait_applied(request.number(req, "min_txid", 0))
        if "consistency" in params and req.get_param("consistency") not in _CONSISTENCY:
            raise InvalidRequest("consistency must be linearizable, session or stale", field="consistency")
        fresh = params.get("consistency", "linearizable") == "linearizable" and "min_txid" not in params
        # A txid means the same everywhere; which one a snapshot has must be known here.
        if fresh and ("as_of" not in params or req.get_param("as_of", default="").startswith("@")):
            await self._confirm()
        if "as_of" not in params:
            return None
        return self.txid_of(request.text(req, "as_of"))

    async def _confirm(self) -> None:
        """Wait until this NameNode is sure to show everything acknowledged before now."""
        if not self._is_sole():
            await self._confirmations.confirm()

    def txid_of(self, point: str) -> int:
        """The txid that a point in time, or ``@`` and the name of a snapshot, stands for."""
        if point.startswith("@"):
            return self._pinned_txid(point[1:])
        try:
            at = parse_point(point, self.clock.wall_us())
        except OverflowError:
            raise InvalidRequest(f"as_of is out of range: {point[:80]!r}", field="as_of") from None
        txid = self._txid_at(at.ts_us) if at.ts_us is not None else at.txid
        assert txid is not None, "a point is a txid or a time"
        if txid == 0:
            with self.reader.snapshot() as view:
                oldest_txid = view.oldest_txid
            raise Compacted(
                f"nothing is kept from as early as {point[:80]}: history begins at txid {oldest_txid}",
                oldest_txid=oldest_txid,
            )
        if txid > request.ID_MAX:
            raise InvalidRequest(f"as_of must be at most {request.ID_MAX}", field="as_of")
        return txid

    def _pinned_txid(self, name: str) -> int:
        with self.reader.snapshot() as view:
            pin = view.pin(name)
        if pin is None:
            raise NotFound(f"no snapshot is called {name[:80]}: see esdfs snapshot list", name=name[:80])
        return pin.txid

    def _txid_at(self, ts_us: Micros) -> int:
        if ts_us < 0:
            return 0
        with self.reader.snapshot() as view:
            return view.txid_at(ts_us)

    async def _wait_applied(self, txid: int) -> None:
        if not await self.wait_applied(txid, _MIN_TXID_WAIT_NS):
            raise Unavailable(
                f"txid {txid} is not applied here yet, only {self.reader.applied_txid()}: "
                "try again or ask another NameNode",
                applied_txid=self.reader.applied_txid(),
            )

    async def wait_applied(self, txid: int, timeout_ns: int) -> bool:
        """Whether ``txid`` was applied within the time given."""
        until_ns = self.clock.monotonic_ns() + timeout_ns
        attempt = 0
        while self.reader.applied_txid() < txid:
            if self.clock.monotonic_ns() >= until_ns or self._stopping():
                return False
            await asyncio.sleep(_POLL_S[min(attempt, len(_POLL_S) - 1)])
            attempt += 1
        return True

    def locate(self, blocks: Sequence[Block]) -> list[LocatedBlock]:
        """Blocks with their readable replicas, as reported to this NameNode."""
        replicas = {block.block_id: self.locations.replicas(block.block_id) for block in blocks}
        return answers.locate(blocks, replicas, self.locations.datanodes())

    def new_blocks(self, result: CommandResult) -> list[answers.NewBlock]:
        """The blocks a command allocated."""
        return answers.new_blocks(result.blocks, self.locations.datanodes())

    def status_after(self, txid: int, find: Callable[[View], tuple[str, Inode]]) -> FileStatus:
        """What a change led to: the entry as it was right after ``txid``.

        A later change may have come between; then the past is read, so that a repeated request gets
        its first answer again.
        """
        with self.reader.snapshot() as view:
            try:
                path, inode = find(view)
            except NotFound:
                if view.applied_txid == txid:
                    raise
            else:
                if inode.version <= txid:
                    return answers.status(path, inode)
        with self.reader.snapshot(txid) as view:
            return answers.status(*find(view))

    async def in_journal(self, read: Callable[[JournalReader], T]) -> T:
        """Read the journal in its thread: the database may take its time."""
        return await asyncio.get_running_loop().run_in_executor(self._journal_thread, read, self._journal)

    async def in_audit(self, read: Callable[[AuditReader], T]) -> T:
        """Read the index of the journal, or records wherever they are, in the journal's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._journal_thread, read, self._audit)

    async def digest(self) -> bytes:
        """The whole projection's hash, as JSON; one at a time."""
        async with self._digesting:
            return await self._digest()

    async def beside(self, argv: list[str]) -> bytes:
        """What a program prints; one at a time."""
        async with self._digesting:
            return await self._beside(argv)

    # --- changes ------------------------------------------------------------------------------

    async def execute(self, req: Request, resp: Response, body: bytes, commands: list[Command]) -> Done:
        """Have the engine carry out commands, all or none.

        Raises:
            EsdfsError: What it refused them with, or why the outcome is unknown.
        """
        name = request.request_name(req, body)
        answer = await self.engine.call(Execute(commands, request.principal(req), request.peer(req), *name))
        stamp(resp, answer.txid, answer.epoch)
        if answer.replayed:
            resp.set_header("Esdfs-Replayed", "true")
        return Done(answer.txid, answers.decode_results(answer.result))

    async def ask(self, resp: Response, body: Body) -> Answer:
        """The engine's answer to anything but commands."""
        answer = await self.engine.call(body)
        stamp(resp, answer.txid, answer.epoch)
        return answer

    def version_to_match(self, req: Request, find: Callable[[View], Inode]) -> int:
        """``if_version`` of a command: what ``If-Match`` demands; 0 = nothing.

        Raises:
            PreconditionFailed: ``*``, and nothing is there.
        """
        wanted = request.wanted_version(req)
        if wanted is None:
            return 0
        if wanted > 0:
            return wanted
        with self.reader.snapshot() as view:
            try:
                return find(view).version
            except NotFound as error:
                raise PreconditionFailed(f"If-Match: * demands that it exists: {error.message}") from error

    async def close(self) -> None:
        """Release what this worker opened."""
        await self.engine.close()
        self._journal_thread.shutdown(wait=True)
        for held in (self._audit, self.reader, self.locations, self._journal):
            close = getattr(held, "close", None)
            if close is not None:
                close()


def stamp(resp: Response, txid: int, epoch: int) -> None:
    """Say at which transaction an answer was made."""
    resp.set_header("Esdfs-Txid", str(txid))
    resp.set_header("Esdfs-Epoch", str(epoch))


def answer(resp: Response, body: object) -> None:
    """Answer with JSON."""
    resp.data = answers.encode(body)
    resp.content_type = JSON


def tag(version: int) -> str:
    """The entity tag of a version."""
    return f'"{version}"'


def unchanged(req: Request, resp: Response, version: int) -> bool:
    """Set the entity tag, and honour ``If-None-Match`` (304) and ``If-Match`` (412) of a read."""
    resp.set_header("ETag", tag(version))
    known = request.known_version(req)
    if known is not None and known in {0, version}:
        resp.status = "304 Not Modified"
        return True
    wanted = request.wanted_version(req)
    if wanted is not None and wanted not in {0, version}:
        raise PreconditionFailed(f"the present version is {version}, not {wanted}", version=version)
    return False
