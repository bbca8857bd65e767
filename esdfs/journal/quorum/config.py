"""How long the quorum waits, and how much it sends at once."""

from typing import Final

import msgspec

from esdfs.ids import Nanos

_NS_PER_MS: Final = 1_000_000


class QuorumConfig(msgspec.Struct, frozen=True):
    """One for all nodes of a cluster: stickiness and leases compare one node's waits with another's.

    Attributes:
        heartbeat_ms: Between the leader's signs of life.
        election_min_ms: A voter that heard from a leader this recently votes for nobody else.
        election_max_ms: Upper end of the random wait before an election. A pause of about
            ``election_min_ms - heartbeat_ms`` costs no leader change.
        check_quorum_ms: A leader that heard from no majority for this long resigns.
        fetch_wait_ms: How long the leader may hold a fetch that has nothing to bring.
        fetch_grace_ms: Added to it before a fetch counts as lost.
        commit_notice_ms: How long the leader may hold the news of a commit for records to travel with.
        journal_stall_ms: A leader whose own journal has not finished a write for this long resigns.
        lease_reads: Whether a leader may answer reads without asking a majority each time. Assumes
            clocks whose rates differ by at most ``clock_drift_percent``.
        fetch_records: Most records in one answer to a fetch.
        fetch_bytes: Most bytes asked for in one fetch.
        uncommitted_records: The leader refuses proposals beyond this backlog. It also bounds how far
            back two journals can part.
        window_records: Newest records kept in memory for followers that keep up.
    """

    heartbeat_ms: int = 100
    election_min_ms: int = 500
    election_max_ms: int = 1000
    check_quorum_ms: int = 1000
    fetch_wait_ms: int = 200
    fetch_grace_ms: int = 150
    commit_notice_ms: int = 10
    journal_stall_ms: int = 5000
    lease_reads: bool = False
    clock_drift_percent: int = 5
    fetch_records: int = 1000
    fetch_bytes: int = 4 << 20
    uncommitted_records: int = 4096
    window_records: int = 4096


class Waits:
    """The same in nanoseconds, converted once."""

    def __init__(self, config: QuorumConfig) -> None:
        self.heartbeat = _ns(config.heartbeat_ms)
        self.election_min = _ns(config.election_min_ms)
        self.election_max = _ns(config.election_max_ms)
        self.check_quorum = _ns(config.check_quorum_ms)
        self.fetch_wait = _ns(config.fetch_wait_ms)
        self.fetch_deadline = _ns(config.fetch_wait_ms + config.fetch_grace_ms)
        self.commit_notice = _ns(config.commit_notice_ms)
        self.journal_stall = _ns(config.journal_stall_ms)
        # A lease ends early and a silence lasts long, by the drift clocks are allowed.
        self.lease = Nanos(self.election_min * (100 - config.clock_drift_percent) // 100)
        self.quiet = Nanos(self.election_min * (100 + config.clock_drift_percent) // 100)


def _ns(ms: int) -> Nanos:
    return Nanos(ms * _NS_PER_MS)
