"""`journal tail` and `journal cursor`: the journal as it grows, and who reads it."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from esdfs.cli import session
from esdfs.cli.completion import remote_paths
from esdfs.cli.output import Output
from esdfs.cli.session import Json, Session
from esdfs.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from esdfs.client.changes import Changed, Page

cursors = typer.Typer(no_args_is_help=True, help="Named readers of the journal.")

_TAIL: Final = 10
_SKIPPED_MAX: Final = 500
"""Records that did not match, after which a cursor is moved on all the same: it would hold them else."""
Name = Annotated[str, typer.Argument(help="The reader's name.")]


def tail(
    ctx: typer.Context,
    *,
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=0, max=1000, help="How many, to begin with.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as records are written.")] = False,
    path: Annotated[
        str | None,
        typer.Option("--path", help="Only what matters to it and to all below.", autocompletion=remote_paths),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only of this kind; may be repeated.")
    ] = None,
    since: Annotated[int | None, typer.Option("--from", min=1, help="The first txid.")] = None,
    cursor: Annotated[
        str | None,
        typer.Option("--cursor", help="Go on after what this reader has had, and note what was printed."),
    ] = None,
    heartbeats: Annotated[
        bool, typer.Option("--heartbeats", help="With --json: a line with the head when nothing happened.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The newest records, or those from a txid or a cursor on; with -f for ever, whoever leads."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    if heartbeats and not out.as_json:
        raise InvalidRequest("--heartbeats is for --json; on a terminal they are shown anyway")
    if cursor is not None and (since is not None or count is not None):
        raise InvalidRequest("--cursor says where to begin: leave --from and --count away")
    first = _first(here, cursor, since, _TAIL if count is None else count)
    feed = here.client.feed(first, here.resolve(path) if path else None, kind or ())
    beating = not here.quiet and sys.stderr.isatty()
    noted = first
    for page in feed.pages(follow=follow):
        show(out, page)
        if not page.records and heartbeats:
            out.json({"heartbeat": page.head})
        out.flush()
        if beating and follow:
            sys.stderr.write(f"\rhead {page.head}\x1b[K\r")
            sys.stderr.flush()
        if cursor is not None and (page.records or page.next - noted > _SKIPPED_MAX):
            here.client.move_cursor(cursor, page.next - 1)
            noted = page.next


def _first(here: Session, cursor: str | None, since: int | None, count: int) -> int:
    head = here.client.control.get("/cursors", dict[str, Any])
    newest = max(int(head["oldest"]), int(head["head"]) - count + 1)
    if cursor is None:
        return newest if since is None else since
    for known in head["cursors"]:
        if known["name"] == cursor:
            return int(known["txid"]) + 1
    # From the newest record on; a cursor that begins earlier is made by `journal cursor set`.
    here.client.move_cursor(cursor, int(head["head"]))
    return int(head["head"]) + 1


def show(out: Output, page: "Page") -> None:
    """The records of a page: whole with ``--json``, else a line for each thing that changed."""
    if out.as_json:
        for record in page.records:
            out.json(record)
        return
    rows = [
        (str(record.txid), record.ts[:19].replace("T", " "), record.principal or "-", what.kind, _where(what))
        for record in page.records
        for what in record.changes
    ]
    out.table(rows, right=(0,))


def _where(what: "Changed") -> str:
    if what.path is None and what.old_path is None:
        return ", ".join(f"{name} {field.new}" for name, field in what.fields.items() if field.new)
    shown = what.path or what.old_path or ""
    if what.path and what.old_path and what.path != what.old_path:
        shown = f"{what.old_path} -> {what.path}"
    return shown + ("/" if what.type == "directory" and shown != "/" else "")


# --- cursors --------------------------------------------------------------------------------------


@cursors.command("list")
def cursor_list(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Who reads the journal under a name, and how far each is."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    for cursor in here.client.control.get("/cursors", dict[str, Any])["cursors"]:
        if out.as_json:
            out.json(cursor)
        else:
            out.line(told_of(cursor))


@cursors.command("set")
def cursor_set(
    ctx: typer.Context,
    name: Name,
    txid: Annotated[int, typer.Argument(min=0, help="Everything up to there is dealt with.")],
    *,
    reset: Annotated[bool, typer.Option("--reset", help="Also back.")] = False,
    as_json: Json = False,
) -> None:
    """Say how far a reader is; makes the cursor when there is none."""
    here = session.of(ctx)
    moved = here.client.move_cursor(name, txid, reset=reset)
    out = here.output(as_json=as_json)
    if moved.pending_txid > txid and not reset:
        raise InvalidRequest(f"cursor {name} is at {moved.pending_txid} already: go back with --reset")
    out.done(moved)


@cursors.command("drop")
def cursor_drop(ctx: typer.Context, name: Name, *, as_json: Json = False) -> None:
    """Forget a reader."""
    here = session.of(ctx)
    try:
        here.client.drop_cursor(name)
    except NotFound as error:
        raise NotFound(f"no cursor is named {name}: `esdfs journal cursor list` shows them") from error
    here.output(as_json=as_json).done({"name": name})


def told_of(cursor: dict[str, Any]) -> str:
    """A cursor in a line."""
    warning = {
        "compacted": "; WHAT COMES NEXT WAS REMOVED: read the tree as it is, then set the cursor anew",
        "late": "; WHAT COMES NEXT WILL SOON BE REMOVED",
    }.get(cursor["state"], "")
    return f"cursor {cursor['name']}: at {cursor['txid']}, {cursor['lag']} records behind{warning}"
