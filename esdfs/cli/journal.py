"""`esdfs journal`: the record of everything that happened."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from esdfs.cli import session
from esdfs.cli.journal_audit import audit
from esdfs.cli.journal_feed import cursors, tail, told_of
from esdfs.cli.journal_replaying import replay
from esdfs.cli.journal_source import Database, Directory, database_url, size_bytes_of
from esdfs.cli.output import Output
from esdfs.cli.session import Json, Session
from esdfs.errors import InvalidRequest, NotFound

journal = typer.Typer(no_args_is_help=True, help="The record of everything that happened.")
journal.command()(tail)
journal.command()(audit)
journal.command()(replay)
journal.add_typer(cursors, name="cursor")

_SHOWN: Final = 5


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
    ctx: typer.Context,
    *,
    database: Database = None,
    directory: Directory = None,
    offline: Annotated[
        Path | None, typer.Option("--offline", help="Prove this exported file; no cluster is needed.")
    ] = None,
    pubkey: Annotated[
        list[str] | None,
        typer.Option("--pubkey", help="With --offline: who must have signed it (text or file; repeatable)."),
    ] = None,
    anchor: Annotated[
        Path | None, typer.Option("--anchor", help="With --offline: statements kept elsewhere.")
    ] = None,
    no_replay: Annotated[
        bool, typer.Option("--no-replay", help="With --offline: leave the state out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Prove that no record was changed, removed, added or reordered."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    if offline is not None:
        if database or directory:
            raise InvalidRequest("--offline needs the file alone: leave --db and --dir out")
        _verify_offline(here, out, offline, pubkey or [], anchor, replay=not no_replay)
        return
    if pubkey or anchor or no_replay:
        raise InvalidRequest("--pubkey, --anchor and --no-replay go with --offline")
    from esdfs.cli import journal_proof  # noqa: PLC0415 - loads the journal

    url = database_url(database, directory)
    proof = journal_proof.of_database(url, directory) if url else journal_proof.over_rest(here.client.control)
    if out.as_json:
        out.json(proof)
    else:
        out.line(
            f"{proof.records} records verified, txid {proof.first_txid} to {proof.last_txid}, "
            f"{len(proof.epochs)} epochs; chain {proof.chain}"
        )


def _verify_offline(
    here: Session, out: Output, file: Path, pubkeys: list[str], anchor: Path | None, *, replay: bool
) -> None:
    from esdfs.cli import journal_offline  # noqa: PLC0415 - loads the journal, LMDB and cryptography
    from esdfs.namenode.signing import parse_public_key  # noqa: PLC0415 - see above

    keys = [parse_public_key(each) for each in pubkeys]
    with here.progress(str(file), size_bytes_of(file)) as progress:
        proof = journal_offline.prove(file, keys, anchors=anchor, replay=replay, progress=progress)
    if out.as_json:
        out.json(proof)
        return
    out.line(
        f"{proof.records} records of cluster {proof.cluster_id} verified, txid {proof.first_txid} to "
        f"{proof.last_txid}; chain {proof.chain}"
    )
    if proof.key_id:
        out.line(f"signed with key {proof.key_id}; {proof.statements} signed statements agree")
    if proof.digests:
        out.line(
            f"replayed; the state's digest is the recorded one at txid {_listed(proof.digests)}"
            + (f"; {proof.digests_left_out} more were not compared" if proof.digests_left_out else "")
        )
    for what in proof.not_proven:
        out.line(f"not proven: {what}")


def _listed(txids: list[int]) -> str:
    shown = ", ".join(map(str, txids[-_SHOWN:]))
    return shown if len(txids) <= _SHOWN else f"{shown} and {len(txids) - _SHOWN} before"


@journal.command("export")
def export_journal(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to, on this machine.")],
    *,
    first: Annotated[int | None, typer.Option("--from", min=1, help="The first txid.")] = None,
    last: Annotated[int | None, typer.Option("--to", min=1, help="The last txid.")] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Hide names, users and addresses; needs --dir.")
    ] = False,
    force: Annotated[bool, typer.Option("-f", "--force", help="Replace the file.")] = False,
    database: Database = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Write the journal to a file that can be proven without the cluster (verify --offline)."""
    from esdfs.cli import journal_export  # noqa: PLC0415 - loads the journal and cryptography
    from esdfs.env_os import OsClock  # noqa: PLC0415 - see above

    here = session.of(ctx)
    out = here.output(as_json=as_json)
    url, at = journal_export.database_of(directory, database)
    with here.progress(str(file), None) as progress:
        if url is None:
            source = journal_export.over_rest(here.client.control, first, last)
            done = journal_export.write(source, file, redact=redact, overwrite=force, progress=progress)
        else:
            with journal_export.from_database(url, at, first, last, OsClock().wall_us()) as source:
                done = journal_export.write(source, file, redact=redact, overwrite=force, progress=progress)
    if out.as_json:
        out.json(done)
        return
    out.line(f"{done.records} records, txid {done.first_txid} to {done.last_txid}, are in {done.file}")
    if not done.signed:
        out.line("nobody's key vouches for it: export over REST, or with --dir on a NameNode's machine")
    if done.names:
        out.line(f"what the tokens stand for is in {done.names}: keep it to yourself")
        out.line("who guesses all that one record hides can confirm it by the hash beside the record")


@journal.command("import")
def import_journal(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="An exported journal.", exists=True, dir_okay=False)],
    *,
    database: Annotated[
        str | None, typer.Option("--db", help="An empty database: the journal alone.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="A new NameNode's directory, which can be run.")
    ] = None,
    node_id: Annotated[str, typer.Option("--node-id", help="That NameNode's name.")] = "nn-1",
    rest_port: Annotated[int, typer.Option("--rest-port", help="With --dir.")] = 8870,
    grpc_port: Annotated[int, typer.Option("--grpc-port", help="With --dir.")] = 8871,
    as_json: Json = False,
) -> None:
    """Make an exported journal a journal again, in SQLite or PostgreSQL, with an equal chain."""
    from esdfs.env_os import OsClock, OsRng  # noqa: PLC0415 - see below
    from esdfs.namenode import importing  # noqa: PLC0415 - loads the journal
    from esdfs.namenode.config import NameNodeConfig  # noqa: PLC0415 - see above

    here = session.of(ctx)
    out = here.output(as_json=as_json)
    if not database and directory is None:
        raise InvalidRequest("where to? --db URL for the journal alone, --dir DIR for a NameNode")
    if directory is None:
        assert database is not None, "checked above"
        with here.progress(str(file), None, records=True) as progress:
            identity, head = importing.import_journal(
                file, database, node_id=node_id, rng=OsRng(), progress=progress
            )
        told = {"cluster_id": identity.cluster_id, "last_txid": head.last_txid, "chain": head.chain.hex()}
        if out.as_json:
            out.json(told)
        else:
            out.line(f"{head.last_txid} records imported; chain {head.chain.hex()}")
        return
    config = NameNodeConfig(
        node_id=node_id,
        dir=str(directory.absolute()),
        journal_url=database or "",
        rest_port=rest_port,
        grpc_port=grpc_port,
    )
    with here.progress(str(file), None, records=True) as progress:
        identity = importing.import_namenode(file, config, clock=OsClock(), rng=OsRng(), progress=progress)
    if out.as_json:
        out.json({"cluster_id": identity.cluster_id, "dir": config.dir})
    else:
        out.line(f"cluster {identity.cluster_id} goes on, alone: esdfs namenode run --dir {directory}")


@journal.command()
def pubkey(ctx: typer.Context, *, directory: Directory = None, as_json: Json = False) -> None:
    """The public key with which a NameNode signs. Get it by a way you trust."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    if directory is not None:
        from esdfs.namenode.signing import load_key  # noqa: PLC0415 - loads cryptography

        public = load_key(directory.absolute()).public
        told = {"key_id": public.key_id, "public_key": str(public)}
    else:
        told = here.client.control.get("/journal/key", dict[str, str])
    if out.as_json:
        out.json(told)
    else:
        out.line(told["public_key"])


@journal.command()
def anchors(
    ctx: typer.Context,
    *,
    first: Annotated[int, typer.Option("--from", min=1, help="The first txid.")] = 1,
) -> None:
    """Signed statements, one JSON a line: those made at checkpoints, and one about the newest record.

    Keep them where the cluster's administrator cannot reach them: `verify --offline --anchor` holds a journal
    against them.
    """
    here = session.of(ctx)
    out = here.output(as_json=True)
    more = True
    while more:
        page = here.client.control.get("/journal/anchors", dict[str, Any], **{"from": first})
        for signed in page["statements"]:
            out.json(signed)
            first = int(signed["statement"]["txid"]) + 1
        more = page["more"]
    out.json(here.client.control.get("/journal/signed", dict[str, Any]))


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
