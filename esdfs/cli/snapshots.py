"""`esdfs snapshot`: states that stay readable, whatever the window."""

from typing import Annotated

import typer

from esdfs.cli import session
from esdfs.cli.completion import remote_paths
from esdfs.cli.session import Json

snapshot = typer.Typer(no_args_is_help=True, help="States that stay readable as @NAME, whatever the window.")

Name = Annotated[str, typer.Argument(help="Of the snapshot, without the @.")]


@snapshot.command()
def create(
    ctx: typer.Context,
    name: Name,
    path: Annotated[
        str, typer.Argument(help="What to keep, with all below it.", autocompletion=remote_paths)
    ] = "/",
    *,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="As it was: a txid, an ISO time, a duration ago (2h), or @snapshot."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Keep a state, also a past one. It costs nothing now, and what later changes replace stays stored."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    made = here.client.create_snapshot(name, here.resolve(path), as_of=as_of)
    if out.as_json:
        out.json(made)
    else:
        out.line(f"@{made.name} keeps {made.path} as of txid {made.txid}")


@snapshot.command("list")
def list_all(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Every snapshot, by name."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    found = here.client.snapshots()
    if out.as_json:
        for one in found:
            out.json(one)
        return
    rows = [("NAME", "TXID", "WHEN", "PATH")]
    rows += [(one.name, str(one.txid), (one.ts or "-")[:19].replace("T", " "), one.path) for one in found]
    out.table(rows, right=(1,))


@snapshot.command()
def delete(ctx: typer.Context, name: Name, *, as_json: Json = False) -> None:
    """Let go of a snapshot. What only it kept is forgotten soon, and for ever."""
    here = session.of(ctx)
    here.client.delete_snapshot(name)
    here.output(as_json=as_json).done({"name": name, "deleted": True})
