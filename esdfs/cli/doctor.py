"""`esdfs doctor`: what is wrong here, and what to do about it."""

import sqlite3
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple

import typer

from esdfs.cli import session
from esdfs.cli.conditions import alarm_lines, alarmed, of_datanodes
from esdfs.cli.session import Json, Session
from esdfs.cli.survival import planned, present, survives
from esdfs.errors import EsdfsError, InvalidRequest, Unavailable

OK: Final = "ok"
WARN: Final = "warning"
FAIL: Final = "problem"

_SQLITE_FIXED: Final = (3, 51, 3)
_PROBE_TIMEOUT_S: Final = 3.0


class Verdict(NamedTuple):
    """One line of the report."""

    verdict: str
    what: str
    text: str


def doctor(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Check this machine and the cluster; fails when there is a problem."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    problems = 0
    for verdict in [*environment(), *_cluster(here)]:
        problems += verdict.verdict == FAIL
        if out.as_json:
            out.json(verdict._asdict())
        else:
            out.line(f"{verdict.verdict:<8} {verdict.what}: {verdict.text}")
    if problems:
        raise Unavailable(f"{problems} {'problem' if problems == 1 else 'problems'}: see above")


def environment() -> Iterator[Verdict]:
    """This Python and its libraries."""
    from esdfs import checksum  # noqa: PLC0415 - only to ask it

    yield Verdict(OK, "python", sys.version.split()[0])
    how = checksum.implementation()
    if how.startswith("crc32c"):
        yield Verdict(OK if how == "crc32c-hw" else WARN, "checksums", how)
    else:
        yield Verdict(WARN, "checksums", f"{how}: slow; install the crc32c package")
    try:
        yield Verdict(OK, "compression", f"brotli {version('brotli')}")
    except PackageNotFoundError:
        yield Verdict(FAIL, "compression", "brotli is missing: compressed files cannot be read; install it")
    text = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < _SQLITE_FIXED:
        text += ": before 3.51.3 only one connection may checkpoint the write-ahead log; esdfs holds to that"
    yield Verdict(OK, "sqlite", text)


def _cluster(here: Session) -> Iterator[Verdict]:
    from esdfs.client import DFSClient  # noqa: PLC0415 - only commands that need it load HTTP
    from esdfs.client.control import split_urls  # noqa: PLC0415 - as above

    settings = here.settings()
    urls = split_urls(settings.get("url", ""))
    if not urls:
        yield Verdict(WARN, "cluster", "none given: --url, ESDFS_URL or a profile")
        return
    told: dict[str, Any] | None = None
    nodes: list[dict[str, Any]] = []
    quorum: dict[str, Any] = {}
    for url in urls:
        try:
            with DFSClient(
                url, settings.get("token"), timeout=_PROBE_TIMEOUT_S, connect_timeout=1.0
            ) as client:
                told = client.control.get("/cluster", dict[str, Any])
                nodes = client.control.get("/datanodes", dict[str, Any])["datanodes"]
                if told["role"] == "leader":
                    quorum = client.control.get("/quorum", dict[str, Any])
        except EsdfsError as error:
            yield Verdict(FAIL, url, error.message)
        else:
            yield Verdict(OK, url, f"{told['node_id']} is {told['role']} at txid {told['last_txid']}")
    if told is not None:
        yield from health(told)
    yield from datanodes(nodes)
    yield from votes(quorum)


def votes(quorum: dict[str, Any]) -> Iterator[Verdict]:
    """What the leader's `GET /quorum` means; nothing when it is empty. Pure."""
    if quorum and len(quorum["voters"]) > 1:
        down = [voter["node_id"] for voter in quorum["voters"] if not voter["up"]]
        text = present(quorum["up"], len(quorum["voters"]), quorum["survives"])
        yield Verdict(WARN if down else OK, "voters", text + (f"; down: {', '.join(down)}" if down else ""))
        for observer in quorum["observers"]:
            yield Verdict(OK, "observer", f"{observer['node_id']} lacks {observer['lag_records']} records")


def datanodes(rows: list[dict[str, Any]]) -> Iterator[Verdict]:
    """What `GET /datanodes` means: those that are not simply in service. Pure."""
    for node_id, about, troubles in of_datanodes(rows):
        yield Verdict(WARN if troubles else OK, node_id, about)


def health(told: dict[str, Any]) -> Iterator[Verdict]:
    """What `GET /cluster` means. Pure."""
    if not isinstance(told.get("blocks"), dict):
        raise InvalidRequest("what answers there is no NameNode: check the URL")
    voting = [node for node in told["namenodes"] if node.get("kind") != "observer"]
    witnesses = sum(node.get("kind") == "witness" for node in voting)
    text = planned(len(voting) - witnesses, witnesses)
    if not told["leader"]:
        yield Verdict(FAIL, "leader", "none: nothing can be changed")
    yield Verdict(OK if survives(len(voting) - witnesses, witnesses) else WARN, "failover", text)
    states = told["datanodes"]
    active, wanted, least = states.get("ACTIVE", 0), told["replication"], told["min_replication"]
    if active < least:
        yield Verdict(
            FAIL, "datanodes", f"{active} active, {least} needed: nothing can be written; start more"
        )
    elif active < wanted:
        yield Verdict(WARN, "datanodes", f"{active} active for {wanted} copies: files are under-replicated")
    elif active == wanted:
        yield Verdict(WARN, "datanodes", f"{active} active for {wanted} copies: losing one stops the healing")
    else:
        yield Verdict(OK, "datanodes", f"{active} active for {wanted} copies")
    if dead := states.get("DEAD", 0):
        yield Verdict(WARN, "datanodes", f"{dead} dead: bring them back or leave the cluster to heal")
    blocks = told["blocks"]
    for name in ("missing", "corrupt"):
        if blocks.get(name):
            yield Verdict(FAIL, "blocks", f"{blocks[name]} {name}: see esdfs fsck")
    if blocks.get("under_replicated"):
        yield Verdict(WARN, "blocks", f"{blocks['under_replicated']} with too few copies: being copied")
    if alarms := told.get("alarm_count", 0):
        first = next(alarm_lines(told["alarms"], alarms))
        yield Verdict(FAIL, "replicas", f"{alarmed(alarms)}. The first: {first}")
    if told["safe_mode"]:
        yield Verdict(WARN, "state", "safe mode: waiting for block reports")
    elif why := told.get("copying_stopped"):
        yield Verdict(FAIL, "state", f"nothing is copied: {why}")
    if told.get("read_only"):
        yield Verdict(FAIL, "state", "read-only: the NameNode's disk is nearly full")
    capacity, available = told["capacity_bytes"], told["available_bytes"]
    if capacity and available * 10 < capacity:
        yield Verdict(WARN, "space", f"{available * 100 // capacity} % left: add DataNodes or remove files")
