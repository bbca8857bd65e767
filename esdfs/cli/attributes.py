"""`touch`, `chmod`, `chown`, `setrep`: what is recorded about files."""

import re
from collections.abc import Iterator
from typing import Annotated, Final

import typer

from esdfs.cli import session
from esdfs.cli.globs import expand
from esdfs.cli.session import Json, RemotePaths, Session

_OCTAL: Final = re.compile("[0-7]{1,4}")

Recursive = Annotated[bool, typer.Option("-R", "--recursive", help="All below, too.")]


def touch(ctx: typer.Context, paths: RemotePaths, *, as_json: Json = False) -> None:
    """Make empty files, or set the time of what is there to now."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for path in paths:
        out.done(here.client.touch(here.resolve(path)))


def chmod(
    ctx: typer.Context,
    mode: Annotated[str, typer.Argument(help="Octal, like 0644.")],
    paths: RemotePaths,
    *,
    recursive: Recursive = False,
    as_json: Json = False,
) -> None:
    """Set permission bits. They are recorded, not enforced."""
    if not _OCTAL.fullmatch(mode):
        raise typer.BadParameter(f"{mode} is not an octal mode like 0644")
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for path in _each(here, paths, recursive=recursive):
        out.done(here.client.set_attributes(path, mode=int(mode, 8)))


def chown(
    ctx: typer.Context,
    owner: Annotated[str, typer.Argument(help="OWNER, OWNER:GROUP or :GROUP.")],
    paths: RemotePaths,
    *,
    recursive: Recursive = False,
    as_json: Json = False,
) -> None:
    """Set owner and group. They are recorded, not enforced."""
    user, _, group = owner.partition(":")
    if not user and not group:
        raise typer.BadParameter("give OWNER, OWNER:GROUP or :GROUP")
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for path in _each(here, paths, recursive=recursive):
        out.done(here.client.set_attributes(path, owner=user or None, group=group or None))


def setrep(
    ctx: typer.Context,
    copies: Annotated[int, typer.Argument(min=1, max=512, help="How many.")],
    paths: RemotePaths,
    *,
    as_json: Json = False,
) -> None:
    """Set how many copies of its blocks a file has; below directories, of every file."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for path in expand(here, paths):
        for file in _files(here, path):
            out.done(here.client.set_attributes(file, replication=copies))


def _each(here: Session, paths: list[str], *, recursive: bool) -> Iterator[str]:
    for path in expand(here, paths):
        yield path
        if recursive and here.client.stat(path).is_directory:
            for _, directories, files in here.client.walk(path):
                yield from (entry.path for entry in [*directories, *files])


def _files(here: Session, path: str) -> Iterator[str]:
    if not here.client.stat(path).is_directory:
        yield path
        return
    for _, _, files in here.client.walk(path):
        yield from (file.path for file in files)
