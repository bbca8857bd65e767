"""`esdfs journal export`: the journal, or a part of it, as one file."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from esdfs import __version__
from esdfs.cli.journal_proof import pages, whole_journal
from esdfs.client.control import Control
from esdfs.errors import AlreadyExists, InvalidRequest, NotFound
from esdfs.ids import Txid
from esdfs.journal.entry import Base
from esdfs.journal.export import FORMAT, UNSIGNED, ExportHeader, Sealed, encode
from esdfs.journal.log import JournalReader
from esdfs.journal.segments import Row
from esdfs.journal.sql import open_reader
from esdfs.journal.statements import SignedStatement, Statement
from esdfs.namenode.config import load
from esdfs.namenode.redaction import Redaction
from esdfs.namenode.signing import KEY_FILE, Statements, load_key

Pages = Iterator[Sequence[Row]]


class Exported(msgspec.Struct):
    """What was written.

    Attributes:
        signed: Whether somebody's key vouches for the last record.
        names: The file that tells what the tokens of a redacted export stand for.
    """

    file: str
    first_txid: int
    last_txid: int
    records: int
    chain: str
    signed: bool
    names: str = ""


class Source(NamedTuple):
    """Where records come from: ``scan`` gives those from one txid to another, as often as asked."""

    cluster_id: str
    base: Base
    last: int
    scan: Callable[[], Pages]
    statements: list[SignedStatement]
    sealed: Sealed


@contextmanager
def from_database(
    url: str, directory: Path | None, first: int | None, last: int | None, now_us: int
) -> Iterator[Source]:
    """A NameNode's journal in its database, with its archive and its key when ``directory`` is given."""
    with closing(open_reader(url)) as reader:
        whole = whole_journal(reader, directory)
        identity = whole.identity()
        if identity is None:
            raise InvalidRequest("there is no journal in that database: it was never formatted")
        start, end = _range(whole.oldest_txid(), whole.head().last_txid, first, last)
        base = _base(whole, start)
        statements, sealed = list[SignedStatement](), UNSIGNED
        if directory is not None and (directory / KEY_FILE).exists():
            key = load_key(directory)
            statements = Statements(directory).all()
            (entry,) = whole.read(Txid(end - 1), limit=1)
            statement = Statement(
                cluster_id=identity.cluster_id,
                txid=end,
                epoch=entry.epoch,
                chain=entry.chain.hex(),
                ts_us=now_us,
                key_id=key.public.key_id,
            )
            statements.append(key.vouch(statement))
            sealed = Sealed(key.public.key_id, key.sign)
        yield Source(
            identity.cluster_id,
            base,
            end,
            lambda: whole.scan(base.last_txid, until=Txid(end), page=1000),
            _within(statements, start, end),
            sealed,
        )


def over_rest(control: Control, first: int | None, last: int | None) -> Source:
    """What a NameNode tells, signed by it."""
    head = control.get("/journal/head", dict[str, Any])
    start, end = _range(int(head["oldest_txid"]), int(head["last_txid"]), first, last)
    cluster = control.get("/cluster", dict[str, Any])
    base = Base()
    if start > 1:
        ((_, epoch, ts_us, *_, chain),) = next(pages(control, start - 1, start - 1))
        base = Base(epoch, Txid(start - 1), chain, ts_us)
    told = control.get("/journal/anchors", dict[str, Any], **{"from": start})
    statements = msgspec.convert(told["statements"], list[SignedStatement])
    statements.append(control.get("/journal/signed", SignedStatement, txid=end))
    return Source(
        cluster["cluster_id"],
        base,
        end,
        lambda: pages(control, start, end),
        _within(statements, start, end),
        UNSIGNED,
    )


def write(source: Source, file: Path, *, redact: bool, overwrite: bool, progress: Any) -> Exported:
    """Write ``source`` to ``file``, which appears only when it is complete and durable.

    Raises:
        AlreadyExists: ``file`` is there, and ``overwrite`` is not set.
        JournalCorrupt: A record is not the one that was sealed.
    """
    if file.exists() and not overwrite:
        raise AlreadyExists(f"{file} exists: give another name, or -f")
    tokens: dict[str, str] = {}
    scan = source.scan
    if redact:
        if not source.sealed.key_id:
            raise InvalidRequest(
                "a redacted export is vouched for by a key alone: make it on a NameNode's machine, with --dir"
            )
        redaction = Redaction()
        for page in scan():
            for row in page:
                redaction.learn(row)
        redaction.ready()
        tokens = {token: text for each in redaction.tokens.values() for text, token in each.items() if token}
        scan = lambda: ([redaction.hide(row) for row in page] for page in source.scan())  # noqa: E731
    first = source.base.last_txid + 1
    header = ExportHeader(
        FORMAT,
        source.cluster_id,
        first,
        source.last,
        source.base.epoch,
        source.base.chain,
        source.base.ts_us,
        redact,
        __version__,
    )
    chains: list[bytes] = [source.base.chain]

    def counted() -> Pages:
        for page in scan():
            chains[0] = page[-1][11]
            yield page

    _write(file, encode(header, counted(), source.statements, source.sealed), progress)
    names = file.with_name(f"{file.name}.names")
    if redact:
        _write_private(names, tokens)
    signed = any(each.statement.txid == source.last for each in source.statements)
    return Exported(
        str(file),
        first,
        source.last,
        source.last - first + 1,
        chains[0].hex(),
        signed or bool(source.sealed.key_id),
        str(names) if redact else "",
    )


def _write(file: Path, pieces: Iterable[bytes], progress: Any) -> None:
    begun = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with begun.open("wb") as out:
            for piece in pieces:
                out.write(piece)
                if progress is not None:
                    progress(len(piece))
            out.flush()
            os.fsync(out.fileno())
        begun.replace(file)
    except OSError as error:
        raise InvalidRequest(f"{file}: {error.strerror}") from error
    finally:
        begun.unlink(missing_ok=True)
    directory = os.open(file.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write_private(file: Path, tokens: dict[str, str]) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        json.dump(tokens, out, ensure_ascii=False, indent=1)


def _range(oldest: int, newest: int, first: int | None, last: int | None) -> tuple[int, int]:
    start, end = oldest if first is None else first, newest if last is None else last
    if not oldest <= start <= end <= newest:
        raise NotFound(f"there are records {oldest} to {newest}: {start} to {end} is not within them")
    return start, end


def _base(reader: JournalReader, first: int) -> Base:
    base = reader.base()
    if first == base.last_txid + 1:
        return base
    (entry,) = reader.read(Txid(first - 2), limit=1)
    return Base(entry.epoch, entry.txid, entry.chain, entry.ts_us)


def _within(statements: Iterable[SignedStatement], first: int, last: int) -> list[SignedStatement]:
    return [each for each in statements if first <= each.statement.txid <= last]


def database_of(directory: Path | None, database: str | None) -> tuple[str | None, Path | None]:
    """(URL, directory) of the options --dir and --db."""
    if database and directory:
        raise InvalidRequest("give --db or --dir, not both")
    if directory is not None:
        directory = directory.absolute()
        return load(directory).database_url, directory
    return database, None
