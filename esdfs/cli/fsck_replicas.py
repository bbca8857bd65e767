"""The way back of `esdfs fsck`: from what DataNodes hold to what needs it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from esdfs.cli.conditions import ALARMS_SHOWN, alarm_lines, of_datanodes
from esdfs.cli.output import Output
from esdfs.cli.session import Session
from esdfs.client.values import ReplicaAt

_PAGE: Final = 1000
_WORTH_READING: Final = {"needed", "historical", "surplus", "ahead"}
"""The others are known to be bad, out of reach, or about to be deleted."""


def pages(here: Session) -> Iterator[dict[str, Any]]:
    """All of ``GET /fsck/replicas``."""
    after: str | None = None
    while True:
        page = here.client.control.get("/fsck/replicas", dict[str, Any], after=after, limit=_PAGE)
        yield page
        after = page["next"]
        if after is None:
            return


def to_read(here: Session) -> Iterator[ReplicaAt]:
    """Every replica that should verify, those that only the past needs included.

    What it must be is known of those that the present file needs which they were written for.
    """
    for page in pages(here):
        for one in page["replicas"]:
            if one["state"] in _WORTH_READING and one["address"]:
                yield ReplicaAt(
                    one["block_id"],
                    one["generation"],
                    one["node_id"],
                    one["address"],
                    one.get("length_bytes"),  # a NameNode of an older release does not tell
                    one.get("crc32c"),
                )


def show(here: Session, out: Output, *, every: bool) -> int:
    """Tell what DataNodes hold, with ``every`` replica that is not needed, and how they are.

    Returns how many alarms there are; they are always told.
    """
    totals = Counter[str]()
    alarms: list[dict[str, Any]] = []
    for page in pages(here):
        totals.update(page["totals"])
        for one in page["replicas"]:
            if one["state"] == "ahead":
                alarms.append(one)
            if one["state"] != "needed" and (every or out.as_json):
                _tell(out, one)
    if out.as_json:
        out.json({"replicas": dict(totals)})
    else:
        out.line(", ".join(f"{count} {state}" for state, count in totals.items()))
        shown = 0 if every else ALARMS_SHOWN
        for line in alarm_lines(alarms[:shown], len(alarms) if shown else 0):
            out.line(f"ALARM: {line}")
    _tell_datanodes(here, out)
    return len(alarms)


def _tell(out: Output, one: dict[str, Any]) -> None:
    if out.as_json:
        out.json({"held": one})
        return
    state = "ALARM: ahead" if one["state"] == "ahead" else one["state"]
    where = f"block {one['block_id']} generation {one['generation']} on {one['node_id']}"
    out.line(f"{state}: {where}: {one['why']}" + (f" ({one['path']})" if one["path"] else ""))


def _tell_datanodes(here: Session, out: Output) -> None:
    rows = here.client.control.get("/datanodes", dict[str, Any])["datanodes"]
    for node_id, about, _ in of_datanodes(rows):
        if out.as_json:
            out.json({"datanode": {"node_id": node_id, "about": about}})
        else:
            out.line(f"{node_id}: {about}")
