"""`journal audit`: who, when, from where, what was old and what is new."""

from typing import Annotated, Any, Final

import typer

from esdfs.cli import session
from esdfs.cli.completion import remote_paths
from esdfs.cli.output import Output
from esdfs.cli.session import Json
from esdfs.errors import InvalidRequest

_PAGE: Final = 200


def audit(
    ctx: typer.Context,
    path: Annotated[
        str | None, typer.Argument(help="Of a file or directory, now or once.", autocompletion=remote_paths)
    ] = None,
    *,
    principal: Annotated[str | None, typer.Option("--principal", help="Only by this person.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="A txid, an ISO time, or a duration ago (2h).")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Likewise.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only of this kind; may be repeated.")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Also what was below the directory at the time.")
    ] = False,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """Who did what, newest first: to a path through all its renames, by a person, of a time or a kind."""
    here = session.of(ctx)
    if path is None and recursive:
        raise InvalidRequest("-r needs a path")
    if path is None and not (principal or since or until or kind):
        raise InvalidRequest("about what? Give a path, --principal, --since, --until or --kind")
    out = here.output(as_json=as_json)
    left, after = limit, None
    while True:
        page = here.client.control.get(
            "/audit",
            dict[str, Any],
            path=None if path is None else here.resolve(path),
            principal=principal,
            since=since,
            until=until,
            kind=",".join(kind) if kind else None,
            recursive="true" if recursive else None,
            limit=min(left, _PAGE),
            after=after,
        )
        for record in page["records"]:
            _print(out, record)
        left -= len(page["records"])
        after = page["next"]
        if after is None or left <= 0:
            break
    if page["complete_from"] > 1 and not out.as_json:
        out.line(f"(records before txid {page['complete_from']} were never kept here)")


def _print(out: Output, record: dict[str, Any]) -> None:
    if out.as_json:
        out.json(record)
        return
    if "ts" not in record:
        who = "the record itself is no longer kept here"
    else:
        claimed = " (claimed)" if record["principal_is"] == "claimed" else ""
        whence = f" from {record['peer']}" if record["peer"] else ""
        asked = f", request {record['request']}" if record["request"] else ""
        who = f"{record['ts'][:23].replace('T', ' ')}  {record['principal']}{claimed}{whence}{asked}"
    out.line(f"{record['txid']}  {who}")
    for change in record["changes"]:
        out.line(f"    {change['kind']}  {_where(change)}")
        for name, field in change.get("fields", {}).items():
            out.line(f"        {name}: {_value(field['old'])} -> {_value(field['new'])}")
    if "chain" in record:
        out.line(f"    chain {(record['previous_chain'] or '?')[:16]}… -> {record['chain'][:16]}…")


def _where(change: dict[str, Any]) -> str:
    old, new = change.get("old_path"), change.get("path")
    return f"{old} -> {new}" if old and new and old != new else new or old or ""


def _value(value: object) -> str:
    return "-" if value is None else str(value)
