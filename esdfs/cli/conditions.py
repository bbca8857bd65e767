"""How DataNodes are, and alarms, in words: for `node list`, `cluster status`, `fsck` and `doctor`. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from esdfs.cli.output import human_size

WHAT_TO_DO: Final = (
    "the metadata went back in time, or a DataNode of another cluster is here. Nothing deletes them."
    " Write nothing more before you know: look for a NameNode or a backup whose journal is longer"
    " (esdfs quorum status, esdfs journal verify), or stop the DataNode if it does not belong here"
)
ALARMS_SHOWN: Final = 20


def health(one: Mapping[str, Any]) -> str:
    """What is wrong with a DataNode's disks and network, or ``ok``; everything is in ``node list --json``."""
    cut_off = [peer["node_id"] for peer in one["peers"] if not peer["reachable"]]
    wrong = [
        _failed(one),
        f"{one['slow_volumes']} of {len(one['volumes'])} disks slow" if one["slow_volumes"] else "",
        "far slower than the others" if one.get("slow") else "",
        f"does not reach {', '.join(cut_off)}" if cut_off else "",
    ]
    return "; ".join(filter(None, wrong)) or "ok"


def _failed(one: Mapping[str, Any]) -> str:
    if not one["failed_volumes"]:
        return ""
    whys = "; ".join(why for volume in one["volumes"] if (why := volume.get("failed_why")))
    return f"{one['failed_volumes']} of {len(one['volumes'])} disks failed" + (f" ({whys})" if whys else "")


def load(told: Mapping[str, Any]) -> tuple[str, str]:
    """What a DataNode sends and receives per second, and its 99th percentiles; ``-`` = there were none."""
    waits = [told[f"{what}_p99_ms"] for what in ("read", "store", "fsync")]
    rates = f"{human_size(told['read_bytes_s'])}/{human_size(told['write_bytes_s'])}"
    return rates, "/".join(f"{ms:.0f}" if ms else "-" for ms in waits) + "ms" * any(waits)


def admin(one: Mapping[str, Any]) -> str:
    """What an operator wants of it, and how far that is."""
    told = one["progress"]
    if told is None:
        return "in service"
    until = f" until {one['admin_until'][:19].replace('T', ' ')}" if one["admin_until"] else ""
    if told["ready"]:
        ready = "" if one["admin"] == "decommissioned" else ", may be stopped"
        return f"{one['admin']}{until}{ready}"
    return f"{one['admin']}{until}, {progress(told)}"


def progress(told: Mapping[str, Any]) -> str:
    """What a DataNode has to wait for before it may be stopped."""
    if told["blocks_left"] is None:
        return "counting"
    return f"{told['blocks_left']} blocks to copy{_unreadable(told)}, {told['files_open']} files open"


def _unreadable(told: Mapping[str, Any]) -> str:
    """Why that will not end by itself."""
    if not told.get("unreadable"):
        return ""
    first = ", ".join(told["unreadable_first"])
    more = ", …" if told["unreadable"] > len(told["unreadable_first"]) else ""
    return f" ({told['unreadable']} of them nobody can read: {first}{more}; esdfs fsck names their files)"


def of_datanodes(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, bool]]:
    """(node, what about it, whether somebody should do something) of those that are not simply in service."""
    for one in rows:
        disks, told = health(one), one["progress"]
        about = [
            f"{one['status']}: {one['status_why']}" if one["status"] not in {"ACTIVE", "MAINTENANCE"} else "",
            admin(one) if told is not None else "",
            disks if disks != "ok" else "",
        ]
        if any(about):
            stuck = bool(told and told.get("unreadable"))
            yield one["node_id"], "; ".join(filter(None, about)), bool(about[0] or about[2] or stuck)


def alarm_lines(alarms: Sequence[Mapping[str, Any]], count: int) -> Iterator[str]:
    """The first alarms, each replica a line; ``count`` is how many there are."""
    for one in alarms[:ALARMS_SHOWN]:
        yield f"block {one['block_id']} generation {one['generation']} on {one['node_id']}: {one['why']}"
    if count > ALARMS_SHOWN:
        yield f"and {count - ALARMS_SHOWN} more: esdfs fsck --replicas lists them all"


def alarmed(count: int) -> str:
    """The trouble as a whole, and what to do."""
    are = "replica is" if count == 1 else "replicas are"
    return f"{count} {are} ahead of the journal: {WHAT_TO_DO}"
