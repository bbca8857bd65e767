"""`esdfs balance`: even out how full DataNodes are."""

import sys
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from esdfs.cli import session
from esdfs.cli.output import Output, human_size
from esdfs.cli.session import Json, Session
from esdfs.cli.sizes import parse_size
from esdfs.env_os import OsClock
from esdfs.errors import Unavailable

_PATH: Final = "/balance"
_LOOK_S: Final = 0.5
_SAY_EVERY: Final = 10
"""Looks, where no progress bar shows."""


def balance(
    ctx: typer.Context,
    *,
    threshold: Annotated[
        float, typer.Option(min=0.1, max=99, help="Percent of capacity that no DataNode is further off by.")
    ] = 10.0,
    bandwidth: Annotated[
        str | None,
        typer.Option(help="Each DataNode sends at most so much a second (20M); default: as configured."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it is done.")] = True,
    status: Annotated[bool, typer.Option("--status", help="Begin nothing: say how it stands.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Move no further blocks.")] = False,
    as_json: Json = False,
) -> None:
    """Move blocks from full DataNodes to empty ones until all are filled evenly; show how far it is.

    It goes on without this command: interrupt it, and look again with --status. It ends when another NameNode
    begins to lead; a command that still waits then asks the new one.
    """
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    control = here.client.control
    if status or stop:
        _show(
            out,
            control.change("DELETE", _PATH, dict[str, Any]) if stop else control.get(_PATH, dict[str, Any]),
        )
        return
    body: dict[str, object] = {"threshold": threshold / 100}
    if bandwidth is not None:
        body["bandwidth"] = parse_size(bandwidth)
    told = control.change("POST", _PATH, dict[str, Any], body)
    if not wait:
        _show(out, told)
        return
    try:
        told = _follow(here, out, told, body)
    except KeyboardInterrupt:
        sys.stderr.write("esdfs balance: it goes on: --status shows how far it is, --stop ends it\n")
        raise typer.Exit(130) from None
    if told["state"] != "balanced":
        raise Unavailable(f"not balanced, {_distance(told)}: {told['why']}")
    _show(out, told)


def _follow(here: Session, out: Output, told: dict[str, Any], body: dict[str, object]) -> dict[str, Any]:
    clock = OsClock()
    with here.progress("balancing", told["moved_bytes"] + told["to_go_bytes"]) as advance:
        looks = shown = 0
        while True:
            if told["state"] == "off":
                told = here.client.control.change("POST", _PATH, dict[str, Any], body)
                sys.stderr.write("esdfs balance: another NameNode leads now; it was asked to go on\n")
                shown = 0
            shown = _progress(out, told, shown, advance, say=looks % _SAY_EVERY == 0 and not here.quiet)
            if told["state"] not in ("running", "off"):
                return told
            looks += 1
            clock.sleep(_LOOK_S)
            told = here.client.control.get(_PATH, dict[str, Any])


def _progress(
    out: Output, told: dict[str, Any], shown: int, advance: Callable[[int], None] | None, *, say: bool
) -> int:
    if out.as_json:
        out.json(told)
    elif advance is not None:
        advance(told["moved_bytes"] - shown)
    elif say and told["state"] == "running":
        why = f" ({told['why']})" if told["why"] else ""
        out.line(f"{_counted(told)}, {human_size(told['to_go_bytes'])} to go; {_distance(told)}{why}")
    out.flush()
    return int(told["moved_bytes"])


def _show(out: Output, told: dict[str, Any]) -> None:
    if out.as_json:
        out.json(told)
        return
    out.table(
        [
            ("NODE", "STORED", "CAPACITY", "USE", "UNDER WAY"),
            *(
                (
                    one["node_id"],
                    human_size(one["used_bytes"]),
                    human_size(one["capacity_bytes"]),
                    f"{one['use']:.1%}",
                    _signed(one["coming_bytes"]),
                )
                for one in told["datanodes"]
            ),
        ],
        right=(1, 2, 3, 4),
    )
    why = f": {told['why']}" if told["why"] else ""
    out.line(f"{told['state']}{why}; {_counted(told)}; {_distance(told)}")


def _counted(told: dict[str, Any]) -> str:
    return f"{told['moved_blocks']} blocks moved, {human_size(told['moved_bytes'])}"


def _distance(told: dict[str, Any]) -> str:
    return f"{told['spread']:.1%} off the cluster's {told['use']:.1%} at most"


def _signed(size_bytes: int) -> str:
    if not size_bytes:
        return "-"
    return f"{'+' if size_bytes > 0 else '-'}{human_size(abs(size_bytes))}"
