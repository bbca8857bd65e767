"""`esdfs retention`: how much history is kept, and what it costs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from esdfs.cli import session
from esdfs.cli.durations import FORM, parse_duration
from esdfs.cli.output import Output, human_size
from esdfs.cli.session import Json
from esdfs.errors import InvalidRequest

if TYPE_CHECKING:
    from esdfs.client.values import Retention

retention = typer.Typer(no_args_is_help=True, help="How much history is kept, and what it costs.")


@retention.command()
def show(ctx: typer.Context, *, as_json: Json = False) -> None:
    """What is set, and where the past begins."""
    here = session.of(ctx)
    _show(here.output(as_json=as_json), here.client.retention())


@retention.command("set")
def set_(
    ctx: typer.Context,
    *,
    window: Annotated[
        str | None, typer.Option("--window", help="Keep what is younger than this (7d, 12h); 0 = no limit.")
    ] = None,
    days: Annotated[int | None, typer.Option("--days", min=0, help="The same in days.")] = None,
    records: Annotated[
        int | None,
        typer.Option("--records", min=0, help="Keep at most so many transactions; 0 = no limit."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Keep more or less. What falls out of the window is forgotten soon, and for ever."""
    here = session.of(ctx)
    if window is not None and days is not None:
        raise InvalidRequest("give --window or --days, not both")
    if window is None and days is None and records is None:
        raise InvalidRequest("say what to keep: --days 7, --window 12h or --records 1000000")
    window_s = days * 86_400 if days is not None else None if window is None else _seconds(window)
    kept = here.client.set_retention(window_s=window_s, records_max=records)
    _show(here.output(as_json=as_json), kept)


def _seconds(text: str) -> int:
    if text.strip() == "0":
        return 0
    window_s = parse_duration(text)
    if window_s is None:
        raise InvalidRequest(f"--window is {FORM}, or 0, not {text!r}")
    return window_s


def _show(out: Output, kept: "Retention") -> None:
    if out.as_json:
        out.json(kept)
        return
    out.table(
        [
            ("window", _span(kept.window_s) if kept.window_s else "no limit"),
            ("transactions", f"the last {kept.records_max}" if kept.records_max else "no limit"),
            ("oldest txid", str(kept.history_oldest_txid)),
            ("snapshots", f"{kept.history_snapshots}, holding {kept.history_held_versions} versions"),
            ("forgotten", f"what ended up to txid {kept.history_purged_txid}"),
        ]
    )


def _span(seconds: int) -> str:
    for unit, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} seconds"


@retention.command()
def report(
    ctx: typer.Context,
    *,
    depth: Annotated[
        int, typer.Option("--depth", min=0, max=128, help="Components of a path a line stands for.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Bytes that only history holds, by directory and day, and what a shorter window would free."""
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    told = here.client.retention_report(depth)
    if out.as_json:
        out.json(told)
        return
    _print(out, told)


def _print(out: Output, told: dict[str, Any]) -> None:
    rows = [("", "CONTENTS", "SIZE", "ON DATANODES")]
    rows += [
        _row("present files", told["present"]),
        _row("only history", told["history"]),
        _row("of that only snapshots", told["snapshots"]),
    ]
    for title, lines in (("BY DIRECTORY", told["directories"]), ("BY DAY", told["days"])):
        rows += [("", "", "", ""), (title, "", "", "")]
        rows += [_row(line["what"], line) for line in lines]
    rows += [("", "", "", ""), ("A WINDOW OF", "", "", "WOULD FREE")]
    rows += [_row(f"{line['days']} days", line) for line in told["shorter"]]
    out.table(rows, right=(1, 2, 3))


def _row(what: str, line: dict[str, Any]) -> tuple[str, str, str, str]:
    return what, str(line["contents"]), human_size(line["bytes"]), human_size(line["raw_bytes"])
