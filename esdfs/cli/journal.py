"""`esdfs journal`: the record of everything that happened."""

from pathlib import Path
from typing import Annotated, Any

import typer

from esdfs.cli import session
from esdfs.cli.journal_audit import audit
from esdfs.cli.journal_feed import cursors, tail, told_of
from esdfs.cli.output import Output
from esdfs.cli.session import Json
from esdfs.errors import InvalidRequest, NotFound

journal = typer.Typer(no_args_is_help=True, help="The record of everything that happened.")
journal.command()(tail)
journal.command()(audit)
journal.add_typer(cursors, name="cursor")

Database = Annotated[
    str | None, typer.Option("--db", help="Read this journal itself: sqlite:///PATH or a PostgreSQL URL.")
]
Directory = Annotated[
    Path | None, typer.Option("--dir", help="Read the journal and archive in this NameNode's directory.")
]


@journal.command()
def status(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Where it ends, and the hash that stands for all of it."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    head = here.client.control.get("/journal/head", dict[str, Any])
    if out.as_json:
        out.json(head)
    else:
        named = head.pop("cursors", [])
        out.table([(name.replace("_", " "), str(value)) for name, value in head.items()])
        for cursor in named:
            out.line(told_of(cursor))


@journal.command()
def show(
    ctx: typer.Context,
    txid: Annotated[int, typer.Argument(min=1, help="The first one.")],
    *,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1000, help="How many.")] = 1,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Records, from a txid on. With --dir, also those that were archived there."""
    here = session.of(ctx)
    if directory is not None:
        from esdfs.cli import journal_proof  # noqa: PLC0415 - loads the journal

        found = journal_proof.records(directory, txid, count)
        _print(here.output(as_json=as_json), found, whole=True)
        return
    page = here.client.control.get("/journal", dict[str, Any], **{"from": txid, "limit": count})
    if not page["records"]:
        raise NotFound(f"there is no record {txid} yet: the last one is {page['head']}")
    _print(here.output(as_json=as_json), page["records"], whole=True)


@journal.command()
def verify(
    ctx: typer.Context, *, database: Database = None, directory: Directory = None, as_json: Json = False
) -> None:
    """Prove that no record was changed, removed, added or reordered."""
    from esdfs.cli import journal_proof  # noqa: PLC0415 - loads the journal

    here = session.of(ctx)
    url = _database(database, directory)
    proof = journal_proof.of_database(url, directory) if url else journal_proof.over_rest(here.client.control)
    out = here.output(as_json=as_json)
    if out.as_json:
        out.json(proof)
    else:
        out.line(
            f"{proof.records} records verified, txid {proof.first_txid} to {proof.last_txid}, "
            f"{len(proof.epochs)} epochs; chain {proof.chain}"
        )


@journal.command()
def replay(
    ctx: typer.Context,
    *,
    to: Annotated[int | None, typer.Option("--to", min=1, help="Stop after this txid.")] = None,
    database: Database = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Rebuild the namespace from the journal, beside the living one, and compare the two."""
    from esdfs.cli import journal_replay  # noqa: PLC0415 - loads the journal and LMDB

    here = session.of(ctx)
    url = _database(database, directory)
    result = (
        journal_replay.of_database(url, to, directory)
        if url
        else journal_replay.over_rest(here.client.control, to)
    )
    out = here.output(as_json=as_json)
    if out.as_json:
        out.json(result)
    else:
        out.line(
            f"{result.records} records replayed, to txid {result.txid}: {result.files} files, "
            f"{result.directories} directories, {result.size_bytes} bytes; digest {result.digest}"
        )
        out.line(f"the living namespace: {result.compared}")


def _database(database: str | None, directory: Path | None) -> str | None:
    if database and directory:
        raise InvalidRequest("give --db or --dir, not both")
    if directory is None:
        return database
    from esdfs.namenode.config import load  # noqa: PLC0415 - loads TOML

    return load(directory.absolute()).database_url


def _print(out: Output, records: list[dict[str, Any]], *, whole: bool = False) -> None:
    if out.as_json:
        for record in records:
            out.json(record)
        return
    if whole:
        for record in records:
            out.table([(name, _text(value)) for name, value in record.items() if name != "payload"])
        return
    out.table(
        [
            (
                str(r["txid"]),
                r["ts"][:19].replace("T", " "),
                r["kind"],
                r["principal"] or "-",
                _subject(r["event"]),
            )
            for r in records
        ],
        right=(0,),
    )


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_text(field)}" for name, field in value.items())
    if isinstance(value, list):
        return "[" + "; ".join(_text(item) for item in value) + "]"
    return str(value)


def _subject(event: dict[str, Any]) -> str:
    """What an event is about, in short."""
    if "events" in event:
        return f"{len(event['events'])} events"
    named = event.get("name") or event.get("target_name") or event.get("leader_id") or event.get("node_id")
    return str(named or _text({name: value for name, value in event.items() if name in {"inode", "reason"}}))
