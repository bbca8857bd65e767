"""`esdfs fsck`: files held against their replicas and the reverse, and having what can be mended mended."""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from esdfs.cli import fsck_replicas, session
from esdfs.cli.completion import remote_paths
from esdfs.cli.conditions import alarmed
from esdfs.cli.output import Output
from esdfs.cli.session import Json, Session
from esdfs.client.values import ReplicaAt
from esdfs.env_os import OsClock
from esdfs.errors import InvalidRequest, NotFound, Unavailable

_PAGE: Final = 1000
_REPAIR: Final = "/fsck/repair"
_LOOK_S: Final = 0.5
_STALLED_LOOKS: Final = 120
_SETTLED_LOOKS: Final = 3
"""What was just found by reading is reported within a second."""


def fsck(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(help="At and below it.", autocompletion=remote_paths)] = "/",
    *,
    every: Annotated[bool, typer.Option("--all", help="Healthy files, too.")] = False,
    replicas: Annotated[
        bool, typer.Option("--replicas", help="Each replica that no present file needs, and why it is there.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="First have every block looked at, and wait for what can be mended."),
    ] = False,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="With --repair: first have every replica read and verified; of /, also those of the past.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Hold every file's blocks against the replicas that were reported; fails when data is missing.

    Of / also the way back: what DataNodes hold that no present file needs. It fails, too, when they hold what
    the journal does not tell of yet. Nothing is ever deleted by this command. What does not verify is set
    aside by its DataNode.
    """
    here = session.of(ctx)
    out = here.output(as_json=as_json)
    top = here.resolve(path)
    if deep and not repair:
        raise InvalidRequest("--deep goes with --repair")
    if replicas and top != "/":
        raise InvalidRequest("--replicas goes with /: what nothing needs is below no path")
    if deep:
        _read_all(here, out, top)
    if repair:
        _mend(here, out)
    totals = Counter[str]()
    for page in _pages(here, top):
        totals.update(page["totals"])
        for file in page["files"]:
            if out.as_json:
                out.json(file)
            elif every or file["state"] != "healthy":
                out.line(f"{file['state']}: {file['path']}{''.join(f'; {why}' for why in file['problems'])}")
    if not out.as_json:
        out.line(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in totals.items()))
    lost = totals["missing"] + totals["corrupt"]
    troubles = [f"{lost} files cannot be read in full: bring their DataNodes back"] if lost else []
    if top == "/" and (alarms := fsck_replicas.show(here, out, every=replicas)):
        troubles.append(alarmed(alarms))
    if troubles:
        raise Unavailable("; ".join(troubles))


def _pages(here: Session, top: str) -> Iterator[dict[str, Any]]:
    after: str | None = None
    while True:
        page = here.client.control.get("/fsck", dict[str, Any], path=top, after=after, limit=_PAGE)
        yield page
        after = page["next"]
        if after is None:
            return


def _read_all(here: Session, out: Output, top: str) -> None:
    read, bad = 0, 0
    with here.progress(f"reading {top}", None, records=True) as count:
        wanted = fsck_replicas.to_read(here) if top == "/" else _named(here, top)
        for found in here.client.check_replicas(wanted):
            read += 1
            if count:
                count(1)
            if not found.code:
                continue
            bad += 1
            if out.as_json:
                out.json({"replica": found._asdict()})
            else:
                out.line(f"replica: block {found.block_id} on {found.node_id}: {found.code}: {found.message}")
    if not out.as_json:
        out.line(f"{read} replicas read, {bad} not good")


def _named(here: Session, top: str) -> Iterator[ReplicaAt]:
    for page in _pages(here, top):
        for file in page["files"]:
            if file["blocks"]:
                try:
                    blocks = here.client.blocks(file["path"])
                except NotFound:
                    continue  # removed meanwhile
                for block in blocks:
                    for at in block.locations:
                        yield ReplicaAt.of(block, at)


def _mend(here: Session, out: Output) -> None:
    """Until nothing more can be mended, or nothing happens any more."""
    clock, control = OsClock(), here.client.control
    told = control.change("POST", _REPAIR, dict[str, Any])
    before, still, settled = told, 0, 0
    with here.progress("mending", None, records=True) as count:
        while settled < _SETTLED_LOOKS:
            clock.sleep(_LOOK_S)
            told = control.get(_REPAIR, dict[str, Any])
            settled = 0 if told["busy"] else settled + 1
            if count:
                count(max(0, before["left"] - told["left"]))
            seen = ("busy", "left", "queues", "blocks")
            still = still + 1 if all(told[name] == before[name] for name in seen) else 0
            before = told
            if told["busy"] and still >= _STALLED_LOOKS:
                raise Unavailable(
                    f"nothing happens any more: {told['busy']}; {told['left']} blocks lack copies"
                )
    if not out.as_json:
        out.line(f"mended; {told['left']} blocks lack copies that nobody can make now")
