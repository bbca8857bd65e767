"""One NameNode, seen from a DataNode: register, heartbeat, report, over its REST interface."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

import msgspec
import structlog
import urllib3

from esdfs.datanode.orders import Command
from esdfs.datanode.replica import BlockKey
from esdfs.datanode.reports import Deltas, Report
from esdfs.env import Clock, Rng
from esdfs.errors import EsdfsError, IdentityConflict, Overloaded, Unreachable, from_code
from esdfs.rpc.messages import Target

_log = structlog.get_logger()

_TIMEOUT: Final = urllib3.Timeout(connect=2.0, read=10.0)
_RETRY_FIRST_S: Final = 0.2
_RETRY_MOST_S: Final = 2.0
_SOONEST_S: Final = 0.05
_GATHER_S: Final = 0.1
"""Changes wait so long for company before they are reported."""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a registration."""

    cluster_id: str
    number: int
    heartbeat_interval_ms: int
    epoch: int


class HeartbeatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a heartbeat.

    Attributes:
        namenodes: URLs of all that should be told of our replicas.
        peers: Other DataNodes, to see whether we reach them; now and then.
        next_ms: Come again so soon; 0 = as usual.
    """

    epoch: int
    commands: tuple[Command, ...] = ()
    full_report: bool = False
    namenodes: tuple[str, ...] = ()
    peers: tuple[Target, ...] = ()
    next_ms: int = 0


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


class NameNodeLink:
    """Speaks to one NameNode; `run` is its thread's loop.

    Args:
        url: Of its REST interface.
        node_id: Ours.
        incarnation: Of this process; in every request.
        register_body: Makes the body of a registration.
        heartbeat_body: Makes the body of a heartbeat.
        full_report: Makes the pages of a full report.
        on_registered: Told each answer to a registration; may raise `IdentityConflict`.
        on_answer: Told each heartbeat's answer, epoch and orders, and when it was asked for (monotonic, ns).
        epoch: The newest whose earlier orders are all done, or will never be.
    """

    def __init__(
        self,
        url: str,
        node_id: str,
        incarnation: int,
        *,
        token: str,
        interval_ms: int,
        full_report_interval_s: int,
        clock: Clock,
        rng: Rng,
        register_body: Callable[[], dict[str, object]],
        heartbeat_body: Callable[[], dict[str, object]],
        full_report: Callable[[], Iterator[Report]],
        on_registered: Callable[[Registered], None],
        on_answer: Callable[[HeartbeatAnswer, int], None],
        epoch: Callable[[], int],
    ) -> None:
        self.url = url.rstrip("/")
        self.deltas = Deltas()
        self._node_id = node_id
        self._incarnation = incarnation
        self._interval_s = interval_ms / 1000
        self._clock = clock
        self._rng = rng
        self._register_body = register_body
        self._heartbeat_body = heartbeat_body
        self._full_report = full_report
        self._on_registered = on_registered
        self._on_answer = on_answer
        self._epoch = epoch
        self._seq = 0
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._http = urllib3.PoolManager(
            maxsize=1, headers=headers, retries=False, timeout=_TIMEOUT, num_pools=1
        )
        self._wake = threading.Condition()
        self._stopped = False
        self._changed_at_ns = 0
        self._urgent = False
        self._registered = False
        self._full_report_due = True
        self._full_report_interval_s = full_report_interval_s
        self._next_full_report_ns = 0
        self._pages: _Pages | None = None

    # --- called by others ---

    def changed(self, *, urgent: bool) -> None:
        """Something is in `deltas`: report it soon, or at once."""
        with self._wake:
            if not self._changed_at_ns:
                self._changed_at_ns = self._clock.monotonic_ns()
            self._urgent = self._urgent or urgent
            self._wake.notify_all()

    def stop(self) -> None:
        """Let `run` return soon."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()

    # --- single exchanges ---

    def register(self) -> Registered:
        """Introduce ourselves.

        Raises:
            IdentityConflict: This NameNode will never have us.
            EsdfsError: Not now.
        """
        body = {
            "node_id": self._node_id,
            "incarnation": self._incarnation,
            "seq": self._next_seq(),
            **self._register_body(),
        }
        answer = msgspec.convert(self._call("POST", "/datanodes/register", body), Registered)
        self._on_registered(answer)
        self._interval_s = max(_SOONEST_S, answer.heartbeat_interval_ms / 1000)
        self._registered = True
        self._full_report_due = True
        self._pages = None
        return answer

    def heartbeat(self) -> HeartbeatAnswer:
        """Say that we live, take orders.

        Raises:
            UnknownDataNode: Register again.
            EsdfsError: Not now.
        """
        body = {"incarnation": self._incarnation, **self._heartbeat_body()}
        asked_ns = self._clock.monotonic_ns()
        raw = self._call("PUT", f"/datanodes/{self._node_id}/heartbeat", body)
        answer = msgspec.convert(raw, HeartbeatAnswer)
        self._full_report_due = self._full_report_due or answer.full_report
        self._on_answer(answer, asked_ns)
        return answer

    def report(self) -> None:
        """Deliver a full report if one is due, then all changes.

        Raises:
            EsdfsError: Not now; nothing is lost.
        """
        now = self._clock.monotonic_ns()
        if self._full_report_due or self.deltas.overflowed or now >= self._next_full_report_ns:
            self._report_in_full()
            self._full_report_due = False
            # Spread, so that the reports of many nodes do not meet.
            spread = 0.75 + self._rng.random() / 2
            self._next_full_report_ns = now + int(self._full_report_interval_s * spread * 1e9)
        with self._wake:
            self._changed_at_ns = 0
            self._urgent = False
        while (news := self.deltas.take()) is not None:
            try:
                self._deliver(news)
            except EsdfsError:
                self.deltas.back(news)
                self.changed(urgent=False)
                raise

    def _report_in_full(self) -> None:
        if self._pages is None:
            # What changes from here on is in the pages, in the deltas, or (harmless) in both.
            self.deltas.clear()
            self._pages = _Pages(self._full_report(), self._epoch())
        pages = self._pages
        while pages.current is not None:
            try:
                self._deliver(pages.current, pages.epoch)
            except EsdfsError as error:
                # What came before is taken: to begin anew would keep a busy NameNode busy for good. But it
                # dates a report by its first page, so that one must be new.
                if pages.current.first or not isinstance(error, Overloaded):
                    self._pages = None
                raise
            pages.current = next(pages.rest, None)
        self._pages = None

    def _next_seq(self) -> int:
        """A request that was given up may still arrive: the numbers tell that it was before."""
        self._seq += 1
        return self._seq

    def _deliver(self, report: Report, epoch: int = 0) -> None:
        body = {
            "incarnation": self._incarnation,
            "seq": self._next_seq(),
            "epoch": epoch,
            **msgspec.structs.asdict(report),
        }
        self._call("POST", f"/datanodes/{self._node_id}/blocks", body)

    def _call(self, method: str, path: str, body: dict[str, object]) -> Any:
        try:
            response = self._http.request(
                method, self.url + path, body=msgspec.json.encode(body), redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(f"{self.url} does not answer: {error}") from error
        if response.status != 200:
            self._refused(response.status, response.data)
        try:
            return msgspec.json.decode(response.data)
        except msgspec.DecodeError as error:
            raise Unreachable(f"{self.url} answers {path} with something else than JSON") from error

    def _refused(self, status: int, content: bytes) -> NoReturn:
        try:
            problem = msgspec.json.decode(content, type=_Problem)
        except (msgspec.DecodeError, UnicodeDecodeError):
            problem = _Problem()
        code = problem.code or "unavailable"
        raise from_code(code, f"{self.url}: {problem.detail or 'refused'} (HTTP {status})", {})

    # --- the loop ---

    def run(self) -> None:
        """Register, then heartbeat and report until stopped; survives everything but a conflict of identity.

        Raises:
            IdentityConflict: Give up.
        """
        failures = 0
        while not self._stopped:
            try:
                wait_s = self._exchange()
                failures = 0
            except IdentityConflict:
                raise
            except (EsdfsError, msgspec.ValidationError) as error:
                if getattr(error, "code", "") == "unknown-datanode":
                    self._registered = False
                    failures = 0  # it is back, and takes no writes until we have introduced ourselves
                most = min(_RETRY_MOST_S, _RETRY_FIRST_S * 2.0**failures)
                wait_s = most * (0.5 + self._rng.random() / 2)
                failures = min(failures + 1, 10)
                _log.warning(
                    "NameNode not reached", url=self.url, reason=str(error), retry_s=round(wait_s, 2)
                )
            self._rest(wait_s, after_failure=failures > 0)

    def _exchange(self) -> float:
        """Say all there is to say; seconds until the next heartbeat."""
        if not self._registered:
            self.register()
        answer = self.heartbeat()
        self.report()
        if answer.next_ms:
            return max(_SOONEST_S, answer.next_ms / 1000)
        # DataNodes that were started together would come together for ever.
        return self._interval_s * (0.9 + self._rng.random() / 5)

    def _rest(self, seconds: float, *, after_failure: bool) -> None:
        """Wait for the next heartbeat; report changes meanwhile."""
        deadline = self._clock.monotonic_ns() + int(seconds * 1e9)
        while True:
            with self._wake:
                now = self._clock.monotonic_ns()
                until = deadline
                if self._changed_at_ns and not after_failure:
                    gathered = self._changed_at_ns + int(_GATHER_S * 1e9)
                    until = min(until, now if self._urgent else gathered)
                if self._stopped:
                    return
                if until > now:
                    self._wake.wait((until - now) / 1e9)
                    continue
                if until == deadline or now >= deadline:
                    return
            try:
                self.report()
            except EsdfsError as error:
                _log.warning("report not delivered", url=self.url, reason=error.message)
                return

    def close(self) -> None:
        """Close its connection."""
        self._http.clear()


class Broadcast:
    """Tells every link what changed in the store."""

    def __init__(self) -> None:
        self.links: list[NameNodeLink] = []

    def stored(self, key: BlockKey, length_bytes: int) -> None:
        """A replica was finalized."""
        for link in self.links:
            link.deltas.stored(key, length_bytes)
            link.changed(urgent=False)

    def removed(self, key: BlockKey) -> None:
        """A replica is gone."""
        for link in self.links:
            link.deltas.removed(key)
            link.changed(urgent=False)

    def corrupt(self, key: BlockKey) -> None:
        """A replica does not verify."""
        for link in self.links:
            link.deltas.corrupt(key)
            link.changed(urgent=True)

    def replication_failed(self, key: BlockKey, node_id: str) -> None:
        """A copy did not arrive."""
        for link in self.links:
            link.deltas.replication_failed(key, node_id)
            link.changed(urgent=False)


class _Pages:
    """A full report under way: the page that comes next, and those after it."""

    def __init__(self, pages: Iterator[Report], epoch: int) -> None:
        self.current = next(pages, None)
        self.rest = pages
        self.epoch = epoch
