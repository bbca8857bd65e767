"""`ls`, `stat`, `du`, `checksum`: what is there."""

import posixpath
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from esdfs.cli import session
from esdfs.cli.globs import expand
from esdfs.cli.output import Output, human_size
from esdfs.cli.session import AsOf, Json, RemotePaths, Session, WherePaths

if TYPE_CHECKING:
    from esdfs.client import FileStatus
    from esdfs.client.values import Location

    NameOf = Callable[[FileStatus], str]

_RIGHT: Final = (1, 4)
_BITS: Final = "rwxrwxrwx"

Human = Annotated[bool, typer.Option("-h", "--human-readable", help="Sizes like 1.5M.")]


def ls(
    ctx: typer.Context,
    paths: WherePaths = None,
    *,
    long: Annotated[bool, typer.Option("-l", help="Mode, copies, owner, size, time.")] = False,
    recursive: Annotated[bool, typer.Option("-R", help="All below, too.")] = False,
    human: Human = False,
    directory: Annotated[
        bool, typer.Option("-d", help="Directories themselves, not what is in them.")
    ] = False,
    one: Annotated[bool, typer.Option("-1", help="One a line, as always.")] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """List directories and files."""
    del one
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    wanted = expand(here, paths or ["."], as_of)
    for at, path in enumerate(wanted):
        status = here.client.stat(path, as_of=as_of)
        if directory or not status.is_directory:
            _show(out, [status], name=lambda entry: entry.path, long=long, human=human)
        elif recursive:
            _show_all(here, out, path, as_of, long=long, human=human)
        else:
            if len(wanted) > 1 and not out.as_json:
                out.line(f"{'' if at == 0 else chr(10)}{path}:")
            entries = here.client.list_directory(path, as_of=as_of)
            _show(out, entries, name=lambda entry: entry.name, long=long, human=human)


def stat(ctx: typer.Context, paths: RemotePaths, *, as_of: AsOf = None, as_json: Json = False) -> None:
    """All that is known of a file or directory."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for path in expand(here, paths, as_of):
        status = here.client.stat(path, as_of=as_of)
        if out.as_json:
            out.json(status)
            continue
        located = [] if status.is_directory else here.client.blocks(path, as_of=as_of)
        fields = [
            ("path", status.path),
            ("type", status.type),
            ("file_id", status.file_id),
            ("size", f"{status.size_bytes} bytes"),
            ("modified", status.mtime),
            ("mode", status.mode),
            ("owner", f"{status.owner}:{status.group}"),
            ("txid", str(status.txid)),
        ]
        if not status.is_directory:
            fields += [
                ("replication", str(status.replication)),
                ("block size", human_size(status.block_size_bytes)),
                ("crc32c", status.crc32c),
            ]
        fields += [
            (f"block {block.block_id}", f"{block.length_bytes} bytes on {_holders(block.locations)}")
            for block in located
        ]
        out.table(fields)


def _holders(locations: "Sequence[Location]") -> str:
    return ", ".join(location.node_id for location in locations) or "no live DataNode"


def du(
    ctx: typer.Context,
    paths: WherePaths = None,
    *,
    human: Human = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Bytes of the files at and below; the second number counts every copy."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    shown = human_size if human else str
    rows = []
    for path in expand(here, paths or ["."], as_of):
        usage = here.client.du(path, as_of=as_of)
        if out.as_json:
            out.json(usage)
        else:
            rows.append((shown(usage.size_bytes), shown(usage.stored_bytes), usage.path))
    out.table(rows, right=(0, 1))


def checksum(ctx: typer.Context, paths: RemotePaths, *, as_of: AsOf = None, as_json: Json = False) -> None:
    """The CRC32C of whole files, as recorded; no bytes are read."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for path in expand(here, paths, as_of):
        status = here.client.stat(path, as_of=as_of)
        if out.as_json:
            out.json({"path": status.path, "crc32c": status.crc32c, "size_bytes": status.size_bytes})
        else:
            out.line(f"{status.crc32c or 'directory'}  {status.path}")


def _show_all(here: Session, out: Output, path: str, as_of: str | None, *, long: bool, human: bool) -> None:
    first = True
    for directory, directories, files in here.client.walk(path, as_of=as_of):
        if not out.as_json:
            out.line(f"{'' if first else chr(10)}{directory}:")
        first = False
        entries = sorted([*directories, *files], key=lambda entry: entry.name)
        _show(out, entries, name=lambda entry: posixpath.basename(entry.path), long=long, human=human)


def _show(out: Output, entries: Iterable["FileStatus"], *, name: "NameOf", long: bool, human: bool) -> None:
    if out.as_json:
        for entry in entries:
            out.json(entry)
        return
    if not long:
        for entry in entries:
            out.line(name(entry) + ("/" if entry.is_directory else ""))
        return
    out.table(
        [
            (
                _mode(entry),
                str(entry.replication or "-"),
                entry.owner,
                entry.group,
                human_size(entry.size_bytes) if human else str(entry.size_bytes),
                entry.mtime[:16].replace("T", " "),
                name(entry) + ("/" if entry.is_directory else ""),
            )
            for entry in entries
        ],
        right=_RIGHT,
    )


def _mode(entry: "FileStatus") -> str:
    bits = int(entry.mode or "0", 8)
    text = "".join(letter if bits >> (8 - at) & 1 else "-" for at, letter in enumerate(_BITS))
    return ("d" if entry.is_directory else "-") + text
