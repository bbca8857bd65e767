"""`find`: what fits, at and below a directory, now or then."""

import re
from fnmatch import translate
from typing import TYPE_CHECKING, Annotated

import typer

from esdfs.cli import session
from esdfs.cli.globs import expand
from esdfs.cli.session import AsOf, Json, WherePaths
from esdfs.cli.sizes import parse_size
from esdfs.errors import InvalidRequest

if TYPE_CHECKING:
    from esdfs.client import FileStatus

_TYPES = {"f": "file", "file": "file", "d": "directory", "directory": "directory"}


def find(
    ctx: typer.Context,
    paths: WherePaths = None,
    *,
    name: Annotated[str | None, typer.Option("--name", help="A pattern for the last component.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="f(ile) or d(irectory).")] = None,
    larger: Annotated[str | None, typer.Option("--larger", help="Files of more than this (1M).")] = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Paths at and below a directory that fit all that is asked for."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    if kind is not None and kind not in _TYPES:
        raise InvalidRequest(f"--type is f (file) or d (directory), not {kind}")
    fits = re.compile(translate(name)).match if name is not None else None
    more_than = parse_size(larger) if larger is not None else None

    def wanted(entry: "FileStatus") -> bool:
        return (
            (fits is None or fits(entry.name) is not None)
            and (kind is None or entry.type == _TYPES[kind])
            and (more_than is None or (not entry.is_directory and entry.size_bytes > more_than))
        )

    for path in expand(here, paths or ["."], as_of):
        top = here.client.stat(path, as_of=as_of)
        found = [top] if wanted(top) else []
        if top.is_directory:
            for _, directories, files in here.client.walk(path, as_of=as_of):
                found += [entry for entry in (*directories, *files) if wanted(entry)]
        for entry in sorted(found, key=lambda entry: entry.path):
            if out.as_json:
                out.json(entry)
            else:
                out.line(entry.path)
