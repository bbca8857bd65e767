"""`history`, `diff` and `restore`: what was."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace

from esdfs.cli import session
from esdfs.cli.output import Output, human_size
from esdfs.cli.session import Json, RemotePath, Session
from esdfs.client.values import FileStatus
from esdfs.errors import InvalidRequest

if TYPE_CHECKING:
    from esdfs.client.values import Difference


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
    as_of: Annotated[
        str, typer.Option("--as-of", help="A txid, an ISO time, a duration ago (2h), or @snapshot.")
    ],
    to: Annotated[str | None, typer.Option("--to", help="Where to; default: where it was.")] = None,
    no_clobber: Annotated[
        bool, typer.Option("--no-clobber", help="Refuse to replace what is there now.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would differ from what is there now.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring a file, a directory, or all of it (/) back as it was. What it replaces stays in history, too."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    target = here.resolve(to) if to else None
    if dry_run:
        if target not in {None, here.resolve(path)}:
            raise InvalidRequest("--dry-run compares with what is at the path itself: leave --to out")
        now = int(here.client.control.get("/journal/head", dict[str, Any])["last_txid"])
        _show(out, here.client.diff(now, as_of, here.resolve(path)))
        return
    status = here.client.restore(here.resolve(path), as_of, target, overwrite=not no_clobber)
    if out.as_json:
        out.json(status)
    else:
        out.line(f"{status.path} is as it was (txid {status.txid})")


def diff(
    ctx: typer.Context,
    before: Annotated[
        str, typer.Argument(metavar="T1", help="A txid, an ISO time, a duration ago (2h), or @snapshot.")
    ],
    after: Annotated[str, typer.Argument(metavar="T2", help="The same; `now` for the present.")],
    path: RemotePath = "/",
    *,
    ops: Annotated[
        bool, typer.Option("--ops", help="What was done, one after the other, instead of what came of it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What differs between two moments: Added, Modified, Deleted, Renamed."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    until = None if after == "now" else after
    if ops:
        _show_operations(here, out, before, until, here.resolve(path))
    else:
        _show(out, here.client.diff(before, until, here.resolve(path)))


def _show_operations(here: Session, out: Output, before: str, until: str | None, path: str) -> None:
    """The records after one moment up to another that matter to ``path``."""
    from esdfs.cli.journal_feed import show  # noqa: PLC0415 - without --ops not needed

    first, last = (
        here.client.control.get_at("/files", FileStatus, path="/", as_of=moment)[1]
        for moment in (before, until)
    )
    if first > last:
        raise InvalidRequest("--ops tells what was done from T1 on: name the earlier moment first")
    for page in here.client.feed(first + 1, path).pages(follow=False):
        within = [record for record in page.records if record.txid <= last]
        show(out, replace(page, records=within))
        if page.next > last:
            return


def _show(out: Output, found: "Difference") -> None:
    for change in found.changes:
        if out.as_json:
            out.json(change)
            continue
        mark = "/" if change.type == "directory" else ""
        came = f"{change.from_path}{mark} -> " if change.from_path else ""
        also = f"  ({', '.join(change.fields)})" if change.fields else ""
        out.line(f"{change.change[0].upper()}  {came}{change.path.rstrip('/')}{mark or ''}{also}")
