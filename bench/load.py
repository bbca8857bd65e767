"""A load generator that costs little beside what it measures: blocking sockets, one thread, prepared bytes.

A process of its own: ``python -m bench.load`` reads a `Plan` from standard input and prints a `Result`.
"""

import re
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from esdfs.namenode import commands as cmd
from esdfs.namenode import frames

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_FRAME: Final = struct.Struct(">I")


class Plan(msgspec.Struct):
    """What to send.

    Attributes:
        address: ``host:port``, or the path of a Unix socket for frames.
        callers: Connections; each has one request in flight.
        kind: ``get`` (``path`` as it is), ``make`` (POST /directories), ``makes`` (POST /transactions of
            ``batch``), or ``frames`` (the command socket; frames of ``batch`` calls).
        path: What to get, or below what to make directories.
        tag: Makes names and clients of this plan its own.
    """

    address: str
    callers: int
    seconds: float
    kind: str
    path: str
    tag: str
    batch: int = 1


class Result(msgspec.Struct):
    """What came back; ``operations`` counts commands, not requests."""

    operations: int
    requests: int
    seconds: float
    p50_us: int
    p99_us: int
    failures: int


def requests(plan: Plan, caller: int) -> Iterator[bytes]:
    """An endless stream of requests; making them is part of the cost, as it is for any client."""
    number = 0
    client = f"{plan.tag}{caller}".encode().ljust(16, b"-")[:16]
    if plan.kind == "get":
        request = f"GET {plan.path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        while True:
            yield request
    while True:
        number += 1
        names = [f"{plan.path}/{plan.tag}-{caller}-{number}-{n}" for n in range(plan.batch)]
        if plan.kind == "frames":
            calls = [
                frames.Call(
                    n, frames.Execute([cmd.MakeDirectory(name)], "bench", "", client, number * plan.batch + n)
                )
                for n, name in enumerate(names)
            ]
            yield frames.encode(calls)
            continue
        if plan.kind == "make":
            target, body = "/directories", msgspec.json.encode({"path": names[0]})
        else:
            commands = [{"kind": "make-directory", "path": name} for name in names]
            target, body = "/transactions", msgspec.json.encode({"commands": commands})
        head = f"POST {target} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Caller:
    def __init__(self, plan: Plan, number: int) -> None:
        if plan.kind == "frames":
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(plan.address)
        else:
            host, _, port = plan.address.rpartition(":")
            self.socket = socket.create_connection((host, int(port)))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests = requests(plan, number)
        self.framed = plan.kind == "frames"
        self.received = b""
        self.sent_at = 0.0
        self.answers_due = 0
        self.batch = plan.batch

    def send(self) -> None:
        self.received = b""
        self.answers_due = self.batch
        self.sent_at = time.perf_counter()
        self.socket.sendall(next(self.requests))

    def answered(self) -> bool | None:
        """Whether all went well; None while there is more to come."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.received += data
        return self._frames() if self.framed else self._response()

    def _response(self) -> bool | None:
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = _LENGTH.search(self.received, 0, end)
        if len(self.received) < end + 4 + int(length.group(1) if length else 0):
            return None
        return self.received[9:10] == b"2"

    def _frames(self) -> bool | None:
        while len(self.received) >= 4:
            (length,) = _FRAME.unpack_from(self.received)
            if len(self.received) < 4 + length:
                break
            answers = frames.decode_answers(self.received[4 : 4 + length])
            self.received = self.received[4 + length :]
            self.answers_due -= len(answers)
            if any(answer.failure for answer in answers):
                return False
        return None if self.answers_due else True


def generate(plan: Plan) -> Result:
    """Keep every caller busy for ``plan.seconds``."""
    selector = selectors.DefaultSelector()
    callers = [_Caller(plan, number) for number in range(plan.callers)]
    for caller in callers:
        selector.register(caller.socket, selectors.EVENT_READ, caller)
    times: list[float] = []
    failures = 0
    started = time.perf_counter()
    for caller in callers:
        caller.send()
    busy = len(callers)
    while busy:
        for key, _ in selector.select():
            caller = key.data
            good = caller.answered()
            if good is None:
                continue
            now = time.perf_counter()
            times.append(now - caller.sent_at)
            failures += not good
            if now - started < plan.seconds:
                caller.send()
            else:
                busy -= 1
                selector.unregister(caller.socket)
    seconds = time.perf_counter() - started
    for caller in callers:
        caller.socket.close()
    times.sort()
    return Result(
        operations=(len(times) - failures) * plan.batch,
        requests=len(times),
        seconds=seconds,
        p50_us=round(times[len(times) // 2] * 1e6),
        p99_us=round(times[len(times) * 99 // 100] * 1e6),
        failures=failures,
    )


if __name__ == "__main__":
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(generate(wanted)))
