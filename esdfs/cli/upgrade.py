"""`esdfs upgrade`: where a rolling upgrade stands, and its end."""

from typing import Any, Final

import typer

from esdfs.cli import session
from esdfs.cli.output import Output
from esdfs.cli.session import Json

upgrade = typer.Typer(no_args_is_help=True, help="Where a rolling upgrade stands, and its end.")

_PATH: Final = "/quorum/feature-level"


@upgrade.command()
def status(ctx: typer.Context, *, as_json: Json = False) -> None:
    """The cluster's feature level, what each node reads, and which one holds it back."""
    here = session.of(ctx)
    _print(here.output(as_json=as_json), here.client.control.get(_PATH, dict[str, Any]))


@upgrade.command()
def finalize(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Raise the feature level once every node is upgraded. There is no way back."""
    here = session.of(ctx)
    _print(here.output(as_json=as_json), here.client.control.change("POST", _PATH, dict[str, Any]))


def _print(out: Output, told: dict[str, Any]) -> None:
    if out.as_json:
        out.json(told)
        return
    out.table(
        [
            ("NODE", "KIND", "READS", "HOLDS THE LEVEL BACK"),
            *((n["node_id"], n["kind"], _reads(n), n["holds_back"] or "-") for n in told["nodes"]),
        ]
    )
    level, goal = told["level"], told["next"]
    if goal == level:
        out.line(f"feature level {level}, the newest that these nodes know")
    elif any(node["holds_back"] for node in told["nodes"]):
        out.line(f"feature level {level}; {goal} when no node holds it back")
    else:
        out.line(f"feature level {level}; every node reads {goal}: run `esdfs upgrade finalize`")


def _reads(node: dict[str, Any]) -> str:
    return f"{node['oldest']} to {node['newest']}" if node["newest"] else "unknown"
