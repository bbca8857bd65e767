"""What a DataNode is told when it starts."""

import os
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from esdfs.blocks import MIB
from esdfs.datanode.slowness import HANGS_AFTER_S, SLOW_FSYNC_MS

_NODE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RACK: Final = re.compile(r"(/[^\s/]{1,64}){1,4}")
_DAY_S: Final = 86_400


class DataNodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one DataNode; nothing is read from anywhere else.

    Attributes:
        host: Address to listen on.
        port: 0 = any free one.
        advertise_host: What others dial; empty = ``host``, or this machine's name when that is a wildcard.
        volumes: Directories, one per disk. Made and formatted when missing or empty.
        namenodes: URLs of all NameNodes' REST interfaces; every one is reported to.
        token: Bearer token for them; empty = none.
        reserve_bytes: Left free on each volume.
        full_report_interval_s: All replicas are reported again about this often, unasked.
        scrub_period_s: Every replica is read and verified once in so long; 0 = never.
        scrub_bytes_per_s: At most this much scrubbing, unless the period takes more.
        copy_bytes_per_s: At most this much copying to other DataNodes on a leader's orders; 0 = no limit.
        capacity_bytes: Use no more than this of each volume; 0 = all of its file system.
        slow_fsync_ms: A volume whose fsyncs take longer (99th percentile, for a minute) gets no new blocks;
            0 = whatever they take.
        disk_hangs_after_s: A volume on which a small write takes longer is out of service until this DataNode
            is started again; 0 = however long it takes.
        balance_threshold_percent: Replicas move between our volumes while their used shares differ by more;
            0 = never.
        balance_bytes_per_s: At most this much of that.
        trash_delay_s: Deleted replicas are kept this long.
        durability: ``none`` skips every fsync. For tests only.
        streams_max: Bulk streams served at once; further ones are refused.
        local_socket_dir: Where the Unix socket for clients of this host goes; empty = the first volume in
            service, or nothing when that path is too long for a socket. ``-`` = none.
        rack: Where it stands, like "/rack-1"; empty = the NameNodes know, or it does not matter.
        scan_interval_s: How often trash, leftovers, and how full the volumes are, are looked at.
    """

    node_id: str
    volumes: list[str]
    namenodes: list[str]
    host: str = "127.0.0.1"
    port: int = 0
    advertise_host: str = ""
    token: str = ""
    reserve_bytes: int = 256 * MIB
    heartbeat_interval_ms: int = 1000
    full_report_interval_s: int = 6 * 3600
    scrub_period_s: int = 14 * _DAY_S
    scrub_bytes_per_s: int = 16 * MIB
    copy_bytes_per_s: int = 50_000_000
    capacity_bytes: int = 0
    slow_fsync_ms: int = SLOW_FSYNC_MS
    disk_hangs_after_s: int = HANGS_AFTER_S
    balance_threshold_percent: int = 10
    balance_bytes_per_s: int = 10_000_000
    trash_delay_s: int = 3600
    durability: str = "fsync"
    streams_max: int = 48
    local_socket_dir: str = ""
    rack: str = ""
    scan_interval_s: int = 60
    log_level: str = "INFO"

    def validate(self) -> list[str]:
        """All problems, one line each; empty when there are none."""
        problems = []
        if not _NODE_ID.fullmatch(self.node_id):
            problems.append(f"node_id {self.node_id!r}: 1 to 63 of letters, digits, '.', '_', '-'")
        if not self.volumes:
            problems.append("volumes: name at least one directory")
        if len({os.path.realpath(volume) for volume in self.volumes}) != len(self.volumes):
            problems.append("volumes: a directory is named twice")
        problems += [
            f"namenodes: {url!r} is not an http URL like http://host:port"
            for url in self.namenodes
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname
        ]
        if len(set(self.namenodes)) != len(self.namenodes):
            problems.append("namenodes: a URL is named twice")
        if self.rack and not _RACK.fullmatch(self.rack):
            problems.append(f"rack {self.rack!r}: like /rack-1 or /room-2/rack-1; empty = none")
        if not self.host:
            problems.append("host: empty; use 0.0.0.0 for all addresses")
        if not 0 <= self.port <= 65535:
            problems.append(f"port {self.port}: 0 to 65535")
        at_least = {
            "reserve_bytes": 0,
            "heartbeat_interval_ms": 50,
            "full_report_interval_s": 1,
            "scrub_period_s": 0,
            "scrub_bytes_per_s": 64 * 1024,
            "copy_bytes_per_s": 0,
            "capacity_bytes": 0,
            "slow_fsync_ms": 0,
            "disk_hangs_after_s": 0,
            "balance_threshold_percent": 0,
            "balance_bytes_per_s": 64 * 1024,
            "trash_delay_s": 0,
            "streams_max": 1,
            "scan_interval_s": 1,
        }
        problems += [
            f"{name} {getattr(self, name)}: at least {least}"
            for name, least in at_least.items()
            if getattr(self, name) < least
        ]
        if 0 < self.copy_bytes_per_s < 64 * 1024:
            problems.append(f"copy_bytes_per_s {self.copy_bytes_per_s}: 0 = no limit, or at least 65536")
        if self.durability not in ("fsync", "none"):
            problems.append(f"durability {self.durability!r}: fsync, or none for tests")
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            problems.append(f"log_level {self.log_level!r}: DEBUG, INFO, WARNING or ERROR")
        return problems
