"""`esdfs namenode force-standalone` and `trust-journal`: what only an operator can vouch for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdfs.env_os import OsClock
from esdfs.errors import InvalidRequest

if TYPE_CHECKING:
    from esdfs.namenode.standalone import Situation
    from esdfs.namenode.trusting import Doubt


# Servers' modules are imported by the command that needs them: `esdfs ls` must not pay for them.

Dir = Annotated[Path, typer.Option("--dir", help="The NameNode's directory.")]


def force_standalone(
    directory: Dir,
    *,
    dead: Annotated[str, typer.Option(help="All other voters, comma-separated: nn-2,nn-3.")] = "",
    sure: Annotated[
        bool, typer.Option("--i-know-the-others-are-dead", help="Without it nothing is changed.")
    ] = False,
) -> None:
    """Go on alone, for good, when a majority of the voters is lost. Stop the node first."""
    from esdfs.namenode import standalone  # noqa: PLC0415 - see above
    from esdfs.namenode.config import load  # noqa: PLC0415 - see above
    from esdfs.namenode.directory import locked  # noqa: PLC0415 - see above

    config = load(directory.absolute())
    with locked(config.path):
        found = standalone.examine(config)
        typer.echo(_prospect(found), err=True)
        if not sure:
            raise InvalidRequest(
                "nothing was changed; repeat it with --i-know-the-others-are-dead"
                + (f" --dead {','.join(found.others)}" if found.others else "")
            )
        named = [name.strip() for name in dead.split(",") if name.strip()]
        standalone.force_standalone(config, named, OsClock())
    typer.echo(
        f"{found.node_id} is the only voter of generation {found.generation + 1}: start it, then join others"
    )


def _prospect(found: "Situation") -> str:
    """What going on alone means here."""
    if not found.others:
        return f"{found.node_id} is a cluster of one; others can join afterwards."
    lines = [
        f"{found.node_id} will lead alone with the journal it has, which ends at record {found.last.txid}.",
        (
            f"Records beyond it that {', '.join(found.others)} may have acknowledged cannot be known here"
            " and are lost for good."
        ),
        "The journals of the others can never be used again: should they come back, they refuse to run.",
    ]
    if found.lacks_records:
        lines.append(f"WARNING: {found.node_id} itself once acknowledged records its journal no longer has.")
    return "\n".join(lines)


def trust_journal(
    directory: Dir,
    *,
    complete: Annotated[
        bool, typer.Option("--i-know-it-is-complete", help="For a lost ack floor: nothing else can tell.")
    ] = False,
    accept_loss: Annotated[
        int, typer.Option(min=0, help="Give up this many acknowledged records: as many as are missing.")
    ] = 0,
) -> None:
    """Let a node whose journal cannot be shown to be complete take part again. Stop the node first."""
    from esdfs.namenode.config import load  # noqa: PLC0415 - see above
    from esdfs.namenode.directory import locked  # noqa: PLC0415 - see above
    from esdfs.namenode.trusting import examine, trust  # noqa: PLC0415 - see above

    config = load(directory.absolute())
    with locked(config.path):
        doubt = examine(config)
        typer.echo(_findings(doubt), err=True)
        if doubt.floor is None and not complete:
            raise InvalidRequest("nothing was changed; repeat it with --i-know-it-is-complete")
        if doubt.missing and not accept_loss:
            raise InvalidRequest(f"nothing was changed; repeat it with --accept-loss {doubt.missing}")
        trust(config, accept_loss=accept_loss)
    typer.echo(f"{doubt.node_id}: record {doubt.last.txid} is the last one it acknowledged")


def _findings(doubt: "Doubt") -> str:
    ends = f"The journal of {doubt.node_id} is sound and ends at record {doubt.last.txid}."
    rather = (
        "Where a majority of the other NameNodes runs, do not go on: start this node, and it fetches what"
        " it lacks."
    )
    if doubt.floor is None:
        return f"{ends} How far this node once acknowledged is not known: its ack floor is lost. {rather}"
    if doubt.missing:
        return (
            f"{ends} It once acknowledged record {doubt.floor.txid} of epoch {doubt.floor.epoch}: at least"
            f" {doubt.missing} records are missing. {rather}"
        )
    return f"{ends} Nothing that it acknowledged is missing."
