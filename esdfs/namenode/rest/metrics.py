"""/metrics: Prometheus text. The engine's numbers, and this worker's own requests under its pid.

Every worker answers for itself: a scrape shows the engine's values and one worker's counters. The pid
label keeps the counters of different workers apart.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from falcon.asgi import Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from esdfs.namenode.rest.cluster import engine_status
from esdfs.namenode.rest.cursors import standing
from esdfs.namenode.rest.datanode_metrics import datanode_metrics
from esdfs.namenode.rest.edge import Edge
from esdfs.namenode.rest.middleware import RequestCounts
from esdfs.namenode.rest.ports import DataNodeRow

_GAUGES: Final = {
    "epoch": ("esdfs_epoch", "The newest leader's reign (Raft: term)"),
    "last_txid": ("esdfs_journal_seq", "Last record of this NameNode's journal"),
    "commit_txid": ("esdfs_journal_commit_seq", "Last committed record"),
    "oldest_txid": ("esdfs_journal_oldest_seq", "First record that history reaches back to"),
    "history_oldest_txid": ("esdfs_history_oldest_seq", "First txid that can be read without a snapshot"),
    "history_wanted_txid": ("esdfs_history_wanted_seq", "What that becomes when the horizon moves next"),
    "history_purged_txid": ("esdfs_history_purged_seq", "What ended up to here was forgotten, or is held"),
    "history_held_versions": ("esdfs_history_held_versions", "Versions that only snapshots hold"),
    "history_snapshots": ("esdfs_snapshots", "Snapshots there are"),
    "pending_requests": ("esdfs_engine_pending_requests", "Requests waiting for the next batch"),
    "alarm_count": ("esdfs_replicas_ahead", "Replicas the journal does not tell of: see esdfs fsck"),
    "safe_mode": ("esdfs_safe_mode", "1 while too few blocks are reported"),
    "copying_stopped": ("esdfs_copying_stopped", "1 while no copies are made or deleted: see /cluster"),
    "read_only": ("esdfs_read_only", "1 while the NameNode's disk is nearly full"),
}


class Metrics:
    """/metrics."""

    def __init__(self, edge: Edge, counts: RequestCounts) -> None:
        self._edge = edge
        self._counts = counts

    async def on_get(self, req: Request, resp: Response) -> None:
        """Everything, in the text format."""
        del req
        status = await engine_status(self._edge, resp)
        registry = CollectorRegistry(auto_describe=False)
        cursors = (await standing(self._edge)).cursors
        registry.register(_Values(status, self._edge.locations.datanodes(), self._counts, cursors))
        resp.data = generate_latest(registry)
        resp.content_type = CONTENT_TYPE_LATEST


class _Values(Collector):
    def __init__(
        self,
        status: Mapping[str, Any],
        nodes: Mapping[int, DataNodeRow],
        counts: RequestCounts,
        cursors: Sequence[Mapping[str, Any]],
    ) -> None:
        self._status = status
        self._nodes = nodes
        self._counts = counts
        self._cursors = cursors

    def collect(self) -> Iterator[Metric]:
        yield from self._of_engine()
        yield from datanode_metrics(self._nodes.values())
        yield from self._of_worker()
        yield from self._of_cursors()

    def _of_engine(self) -> Iterator[Metric]:
        status = self._status
        for field, (name, text) in _GAUGES.items():
            if field in status:
                value = status[field]
                yield GaugeMetricFamily(name, text, int(bool(value) if isinstance(value, str) else value))
        role = GaugeMetricFamily("esdfs_namenode_role", "1 for the role this NameNode has", labels=["role"])
        role.add_metric([status["role"]], 1)
        yield role
        blocks = GaugeMetricFamily("esdfs_blocks", "Blocks of files by state", labels=["state"])
        for state, value in _numbers(status.get("blocks")):
            blocks.add_metric([state], value)
        yield blocks
        under = dict(_numbers(status.get("blocks"))).get("under_replicated")
        if under is not None:
            yield GaugeMetricFamily("esdfs_blocks_under_replicated", "Blocks with too few copies", under)
        queues = GaugeMetricFamily("esdfs_replication_queue", "Blocks waiting by queue", labels=["queue"])
        for queue, value in _numbers(status.get("queues")):
            queues.add_metric([queue], value)
        yield queues
        done = CounterMetricFamily(
            "esdfs_replicas",
            "Copied, moved, deleted, found to be bad since the engine started",
            labels=["what"],
        )
        for what, value in _numbers(status.get("done")):
            done.add_metric([what], value)
        yield done
        for counter, value in _numbers(status.get("counters")):
            yield CounterMetricFamily(f"esdfs_engine_{counter}", "Since the engine started", value=value)

    def _of_cursors(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily(
            "esdfs_cursor_lag_seqs", "Records a named reader has not read", labels=["name"]
        )
        late = GaugeMetricFamily(
            "esdfs_cursor_late", "1 = its records are, or will soon be, removed", labels=["name"]
        )
        for cursor in self._cursors:
            lag.add_metric([cursor["name"]], cursor["lag"])
            late.add_metric([cursor["name"]], int(cursor["state"] != "ok"))
        yield from (lag, late)

    def _of_worker(self) -> Iterator[Metric]:
        pid = str(os.getpid())
        requests = CounterMetricFamily(
            "esdfs_http_requests", "Requests of one worker", labels=["pid", "route", "method", "code"]
        )
        for (route, method, status), value in self._counts.requests.items():
            requests.add_metric([pid, route, method, str(status)], value)
        seconds = CounterMetricFamily(
            "esdfs_http_request_seconds", "Time spent in one worker", labels=["pid", "route", "method"]
        )
        for (route, method), spent_ns in self._counts.spent_ns.items():
            seconds.add_metric([pid, route, method], spent_ns / 1e9)
        yield from (requests, seconds)


def _numbers(values: object) -> Iterator[tuple[str, float]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            if isinstance(value, int | float):
                yield str(name), float(value)
