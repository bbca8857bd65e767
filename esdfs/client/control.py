"""Talking to NameNodes: find who leads, stay there, repeat what may be repeated. The one door to urllib3."""

import itertools
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as NoAnswerInTime

from esdfs.client import retry
from esdfs.client.errors import familiar
from esdfs.client.patience import SupersededError, Watch, patient_pools
from esdfs.client.retry import Next, Persistence
from esdfs.env import Clock, Rng
from esdfs.errors import (
    DeadlineExceeded,
    EsdfsError,
    InvalidRequest,
    NotLeader,
    OutcomeUnknown,
    Retry,
    Unavailable,
    Unreachable,
    from_code,
)

T = TypeVar("T")

TIMEOUT_S: Final = 30.0
CONNECT_BUDGET_S: Final = 3.0
"""How long to look for a cluster that has never answered."""

_CONNECT_TIMEOUT_S: Final = 1.0
_ATTEMPT_TIMEOUT_S: Final = 5.0
_HOPS_MAX: Final = 4
_READS: Final = frozenset({"GET", "HEAD"})


class Reply(NamedTuple):
    """An answer.

    Attributes:
        txid: At which it was made.
        body: As it came.
    """

    status: int
    txid: int
    body: bytes


class _Problem(msgspec.Struct):
    code: str = "unknown"
    detail: str = ""
    retry: str = Retry.NEVER.value


class Control:
    """One client of a cluster's control plane, for any number of threads. May be forked.

    Args:
        urls: Of NameNodes; any one that answers is enough to find the leader.
        token: Sent as a bearer token.
        user: Who claims to ask.
        timeout_s: For each call with all its retries.
        connect_budget_s: For finding the first node that answers at all.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        token: str | None,
        user: str,
        clock: Clock,
        rng: Rng,
        timeout_s: float = TIMEOUT_S,
        connect_budget_s: float = CONNECT_BUDGET_S,
    ) -> None:
        self.urls = [checked_url(url) for url in urls]
        if not self.urls:
            raise InvalidRequest("no NameNode given: pass url=, --url or set ESDFS_URL")
        self.timeout_s = timeout_s
        self._connect_budget_s = connect_budget_s
        self._clock = clock
        self._rng = rng
        self._persistence = Persistence()
        self._headers = {"Esdfs-User": user if user.isascii() else quote(user), "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._watch = Watch(lambda: tuple(self.urls), self._headers, clock)
        self._preferred = self.urls[0]
        self._answered = False
        self._lock = threading.Lock()
        self._pid = -1
        self._pool: urllib3.PoolManager | None = None
        self._client_id = ""
        self._seq = itertools.count(1)

    # --- calls --------------------------------------------------------------------------------

    def get(self, path: str, kind: type[T], /, **query: str | int | None) -> T:
        """Read; ``query`` leaves out what is None."""
        return self._decode(self.call("GET", path, query=query), kind)

    def get_patiently(self, path: str, kind: type[T], /, **query: str | int | None) -> T:
        """As `get`, of what takes one node long: it may use all the time there is."""
        return self._decode(self.call("GET", path, query=query, attempt_timeout_s=self.timeout_s), kind)

    def get_at(self, path: str, kind: type[T], /, **query: str | int | None) -> tuple[T, int]:
        """As `get`, with the txid that the answer was made at."""
        reply = self.call("GET", path, query=query)
        return self._decode(reply, kind), reply.txid

    def change(
        self, method: str, path: str, kind: type[T], body: Mapping[str, object] | None = None, /, **query: str
    ) -> T:
        """Change something, exactly once, however often it has to be sent.

        Raises:
            EsdfsError: The refusal; `OutcomeUnknown` or `DeadlineExceeded` when nobody could say in time
                whether it happened.
        """
        data = None if body is None else msgspec.json.encode(body)
        return self._decode(self.call(method, path, query=query, body=data, key=self._next_key()), kind)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: bytes | None = None,
        key: str | None = None,
        attempt_timeout_s: float = _ATTEMPT_TIMEOUT_S,
    ) -> Reply:
        """Send one request until somebody answers it for good.

        Args:
            method: GET is always repeatable; others are under an idempotency ``key``.
            path: Not yet percent-encoded.
            query: Values that are None are left out.
            body: JSON.
            key: The idempotency key, the same for every attempt.
            attempt_timeout_s: How long one node may take.

        Raises:
            EsdfsError: A refusal, of a class that is an ``OSError`` where Python has a name for it.
        """
        target = quote(path, safe="/") + _query(query)
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        is_repeatable = method in _READS or key is not None
        began_ns = self._clock.monotonic_ns()
        url, attempt, hops = self._preferred, 0, 0
        silent: set[str] = set()  # who failed this call: a hint that leads back there comes from before that
        while True:
            left_s = self.timeout_s - self._since_s(began_ns)
            try:
                reply = self._attempt(
                    url,
                    method,
                    target,
                    headers,
                    body,
                    min(attempt_timeout_s, max(left_s, 0.05)),
                    is_repeatable=is_repeatable,
                )
            except _Moved as moved:
                error: EsdfsError = moved.error
                hops += 1
                if isinstance(error, OutcomeUnknown):
                    silent.add(url)
                if moved.url not in silent and hops <= _HOPS_MAX:
                    url = self._move_to(moved.url)
                    continue
                # Somebody may live there again by the time the others were asked.
                silent.discard(moved.url)
                what = Next.ELSEWHERE
            except EsdfsError as refused:
                error = refused
                if isinstance(error, Unreachable | DeadlineExceeded | OutcomeUnknown):
                    silent.add(url)
                what = retry.after(
                    error,
                    repeatable=is_repeatable,
                    elapsed_s=self._since_s(began_ns),
                    timeout_s=self._patience_s(error),
                )
            else:
                self._preferred, self._answered = url, True
                return reply
            if what is Next.RAISE or self._since_s(began_ns) >= self.timeout_s:
                raise familiar(self._described(error)) from error
            if what is Next.ELSEWHERE:
                url = self._following(url)
            hops = 0
            # The first round through all nodes is for finding one that answers, not for waiting.
            if attempt + 1 >= len(self.urls) or what is Next.HERE:
                delay_s = self._persistence.delay_s(self._since_s(began_ns), self._rng)
                self._clock.sleep(min(delay_s, max(left_s, 0.0)))
            attempt += 1

    # --- one attempt --------------------------------------------------------------------------

    def _attempt(
        self,
        url: str,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_s: float,
        *,
        is_repeatable: bool,
    ) -> Reply:
        connect_s = min(_CONNECT_TIMEOUT_S, timeout_s)
        try:
            response = self._pooled().request(
                method,
                url + target,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=connect_s, read=timeout_s),
                retries=False,
                redirect=False,
            )
        except SupersededError as by:
            later = OutcomeUnknown(f"{url} does not answer, and {by.url} leads now")
            raise (_Moved(by.url, later) if is_repeatable else later) from by
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise Unreachable(f"no NameNode answers at {url}") from error
        except NoAnswerInTime as error:
            raise DeadlineExceeded(f"{url} did not answer in {timeout_s:.0f} s") from error
        except HTTPError as error:
            # The connection broke while we waited: it may have happened.
            raise OutcomeUnknown(f"{url} hung up before it answered: {error}") from error
        self._watch.answered(url, int(response.headers.get("Esdfs-Epoch") or 0))
        if response.status < 300 or response.status == 304:
            return Reply(response.status, int(response.headers.get("Esdfs-Txid") or 0), response.data)
        problem = _problem(url, response.status, response.data)
        location = response.headers.get("Location") or str(problem.details.get("leader", ""))
        if location.startswith("http") and (response.status == 307 or isinstance(problem, NotLeader)):
            parts = urlsplit(location)
            raise _Moved(f"{parts.scheme}://{parts.netloc}", problem)
        raise problem

    def _pooled(self) -> urllib3.PoolManager:
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    # A child of a fork must share neither sockets nor request numbers with its parent.
                    self._pool = urllib3.PoolManager(num_pools=16, maxsize=128)
                    self._pool.pool_classes_by_scheme = patient_pools(self._watch)
                    self._client_id = self._rng.uuid()
                    self._seq = itertools.count(1)
                    self._pid = os.getpid()
        assert self._pool is not None
        return self._pool

    def _next_key(self) -> str:
        self._pooled()
        return f"{self._client_id}/{next(self._seq)}"

    def new_uuid(self) -> str:
        """A name nobody else uses, for leases."""
        return self._rng.uuid()

    # --- which node ---------------------------------------------------------------------------

    def _following(self, url: str) -> str:
        at = self.urls.index(url) if url in self.urls else -1
        self._preferred = self.urls[(at + 1) % len(self.urls)]
        return self._preferred

    def _move_to(self, url: str) -> str:
        with self._lock:
            if url not in self.urls:
                self.urls.append(url)
        self._preferred, self._answered = url, True
        return url

    # --- when to stop -------------------------------------------------------------------------

    def _since_s(self, began_ns: int) -> float:
        return (self._clock.monotonic_ns() - began_ns) / 1e9

    def _patience_s(self, error: EsdfsError) -> float:
        if isinstance(error, Unreachable) and not self._answered:
            return min(self.timeout_s, self._connect_budget_s)
        return self.timeout_s

    def _described(self, error: EsdfsError) -> EsdfsError:
        if isinstance(error, Unreachable) and len(self.urls) > 1:
            return Unreachable(f"no NameNode answers at {', '.join(self.urls)}")
        return error

    def _decode(self, reply: Reply, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(reply.body, type=kind)
        except msgspec.DecodeError as error:
            raise InvalidRequest(
                f"{self._preferred} answers, but not as a NameNode does ({error}): check the URL"
            ) from error

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            if self._pool is not None and self._pid == os.getpid():
                self._pool.clear()
            self._watch.close()


class _Moved(Exception):
    """No failure: the leader is elsewhere."""

    def __init__(self, url: str, error: EsdfsError) -> None:
        super().__init__(url)
        self.url = url
        self.error = error


def checked_url(url: str) -> str:
    """``url`` without a trailing slash; ``host:port`` means HTTP.

    Raises:
        InvalidRequest: It is none.
    """
    full = url.strip()
    parts = urlsplit(full.replace("esdfs://", "http://", 1) if "://" in full else f"http://{full}")
    try:
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number
        good = False
    if not good:
        raise InvalidRequest(f"not a NameNode's URL: {url!r}; it looks like http://host:port")
    return parts.geturl().rstrip("/")


def split_urls(urls: str) -> list[str]:
    """The URLs of a comma-separated list."""
    return [url for url in (part.strip() for part in urls.split(",")) if url]


def _query(query: Mapping[str, str | int | None] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"?{urlencode(given, quote_via=quote)}" if given else ""


def _problem(url: str, status: int, body: bytes) -> EsdfsError:
    try:
        fields: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        known = msgspec.convert(fields, _Problem)
    except (msgspec.DecodeError, msgspec.ValidationError):
        if status >= 500:
            return Unavailable(f"{url} answered {status}")
        return InvalidRequest(f"{url} answered {status}, but not as a NameNode does: check the URL")
    details = {
        name: value
        for name, value in fields.items()
        if name not in {"type", "title", "status", "detail", "code", "retry"}
        and isinstance(value, str | int | list)
    }
    return from_code(known.code, known.detail or f"{url} answered {status}", details)
