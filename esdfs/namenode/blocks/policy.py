"""How patient and how eager the block manager is. Values, in milliseconds unless named otherwise."""

import msgspec

from esdfs.namenode.config import NameNodeConfig


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What may be tuned.

    Attributes:
        inactive_after_ms, dead_after_ms: Ages of the last heartbeat.
        pause_ms: A tick later than this means that we slept: nobody is late by our own pause.
        slice_ms: Work at most so long at a time; the thread is not ours alone.
        slice_blocks: Of reports and walks, looked at together; between them the clock is.
        streams_per_source, streams_per_target: Copies at once.
        schedule_every_ms: Heartbeats have copies chosen at most so often.
        copy_timeout_ms: A copy that is not reported by then is ordered anew.
        rack_wait_ms: A copy waits so long for a busy DataNode on another rack than all others of its block,
            unless it is the only one.
        copy_backoff_ms: A target that failed is left alone so long, for that block.
        brake_share: More than this share of the DataNodes lost within ``brake_window_ms`` (and at least
            ``brake_nodes_min``) looks like a network, not like disks: copying stops for at most
            ``brake_hold_ms``.
        delete_answer_ms: A deletion not reported by then is looked into with a full report.
        delete_settle_ms: A full report begun so long after a deletion was ordered shows its outcome.
        deletes_per_heartbeat: At most so many orders in one answer.
        orphan_grace_ms: A reported block nobody knows is left alone so long.
        purge_grace_ms: Blocks of forgotten history are left alone so long: somebody may be reading them.
        alarm_after_ms: A follower gives the record of a reported block so long to reach it.
        hint_ms: A copy acknowledged to a writer is expected in its DataNode's report by then.
        safe_mode_min_ms, safe_mode_max_ms: Of a cold start. The latter ends it with a warning.
        safe_mode_scan_ms, safe_mode_recount_ms: Blocks are counted again so long after they were: when enough
            may be reported by then, and in any case.
        safe_mode_percent: Blocks with a reported copy that end it.
        full_report_every_ms: Every DataNode is asked to say everything at least so often.
        takeover_report_ms: A new leader asks all of them within this time: only then it deletes.
        scan_interval_ms: All blocks are walked this often, whatever events said.
        forget_after_ms: A dead DataNode whose blocks are all safe elsewhere is forgotten.
        reserve_bytes: Kept free on a target beyond the block; DataNodes keep a reserve of their own.
        slow_factor, slow_ms: A DataNode whose fsyncs or first bytes (p99) take this many times the median of
            all, and at least so long, gets new copies only when no other has room.
        balance_threshold: Balance whenever a DataNode's use is further than this from the cluster's; 0 = only
            when an operator says so.
        balance_bytes_per_s: Each DataNode sends at most so much of that, unless an operator says otherwise.
        balance_pause_ms: Balancing that nobody asked for begins this long after the last at the earliest.
        queued_max: Blocks remembered as needing copies as much as another, or more; the scan finds the others
            again.
    """

    heartbeat_interval_ms: int = 1_000
    inactive_after_ms: int = 10_000
    dead_after_ms: int = 60_000
    pause_ms: int = 2_000
    slice_ms: int = 5
    slice_blocks: int = 512
    streams_per_source: int = 2
    streams_per_target: int = 4
    schedule_every_ms: int = 50
    copy_timeout_ms: int = 60_000
    rack_wait_ms: int = 300_000
    copy_backoff_ms: int = 5_000
    brake_share: float = 0.3
    brake_nodes_min: int = 3
    brake_window_ms: int = 300_000
    brake_hold_ms: int = 1_800_000
    delete_answer_ms: int = 60_000
    delete_settle_ms: int = 30_000
    deletes_per_heartbeat: int = 200
    orphan_grace_ms: int = 60_000
    purge_grace_ms: int = 60_000
    alarm_after_ms: int = 30_000
    hint_ms: int = 60_000
    safe_mode_min_ms: int = 30_000
    safe_mode_max_ms: int = 600_000
    safe_mode_scan_ms: int = 2_000
    safe_mode_recount_ms: int = 60_000
    safe_mode_percent: float = 99.9
    full_report_every_ms: int = 21_600_000
    takeover_report_ms: int = 30_000
    scan_interval_ms: int = 600_000
    forget_after_ms: int = 86_400_000
    reserve_bytes: int = 0
    slow_factor: float = 3.0
    slow_ms: float = 200.0
    queued_max: int = 200_000
    balance_threshold: float = 0.0
    balance_bytes_per_s: int = 20_000_000
    balance_pause_ms: int = 600_000


def from_config(config: NameNodeConfig) -> Policy:
    """What a NameNode's settings say; the rest as above."""
    return Policy(
        heartbeat_interval_ms=config.heartbeat_interval_ms,
        inactive_after_ms=config.inactive_after_ms,
        dead_after_ms=config.dead_after_ms,
        safe_mode_min_ms=config.safe_mode_min_ms,
        purge_grace_ms=config.purge_grace_ms,
        orphan_grace_ms=config.purge_grace_ms,
        balance_threshold=config.balance_threshold,
        balance_bytes_per_s=config.balance_bytes_per_s,
    )


def ns(ms: int) -> int:
    """Milliseconds as nanoseconds, which is what monotonic clocks tell."""
    return ms * 1_000_000
