"""A load of many small changes and reads, whose callers write down all they saw."""

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import urllib3

from esdfs.client import DFSClient
from esdfs.errors import AlreadyExists, EsdfsError, NotFound, NotLeader
from tests.faults.history import ABSENT, Kind, Operation, Outcome

NAMES: Final = ("x", "y")
RAW_TIMEOUT_S: Final = 20.0  # longer than any fault: a frozen node's answer must be waited for, it may be old
_INSISTING_READS: Final = (1.0, 1.0, 0.2)  # the share of reads of each caller that insists on a NameNode
_NOT_THE_LEADER_PAUSE_S: Final = 0.03
_REFUSALS: Final = ("already-exists", "not-found")


class Acknowledged(NamedTuple):
    """A directory of a name of its own, that the cluster said it made."""

    at_ns: int
    txid: int
    path: str


class Load:
    """Threads against a cluster, from ``start`` to ``stop``.

    Args:
        urls: Of all NameNodes.
        tickers: Clients that make one directory after the other, each of a name of its own.
        clients: That change and read shared objects, following the leader.
        pause_ms: Each waits up to this long between two calls.
        seed: Decides what is asked.

    Attributes:
        acknowledged: By the tickers, in the order heard.
        history: Of the shared objects.
        failed: What no caller should ever see; a test fails by it.
    """

    def __init__(
        self, urls: Sequence[str], *, tickers: int = 2, clients: int = 2, pause_ms: int = 20, seed: int = 0
    ) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.history: list[Operation] = []
        self.failed: list[str] = []
        self._urls = list(urls)
        self._pause_s = pause_ms / 1000
        self._objects: list[str] = []
        self._stop = threading.Event()
        work: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            *((self._tick, (f"ticker-{number}",)) for number in range(tickers)),
            *((self._follow, (f"client-{number}", seed * 100 + number)) for number in range(clients)),
            # At every NameNode, whatever it is: also the one that led until a moment ago. Some only read: a
            # change is what a leader without a majority keeps waiting, and its caller would read no more.
            *(
                (self._insist, (url, seed * 100 + 50 + 10 * number + share, reads))
                for number, url in enumerate(urls)
                for share, reads in enumerate(_INSISTING_READS)
            ),
        ]
        self._threads = [
            threading.Thread(target=self._guarded, args=(target, *args), daemon=True) for target, args in work
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End every caller; what is under way is answered first."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def move_on(self, objects: Sequence[str]) -> None:
        """From now on, ask about these directories: histories stay short, and so their proof."""
        self._objects = list(objects)

    def alive(self) -> bool:
        return not self.failed and all(thread.is_alive() for thread in self._threads)

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        try:
            work(*args)
        except Exception as error:  # noqa: BLE001 - the test fails by it
            self.failed.append(f"{args}: {error!r}")

    def _tick(self, name: str) -> None:
        with DFSClient(",".join(self._urls)) as client:
            number = 0
            while not self._stop.wait(random.random() * self._pause_s):
                number += 1
                path = f"/{name}-{number}"
                made = client.make_directory(path)
                self.acknowledged.append(Acknowledged(time.monotonic_ns(), made.txid, path))

    def _follow(self, name: str, seed: int) -> None:
        dice = random.Random(seed)
        with DFSClient(",".join(self._urls)) as client:

            def ask(method: str, target: str, body: dict[str, Any] | None) -> _Said:
                try:
                    if method == "GET":
                        return _Said(200, client.control.get("/files", dict[str, Any], path=target))
                    return _Said(200, client.control.change(method, target, dict[str, Any], body))
                except (AlreadyExists, NotFound) as refused:
                    return _Said(409, {"code": refused.code})
                except (EsdfsError, OSError) as error:
                    return _Said(504, {"code": str(getattr(error, "code", error))})

            self._call_on(name, dice, ask, reads=0.5)

    def _insist(self, url: str, seed: int, reads: float) -> None:
        """At one NameNode, whoever leads; never repeated, never redirected."""
        dice = random.Random(seed)
        with urllib3.PoolManager(retries=False, timeout=RAW_TIMEOUT_S) as pool:

            def ask(method: str, target: str, body: dict[str, Any] | None) -> _Said:
                place = f"/files?path={target}" if method == "GET" else target
                try:
                    answer = pool.request(
                        method,
                        url + place,
                        body=None if body is None else json.dumps(body),
                        headers={"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())},
                        redirect=False,
                    )
                    return _Said(answer.status, json.loads(answer.data))
                except urllib3.exceptions.NewConnectionError:
                    return _Said(503, {"code": NotLeader.code})  # it was not asked
                except (urllib3.exceptions.HTTPError, ValueError) as error:
                    return _Said(504, {"code": repr(error)})

            self._call_on(url, dice, ask, reads=reads)

    def _call_on(self, by: str, dice: random.Random, ask: "Callable[..., _Said]", *, reads: float) -> None:
        number = 0
        while not self._stop.wait(dice.random() * self._pause_s):
            if not self._objects:
                continue
            number += 1
            place, name = dice.choice(self._objects), dice.randrange(2)
            kind = Kind.READ if dice.random() < reads else dice.choice([Kind.MAKE, Kind.SET, *Kind])
            value = f"{by}/{id(dice):x}/{number}".removeprefix("http://")
            self._ask(ask, by, kind, place, name, value)

    def _ask(
        self, ask: "Callable[..., _Said]", by: str, kind: Kind, place: str, name: int, value: str
    ) -> None:
        path = f"{place}/{NAMES[name]}"
        invoked_ns = time.monotonic_ns()
        if kind is Kind.READ:
            said = ask("GET", path, None)
        else:
            command = _command(kind, path, f"{place}/{NAMES[1 - name]}", value)
            said = ask("POST", "/transactions", {"commands": [command]})
        returned_ns = time.monotonic_ns()
        outcome = said.outcome()
        if outcome is None:
            self._stop.wait(_NOT_THE_LEADER_PAUSE_S)
        if outcome is None or (kind is Kind.READ and outcome is Outcome.UNKNOWN):
            return
        if kind is Kind.READ:
            value = ABSENT if outcome is Outcome.REFUSED else str(said.body["owner"])
            outcome = Outcome.DONE
        self.history.append(Operation(place, name, kind, value, outcome, invoked_ns, returned_ns, by))


class _Said(NamedTuple):
    status: int
    body: dict[str, Any]

    def outcome(self) -> Outcome | None:
        """None: it surely did nothing."""
        if self.status < 300:
            return Outcome.DONE
        if self.body.get("code") in _REFUSALS:
            return Outcome.REFUSED
        return None if self.body.get("code") == NotLeader.code else Outcome.UNKNOWN


def _command(kind: Kind, path: str, other: str, value: str) -> dict[str, Any]:
    match kind:
        case Kind.MAKE:
            return {"kind": "make-directory", "path": path, "owner": value}
        case Kind.SET:
            return {"kind": "set-attributes", "path": path, "owner": value}
        case Kind.REMOVE:
            return {"kind": "delete", "path": path}
        case Kind.RENAME:
            return {"kind": "rename", "source": path, "target": other}
        case Kind.READ:
            raise AssertionError("a read is no command")
