"""`esdfs node`: the DataNodes, and what operators want of them."""

import sys
from typing import Annotated, Any, Final

import typer

from esdfs.cli import session
from esdfs.cli.conditions import admin, health, load
from esdfs.cli.conditions import progress as describe
from esdfs.cli.durations import FORM, parse_duration
from esdfs.cli.output import human_size
from esdfs.cli.session import Json, Session
from esdfs.env_os import OsClock
from esdfs.errors import InvalidRequest, NotFound, PreconditionFailed

node = typer.Typer(no_args_is_help=True, help="Its DataNodes.")

Node = Annotated[str, typer.Argument(help="A DataNode, like dn-2: see `node list`.")]
Why = Annotated[str, typer.Option("--why", help="For those who read the journal.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return when it is journaled.")]
Force = Annotated[
    bool, typer.Option("--force", help="Even if fewer DataNodes are left than a new file needs.")
]

_POLL_S: Final = 0.5
_STALLED_NS: Final = 20_000_000_000
_ELSEWHERE_NS: Final = 5_000_000_000
_INTERRUPTED: Final = 130
_DONE: Final = {"maintenance": "may be stopped", "decommissioning": "may be switched off for good"}


@node.command("list")
def node_list(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Every DataNode as the NameNode sees it.

    OUT/IN: bytes a second. READ/STORE/FSYNC: what 99 of 100 took no longer than, of the last minute.
    """
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    nodes = _nodes(here)
    if out.as_json:
        for one in nodes:
            out.json(one)
        return
    rows = [
        (
            "NODE",
            "RACK",
            "STATUS",
            "ADMIN",
            "ADDRESS",
            "BLOCKS",
            "STORED",
            "STREAMS",
            "OUT/IN",
            "READ/STORE/FSYNC",
            "AVAILABLE",
            "CAPACITY",
            "HEALTH",
            "HEARD",
        )
    ]
    rows += [
        (
            one["node_id"],
            one["rack"],
            one["status"],
            admin(one),
            one["address"],
            str(one["blocks_stored"]),
            human_size(one["used_bytes"]),
            str(one["load"]["streams"]),
            *load(one["load"]),
            human_size(one["available_space"]),
            human_size(one["storage_capacity"]),
            health(one),
            (one["last_heartbeat"] or "never")[:19].replace("T", " "),
        )
        for one in nodes
    ]
    out.table(rows, right=(5, 6, 7, 8, 9, 10, 11))


@node.command("maintenance")
def maintenance(
    ctx: typer.Context,
    name: Node,
    *,
    length: Annotated[str, typer.Option("--for", help="How long it may be silent, like 30m.")],
    why: Why = "",
    no_wait: NoWait = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Let a DataNode be stopped for a while: its copies count, if each block has one elsewhere, too."""
    for_s = parse_duration(length)
    if not for_s:
        raise InvalidRequest(f"--for {length}: give {FORM}")
    wish = {"state": "maintenance", "for_s": for_s, "why": why, "force": force}
    _want(ctx, name, wish, wait=not no_wait, as_json=as_json)


@node.command("decommission")
def decommission(
    ctx: typer.Context,
    name: Node,
    *,
    why: Why = "",
    no_wait: NoWait = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Have everything that a DataNode holds copied elsewhere, so that it can be switched off for good."""
    wish = {"state": "decommissioning", "why": why, "force": force}
    _want(ctx, name, wish, wait=not no_wait, as_json=as_json)


@node.command("activate")
def activate(ctx: typer.Context, name: Node, *, why: Why = "", as_json: Json = False) -> None:
    """End a maintenance or a decommissioning; copies too many are deleted in time."""
    _want(ctx, name, {"state": "in-service", "why": why}, wait=False, as_json=as_json)


def _want(ctx: typer.Context, name: str, wish: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    told = here.client.control.change("POST", f"/datanodes/{name}/state", dict[str, Any], wish)
    state = wish["state"]
    if not wait:
        out.done(told)
        if not out.as_json:
            until = f" until {told['until'][:19]}Z" if told["until"] else ""
            out.line(f"{name} is {state}{until}" if state != "in-service" else f"{name} is in service")
        return
    try:
        shown = _Waiting(here, name, state).until_ready()
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\n{name} stays {state}: `esdfs node list` shows how far it is, "
            f"`esdfs node activate {name}` ends it\n"
        )
        raise typer.Exit(_INTERRUPTED) from None
    out.done(shown)
    if not out.as_json:
        out.line(f"{name} {_DONE[state]}")


class _Waiting:
    """Looks at a DataNode until it is ready, and shows how far it is."""

    def __init__(self, here: Session, name: str, state: str) -> None:
        self._here = here
        self._name = name
        self._state = state
        self._clock = OsClock()
        self._shows = not here.quiet and sys.stderr.isatty()

    def until_ready(self) -> dict[str, Any]:
        """The DataNode, ready.

        Raises:
            PreconditionFailed: Nobody wants that of it any more.
        """
        before, since_ns, other_ns = "", self._clock.monotonic_ns(), 0
        while True:
            one = self._look()
            now_ns = self._clock.monotonic_ns()
            progress = one["progress"]
            if progress is None or not one["admin"].startswith(self._state.removesuffix("ing")):
                # A NameNode that has just become the leader, or a follower, may be a moment behind.
                other_ns = other_ns or now_ns
                if now_ns - other_ns > _ELSEWHERE_NS:
                    raise PreconditionFailed(
                        f"{self._name} is {one['admin']} now: its deadline passed, or somebody else decided"
                    )
            elif progress["ready"]:
                self._line("")
                return one
            else:
                other_ns, text = 0, describe(progress)
                if text != before:
                    before, since_ns = text, now_ns
                stalled = now_ns - since_ns > _STALLED_NS
                copyable = (progress["blocks_left"] or 0) > progress["unreadable"]
                hint = ": is there a DataNode with room for them?" if copyable else ""
                self._line(f"{self._name}: {text}" + (f" (no progress{hint})" if stalled else ""))
            self._clock.sleep(_POLL_S)

    def _look(self) -> dict[str, Any]:
        for one in _nodes(self._here):
            if one["node_id"] == self._name:
                return one
        raise NotFound(f"{self._name} has not registered since its NameNode started: is it running?")

    def _line(self, text: str) -> None:
        if self._shows:
            sys.stderr.write(f"\r{text}\x1b[K" if text else "\r\x1b[K")
            sys.stderr.flush()


def _nodes(here: Session) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = here.client.control.get("/datanodes", dict[str, Any])["datanodes"]
    return nodes
