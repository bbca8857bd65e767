"""`esdfs journal replay --policy FILE`: what another quota or retention would have made of history."""

import tomllib
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from esdfs.cli.durations import FORM, parse_duration
from esdfs.cli.journal_file import Progress, from_the_first, opened
from esdfs.cli.journal_proof import pages, whole_up_to
from esdfs.cli.output import Output, human_size
from esdfs.cli.sizes import parse_size
from esdfs.client.control import Control
from esdfs.errors import InvalidRequest, NotFound, TooLarge
from esdfs.ids import Txid
from esdfs.journal.chain import verify_rows
from esdfs.journal.entry import NO_CHAIN
from esdfs.journal.sql import open_reader
from esdfs.namenode.namespace.paths import normalise
from esdfs.namenode.projection.lmdb import ProjectionStore
from esdfs.namenode.whatif import Policy, Quota, QuotaReport, Record, Report, WhatIf

_BYTES_MAX: Final = 64 << 30  # address space, not disk
_COUNT_MAX: Final = 1 << 62
_EXAMPLE: Final = 'write [quota."/logs"] with max_bytes, max_files, or [retention] with window, records'


def load_policy(file: Path) -> Policy:
    """The policy in a TOML file.

    Raises:
        NotFound: There is no such file.
        InvalidRequest: It is not a policy; names the key, and what is expected there.
    """
    try:
        text = file.read_text(encoding="utf-8")
        told = tomllib.loads(text)
    except FileNotFoundError as error:
        raise NotFound(f"{file}: there is no such policy file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file} is not TOML: {error}") from error
    _only(told, {"quota", "retention"}, "the top level")
    quotas = tuple(_quota(path, given) for path, given in _table(told, "quota", "quota").items())
    if len({quota.path for quota in quotas}) < len(quotas):
        raise InvalidRequest("quota: one path is named twice; merge the two tables")
    kept = _table(told, "retention", "retention")
    _only(kept, {"window", "records"}, "retention")
    if "retention" in told and not kept:
        raise InvalidRequest('retention: give window = "7d", records = 100000 or both')
    policy = Policy(
        quotas,
        _seconds(kept["window"]) if "window" in kept else 0,
        _count(kept["records"], "retention.records", least=1) if "records" in kept else 0,
    )
    if not policy.quotas and not policy.forgets:
        raise InvalidRequest(f"{file} holds no quota and no retention: {_EXAMPLE}")
    return policy


def of_database(
    url: str, policy: Policy, to: int | None, archive: Path | None = None, *, progress: Progress = None
) -> Report:
    """By the database itself, and the archive of the NameNode in ``archive``; both are only read.

    SQLite makes its ``-shm`` and an empty ``-wal`` beside a journal that no process has open.

    Raises:
        TooLarge: The journal's beginning is not there.
    """
    with closing(open_reader(url)) as reader:
        whole, until = whole_up_to(reader, archive, to)
        return _judge(whole.scan(Txid(0), until=until), policy, progress)


def of_file(file: Path, policy: Policy, to: int | None, *, progress: Progress = None) -> Report:
    """By an exported journal, proven on the way. ``progress`` is called with the bytes read.

    Raises:
        TooLarge: It does not begin at txid 1.
        JournalCorrupt: A record is not as it was written.
    """
    with opened(file, progress) as export:
        return _judge(from_the_first(file, export, to), policy, None, is_proven=True)


def over_rest(control: Control, policy: Policy, to: int | None, *, progress: Progress = None) -> Report:
    """By what a NameNode tells.

    Raises:
        TooLarge: It no longer has the journal's beginning.
    """
    head = control.get("/journal/head", dict[str, Any])
    if int(head["oldest_txid"]) > 1:
        raise TooLarge(
            "the journal's beginning was compacted away: replay needs every record from txid 1 on. On the"
            " NameNode's machine, --dir reads its archive, too"
        )
    last = int(head["last_txid"])
    return _judge(pages(control, 1, last if to is None else min(to, last)), policy, progress)


def show(out: Output, report: Report, policy: Policy) -> None:
    """For people, or one object for programs."""
    if out.as_json:
        out.json(report)
        return
    out.line(f"{report.records} records judged, to txid {report.txid}, each against what really happened")
    if report.unjudged:
        out.line(f"{report.unjudged} more are not judged: a restore is not finished there, leave out --to")
    if report.quotas:
        out.line()
        out.table([("QUOTA", "LIMIT", "NOW", "PEAK", "AT", "REFUSED"), *map(_quota_row, report.quotas)])
    for quota in report.quotas:
        if (first := quota.first) is not None:
            out.line(
                f"{quota.path}: first refused at txid {first.txid}, {_time(first.ts_us)}, "
                f"{first.principal or '-'} from {first.peer or '-'}, {first.path}: "
                f"{human_size(first.over_bytes)} bytes, {first.over_files} files too many"
            )
    if policy.forgets:
        out.line()
        _show_retention(out, report)


def _show_retention(out: Output, report: Report) -> None:
    out.table(
        [
            ("DAY", "TXID", "HISTORY", "LET GO", "OLDEST TXID", "OF"),
            *(
                (
                    _time(day.ts_us)[:10],
                    str(day.txid),
                    human_size(day.history_bytes),
                    human_size(day.let_go_bytes),
                    str(day.oldest_txid),
                    _time(day.oldest_us),
                )
                for day in report.days
            ),
        ]
    )
    refused = report.refused_restores
    out.line(f"{len(refused)} of {report.restores} restores, snapshots of the past would have been refused")
    out.table(
        [
            (
                str(one.txid),
                _time(one.ts_us),
                one.principal or "-",
                one.kind,
                one.path,
                f"of txid {one.source_txid}; the oldest would have been {one.oldest_txid}",
            )
            for one in refused
        ]
    )


def _quota_row(quota: QuotaReport) -> tuple[str, ...]:
    limits = [] if quota.max_bytes is None else [human_size(quota.max_bytes)]
    limits += [] if quota.max_files is None else [f"{quota.max_files} files"]
    return (
        quota.path,
        ", ".join(limits),
        f"{human_size(quota.size_bytes)}, {quota.files} files",
        f"{human_size(quota.peak_bytes)}, {quota.peak_files} files",
        f"txid {quota.peak_bytes_txid}, {_time(quota.peak_bytes_us)}" if quota.peak_bytes_txid else "-",
        str(quota.refused),
    )


def _judge(
    all_rows: Iterable[Sequence[tuple[Any, ...]]],
    policy: Policy,
    progress: Progress,
    *,
    is_proven: bool = False,
) -> Report:
    """Replay in a scratch directory, one record at a time."""
    judged, chain, last = WhatIf(policy), NO_CHAIN, 0
    with TemporaryDirectory(prefix="esdfs-whatif-") as scratch:
        store = ProjectionStore(Path(scratch), bytes_max=_BYTES_MAX)
        try:
            for rows in all_rows:
                if not is_proven:
                    chain = verify_rows(chain, Txid(last), rows)
                last = rows[-1][0]
                writer = store.begin()
                try:
                    for row in rows:
                        events = writer.apply_row(row)
                        judged.applied(writer, Record(row[0], row[2], row[7], row[8], events))
                except BaseException:
                    writer.abort()
                    raise
                writer.commit()
                if progress is not None:
                    progress(len(rows))
            writer = store.begin()
            try:
                return judged.report(writer)
            finally:
                writer.abort()
        finally:
            store.close()


def _quota(path: str, given: Any) -> Quota:
    key = f'quota."{path}"'
    if not isinstance(given, dict) or not given:
        raise InvalidRequest(f'{key}: give max_bytes = "10G", max_files = 1000 or both')
    _only(given, {"max_bytes", "max_files"}, key)
    size = given.get("max_bytes")
    if isinstance(size, str):
        try:
            size = parse_size(size)
        except InvalidRequest as error:
            raise InvalidRequest(f"{key}.max_bytes: {error.message}") from error
    try:
        at = normalise(path or "/")
    except InvalidRequest as error:
        raise InvalidRequest(f"{key}: {error.message}") from error
    return Quota(
        at,
        None if size is None else _count(size, f"{key}.max_bytes"),
        _count(given["max_files"], f"{key}.max_files") if "max_files" in given else None,
    )


def _table(told: dict[str, Any], name: str, key: str) -> dict[str, Any]:
    found = told.get(name, {})
    if not isinstance(found, dict):
        raise InvalidRequest(f"{key} is a table: {_EXAMPLE}")
    return found


def _only(given: dict[str, Any], known: set[str], where: str) -> None:
    for key in sorted(set(given) - known):
        raise InvalidRequest(f"{where}: unknown key {key!r}; expected are {', '.join(sorted(known))}")


def _count(given: Any, key: str, *, least: int = 0) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= _COUNT_MAX:
        raise InvalidRequest(f"{key} is a whole number from {least} on, not {given!r}")
    return given


def _seconds(given: Any) -> int:
    window_s = parse_duration(given) if isinstance(given, str) else None
    if not window_s:
        raise InvalidRequest(f"retention.window is {FORM}, not {given!r}")
    return window_s


def _time(ts_us: int) -> str:
    return datetime.fromtimestamp(ts_us / 1_000_000, UTC).isoformat(" ", "seconds")[:19]
