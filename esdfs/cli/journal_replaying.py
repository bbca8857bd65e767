"""`esdfs journal replay`: history once more, in a scratch directory."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from esdfs.cli import session
from esdfs.cli.journal_source import Database, Directory, database_url, size_bytes_of
from esdfs.cli.output import Output, human_size
from esdfs.cli.session import Json, Session
from esdfs.errors import InvalidRequest

if TYPE_CHECKING:
    from esdfs.cli.journal_replay import Replayed

_TOP: Final = 20


def replay(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="An exported journal; no cluster is needed.")] = None,
    *,
    to: Annotated[int | None, typer.Option("--to", min=1, help="Stop after this txid.")] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="Tell what quotas and retention of this TOML file would have refused."),
    ] = None,
    database: Database = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Rebuild the namespace from the journal, beside the living one, and compare the two.

    Of an exported FILE, or with --db or --dir, it is rebuilt and not compared. With --policy FILE: what would
    have differed under other quotas and another retention. Changes nothing.
    """
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    url = database_url(database, directory)
    if file is not None and url:
        raise InvalidRequest("an exported FILE is all there is to read: leave --db and --dir out")
    if policy is not None:
        _judge(here, out, policy, file, url, directory, to)
        return
    from esdfs.cli import journal_replay  # noqa: PLC0415 - loads the journal and LMDB

    with _progress(here, file) as progress:
        if file is not None:
            result = journal_replay.of_file(file, to, progress=progress)
        elif url:
            result = journal_replay.of_database(url, to, directory, progress=progress)
        else:
            result = journal_replay.over_rest(here.client.control, to, progress=progress)
    if out.as_json:
        out.json(result)
    else:
        _show(out, result)


def _judge(
    here: Session,
    out: Output,
    policy: Path,
    file: Path | None,
    url: str | None,
    directory: Path | None,
    to: int | None,
) -> None:
    from esdfs.cli import journal_whatif  # noqa: PLC0415 - loads the journal and LMDB

    wanted = journal_whatif.load_policy(policy)
    with _progress(here, file) as progress:
        if file is not None:
            report = journal_whatif.of_file(file, wanted, to, progress=progress)
        elif url:
            report = journal_whatif.of_database(url, wanted, to, directory, progress=progress)
        else:
            report = journal_whatif.over_rest(here.client.control, wanted, to, progress=progress)
    journal_whatif.show(out, report, wanted)


def _progress(here: Session, file: Path | None) -> AbstractContextManager[Callable[[int], None] | None]:
    """In bytes of the file, or in records."""
    if file is None:
        return here.progress("journal", None, records=True)
    return here.progress(str(file), size_bytes_of(file))


def _show(out: Output, result: "Replayed") -> None:
    out.line(
        f"{result.records} records replayed, to txid {result.txid}: {result.files} files, "
        f"{result.directories} directories, {result.size_bytes} bytes; digest {result.digest}"
    )
    out.line(f"the living namespace: {result.compared}")
    rows = [
        (each.path, str(each.files), str(each.directories), human_size(each.size_bytes))
        for each in result.top[:_TOP]
    ]
    out.table([("BELOW", "FILES", "DIRECTORIES", "SIZE"), *rows], right=(1, 2, 3))
    if len(result.top) > _TOP:
        out.line(f"and {len(result.top) - _TOP} smaller ones: --json lists all")
