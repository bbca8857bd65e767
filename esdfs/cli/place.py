"""`cd` and `pwd`: where this terminal is in the cluster."""

import os
from typing import Annotated

import typer

from esdfs.cli import cwd, session
from esdfs.cli.completion import remote_paths
from esdfs.cli.session import Json
from esdfs.client.dfs import login_name
from esdfs.errors import InvalidRequest, NotADirectory


def cd(
    ctx: typer.Context,
    path: Annotated[
        str | None,
        typer.Argument(help="- is where you were; none is /user/NAME.", autocompletion=remote_paths),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Go to a directory; this terminal remembers it."""
    here = session.of(ctx)
    if os.environ.get("ESDFS_CWD") and here.here is None:
        raise InvalidRequest("ESDFS_CWD is set and goes before cd: change or unset it")
    if path == "-":
        target = here.before if here.here is not None else cwd.current().before
    else:
        target = here.resolve(path) if path is not None else f"/user/{login_name()}"
    if not here.client.stat(target).is_directory:
        raise NotADirectory(f"{target} is no directory", path=target)
    if here.here is not None:
        here.here, here.before = target, here.here
    else:
        cwd.remember(target)
    here.output(as_json=as_json).done({"path": target})


def pwd(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Where you are."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    place = here.place()
    if out.as_json:
        out.json({"path": place})
    else:
        out.line(place)
