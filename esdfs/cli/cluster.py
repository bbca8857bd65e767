"""`cluster status`: how the cluster is doing."""

from typing import Any

import typer

from esdfs.cli import session
from esdfs.cli.conditions import alarm_lines, alarmed, of_datanodes
from esdfs.cli.journal_feed import told_of
from esdfs.cli.output import human_size
from esdfs.cli.session import Json

cluster = typer.Typer(no_args_is_help=True, help="The cluster as a whole.")


@cluster.command("status")
def cluster_status(ctx: typer.Context, *, as_json: Json = False) -> None:
    """The cluster at a glance."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    told = here.client.control.get("/cluster", dict[str, Any])
    if out.as_json:
        out.json(told)
        return
    blocks = told["blocks"]
    copies = f"{told['replication']} copies (at least {told['min_replication']})"
    out.table(
        [
            ("cluster", told["cluster_id"]),
            ("leader", f"{told['leader'] or 'none'} (epoch {told['epoch']})"),
            ("namenodes", ", ".join(f"{n['node_id']} {n['role']}" for n in told["namenodes"])),
            ("last txid", str(told["last_txid"])),
            ("history", _history(told.get("history") or {})),
            ("datanodes", ", ".join(f"{n} {state}" for state, n in told["datanodes"].items() if n) or "none"),
            ("blocks", ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in blocks.items())),
            (
                "space",
                f"{human_size(told['available_bytes'])} of {human_size(told['capacity_bytes'])} available",
            ),
            ("new files", f"{copies}, blocks of {human_size(told['block_size_bytes'])}"),
            ("state", _state(told)),
        ]
    )
    for node_id, about, _ in of_datanodes(here.client.control.get("/datanodes", dict[str, Any])["datanodes"]):
        out.line(f"{node_id}: {about}")
    if alarms := told.get("alarm_count", 0):
        for line in alarm_lines(told["alarms"], alarms):
            out.line(f"ALARM: {line}")
        out.line(alarmed(alarms))
    for cursor in told.get("cursors", []):
        out.line(told_of(cursor))


@cluster.command("resume-copying")
def resume_copying(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Copy blocks anew though many DataNodes were lost at once: they will not come back."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    told = here.client.control.change("POST", "/cluster/resume-copying", dict[str, Any])
    if out.as_json:
        out.json(told)
    elif told["copying_stopped"]:
        out.line(f"nothing is copied yet: {told['copying_stopped']}")
    else:
        out.line("lost copies are made anew")


def _history(told: dict[str, Any]) -> str:
    if not told:
        return "?"
    waiting = told["oldest_txid"] - told["purged_txid"]
    return (
        f"from txid {told['oldest_txid']} on, {told['snapshots']} snapshots"
        f"{f', {waiting} transactions still to be forgotten' if waiting else ''}"
    )


def _state(told: dict[str, Any]) -> str:
    if told["safe_mode"]:
        return "safe mode: waiting for block reports"
    if why := told.get("copying_stopped"):
        return f"nothing is copied: {why}"
    return "read-only" if told.get("read_only") else "normal"
