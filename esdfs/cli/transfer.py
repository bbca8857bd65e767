"""`put`, `get`, `cat`: bytes in and out. Sources and targets follow `cp`; ``-`` is stdin and stdout."""

import os
import posixpath
import sys
from pathlib import Path
from typing import Annotated, Final, TypedDict

import typer
from msgspec.structs import replace

from esdfs.cli import session
from esdfs.cli.globs import expand
from esdfs.cli.session import AsOf, Json, RemotePaths, Session
from esdfs.cli.sizes import parse_size
from esdfs.errors import IsADirectory, NotADirectory, NotFound

_STREAM: Final = "-"


class _Options(TypedDict):
    overwrite: bool
    parents: bool
    replication: int
    block_size_bytes: int
    compress: str


Force = Annotated[bool, typer.Option("-f", "--force", help="Replace what is there.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Directories with all below them.")]


def put(
    ctx: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(help="Local files (- is stdin), then where to in the cluster.")
    ],
    *,
    recursive: Recursive = False,
    force: Force = False,
    parents: Annotated[bool, typer.Option("-p", "--parents", help="Make missing directories.")] = False,
    replication: Annotated[int, typer.Option(help="Copies; 0 = the cluster's default.")] = 0,
    block_size: Annotated[str, typer.Option(help="Like 64M; 0 = the cluster's default.")] = "0",
    compress: Annotated[str, typer.Option(help="never, auto or always.")] = "never",
    as_json: Json = False,
) -> None:
    """Store local files."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    sources, given = (paths[:-1], paths[-1]) if len(paths) > 1 else (paths, ".")
    target = here.resolve(given)
    below = _is_directory(here, target)
    if not below and (len(sources) > 1 or given.endswith("/")):
        raise NotADirectory(f"{target} is no directory in the cluster: make it with esdfs mkdir", path=target)
    options: _Options = {
        "overwrite": force,
        "parents": parents,
        "replication": replication,
        "block_size_bytes": parse_size(block_size),
        "compress": compress,
    }
    for source in sources:
        if source == _STREAM:
            out.done(here.client.put_stream(sys.stdin.buffer, target, **options))
            continue
        name = posixpath.basename(source.rstrip("/"))
        # `cp -r . dir` and `cp -r tree/. dir` copy what is in it.
        path = posixpath.join(target, name) if below and name not in {"", ".", ".."} else target
        if Path(source).is_dir():
            if not recursive:
                raise IsADirectory(f"{source} is a directory: put it with -r")
            with here.progress(source, None) as progress:
                copied = here.client.put_tree(source, path, progress=progress, **options)
            out.done({"path": path, **copied._asdict()})
            continue
        with here.progress(source, Path(source).stat().st_size) as progress:
            out.done(here.client.put_file(source, path, progress=progress, **options))


def get(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="In the cluster, then where to here (- is stdout).")],
    *,
    recursive: Recursive = False,
    force: Force = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Fetch files."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    given, target = (paths[:-1], paths[-1]) if len(paths) > 1 else (paths, ".")
    sources = expand(here, given, as_of)
    if target == _STREAM:
        for source in sources:
            _write_out(here, source, as_of)
        return
    local = Path(target)
    if not local.is_dir() and (len(sources) > 1 or target.endswith("/")):
        raise NotADirectory(f"{target} is no local directory: make it first")
    for source in sources:
        status = here.client.stat(source, as_of=as_of)
        path = local / status.name if local.is_dir() and status.name else local
        if not status.is_directory:
            with here.progress(status.path, status.size_bytes) as progress:
                got = here.client.get_file(source, path, overwrite=force, as_of=as_of, progress=progress)
            out.done(replace(got, located=None))
            continue
        if not recursive:
            raise IsADirectory(f"{status.path} is a directory: get it with -r", path=status.path)
        with here.progress(status.path, None) as progress:
            copied = here.client.get_tree(source, path, overwrite=force, as_of=as_of, progress=progress)
        out.done({"path": source, **copied._asdict()})


def cat(ctx: typer.Context, paths: RemotePaths, *, as_of: AsOf = None) -> None:
    """Write files to stdout."""
    here = session.of(ctx)
    for path in expand(here, paths, as_of):
        _write_out(here, path, as_of)


def _write_out(here: Session, path: str, as_of: str | None) -> None:
    sys.stdout.flush()
    out = sys.stdout.buffer
    for piece in here.client.read_pieces(path, as_of=as_of):
        out.write(piece)
    out.flush()


def _is_directory(here: Session, path: str) -> bool:
    try:
        return here.client.stat(path).is_directory
    except NotFound:
        return False


assert os.sep == "/", "local and remote names are cut at the same character"
