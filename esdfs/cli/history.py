"""`history` and `restore`: what was."""

from typing import Annotated

import typer

from esdfs.cli import session
from esdfs.cli.output import human_size
from esdfs.cli.session import Json, RemotePath


def history(
    ctx: typer.Context,
    path: RemotePath,
    *,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """Every kept version of what a path names or last named, newest first."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    versions = here.client.history(here.resolve(path), limit=limit)
    if out.as_json:
        for version in versions:
            out.json(version)
        return
    rows = [("TXID", "UNTIL", "WHEN", "EVENT", "WHO", "SIZE", "PATH")]
    rows += [
        (
            str(version.txid),
            str(version.until_txid or "now"),
            (version.ts or "-")[:19].replace("T", " "),
            version.event or "-",
            version.principal or "-",
            human_size(version.size_bytes) if version.type == "file" else "-",
            version.path,
        )
        for version in versions
    ]
    out.table(rows, right=(0, 1, 5))


def restore(
    ctx: typer.Context,
    path: RemotePath,
    *,
    as_of: Annotated[str, typer.Option("--as-of", help="A txid, an ISO time, or a duration ago (2h).")],
    to: Annotated[str | None, typer.Option("--to", help="Where to; default: where it was.")] = None,
    no_clobber: Annotated[
        bool, typer.Option("--no-clobber", help="Refuse to replace what is there now.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring a file or directory back as it was. What it replaces stays in history, too."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    target = here.resolve(to) if to else None
    status = here.client.restore(here.resolve(path), as_of, target, overwrite=not no_clobber)
    if out.as_json:
        out.json(status)
    else:
        out.line(f"{status.path} is as it was (txid {status.txid})")
