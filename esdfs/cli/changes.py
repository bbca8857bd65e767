"""`mkdir`, `rmdir`, `rm`, `mv`, `cp`: changing the tree. No bytes move."""

import posixpath
from typing import Annotated

import typer

from esdfs.cli import session
from esdfs.cli.globs import expand
from esdfs.cli.session import Json, RemotePaths, Session
from esdfs.errors import IsADirectory, NotADirectory, NotFound

Force = Annotated[bool, typer.Option("-f", "--force", help="Replace what is there.")]


def mkdir(
    ctx: typer.Context,
    paths: RemotePaths,
    *,
    parents: Annotated[
        bool, typer.Option("-p", "--parents", help="Those above, too; an existing one is no error.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make directories."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for path in paths:
        out.done(here.client.make_directory(here.resolve(path), parents=parents))


def rmdir(ctx: typer.Context, paths: RemotePaths, *, as_json: Json = False) -> None:
    """Remove empty directories."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for path in expand(here, paths):
        here.client.remove_directory(path)
        out.done({"path": path})


def rm(
    ctx: typer.Context,
    paths: RemotePaths,
    *,
    recursive: Annotated[
        bool, typer.Option("-r", "-R", "--recursive", help="Directories with all below.")
    ] = False,
    force: Annotated[bool, typer.Option("-f", "--force", help="What is not there is no error.")] = False,
    as_json: Json = False,
) -> None:
    """Remove files. They stay in history: `esdfs restore` brings them back."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for given in paths:
        try:
            for path in expand(here, [given]):
                out.done({"path": path, "txid": _remove(here, path, recursive=recursive)})
        except NotFound:
            if not force:
                raise


def _remove(here: Session, path: str, *, recursive: bool) -> int:
    only = "" if recursive else "file"
    try:
        return here.client.transact([{"kind": "delete", "path": path, "recursive": recursive, "only": only}])
    except IsADirectory as error:
        raise IsADirectory(f"{path} is a directory: remove it with -r", path=path) from error


def mv(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="What, then where to.")],
    *,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Move or rename."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for source, target in _pairs(here, paths):
        out.done(here.client.rename(source, target, overwrite=force))


def cp(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="What, then where to.")],
    *,
    recursive: Annotated[bool, typer.Option("-r", "-R", "--recursive", help="Directories, too.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Copy within the cluster: the copies share their blocks."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for source, target in _pairs(here, paths):
        out.done(here.client.copy(source, target, overwrite=force, recursive=recursive))


def _pairs(here: Session, paths: list[str]) -> list[tuple[str, str]]:
    """(source, target) of each source, as `cp` and `mv` mean them."""
    if len(paths) < 2:
        raise typer.BadParameter("give what and where to")
    given = paths[-1]
    target = here.resolve(given)
    sources = expand(here, paths[:-1])
    try:
        below = here.client.stat(target).is_directory
    except NotFound:
        below = False
    if below:
        return [(source, posixpath.join(target, posixpath.basename(source))) for source in sources]
    if len(sources) > 1:
        raise NotADirectory(f"{target} is no directory: several things do not fit there", path=target)
    return [(sources[0], target)]
