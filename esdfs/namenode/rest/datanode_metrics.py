"""What /metrics says of DataNodes, all of it from their last heartbeats."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from esdfs.namenode.namespace.datanode_states import IN_SERVICE
from esdfs.namenode.rest.ports import DataNodeRow

_BY_NODE: Final[dict[str, tuple[str, Callable[[DataNodeRow], float]]]] = {
    "esdfs_capacity_bytes": ("Size of a DataNode's volumes", lambda node: node.storage_capacity),
    "esdfs_used_bytes": (
        "Not available for new replicas",
        lambda node: node.storage_capacity - node.available_space,
    ),
    "esdfs_datanode_stored_bytes": ("Of its replicas", lambda node: node.used_bytes),
    "esdfs_datanode_streams": ("Bulk streams running", lambda node: node.load.streams),
    "esdfs_datanode_read_bytes_per_second": ("Sent", lambda node: node.load.read_bytes_s),
    "esdfs_datanode_write_bytes_per_second": ("Received", lambda node: node.load.write_bytes_s),
    "esdfs_datanode_volumes_failed": ("Out of service", lambda node: sum(v.failed for v in node.volumes)),
    "esdfs_datanode_volumes_slow": ("Take no new blocks", lambda node: sum(v.slow for v in node.volumes)),
    "esdfs_datanode_in_service": (
        "0 = an operator took it out",
        lambda node: node.admin.state == IN_SERVICE,
    ),
    "esdfs_datanode_blocks_left": (
        "Need a copy elsewhere before it may be stopped",
        lambda node: node.admin.blocks_left or 0,
    ),
    "esdfs_datanode_blocks_unreadable": (
        "Of those, nobody can read these: no copy can be made",
        lambda node: node.admin.unreadable,
    ),
    "esdfs_datanode_peers_unreachable": (
        "DataNodes that it cannot connect to",
        lambda node: sum(not peer.reachable for peer in node.peers),
    ),
}

_SECONDS: Final[dict[str, tuple[str, Callable[[DataNodeRow], dict[str, float]]]]] = {
    "esdfs_datanode_read_seconds": (
        "From a request to its first bytes",
        lambda node: {"0.5": node.load.read_p50_ms, "0.99": node.load.read_p99_ms},
    ),
    "esdfs_datanode_store_seconds": (
        "From a stream's last frame to all its receipts",
        lambda node: {"0.5": node.load.store_p50_ms, "0.99": node.load.store_p99_ms},
    ),
    "esdfs_datanode_fsync_seconds": ("Of a block's files", lambda node: {"0.99": node.load.fsync_p99_ms}),
}


def datanode_metrics(nodes: Iterable[DataNodeRow]) -> Iterator[Metric]:
    """One sample per DataNode (and quantile), and how many are in each state."""
    rows = list(nodes)
    states = GaugeMetricFamily("esdfs_datanodes", "DataNodes by state", labels=["state"])
    for state, count in Counter(node.status.value for node in rows).items():
        states.add_metric([state], count)
    yield states
    for name, (text, value_of) in _BY_NODE.items():
        gauge = GaugeMetricFamily(name, text, labels=["node_id"])
        for node in rows:
            gauge.add_metric([node.node_id], value_of(node))
        yield gauge
    for name, (text, values_of) in _SECONDS.items():
        gauge = GaugeMetricFamily(name, text, labels=["node_id", "quantile"])
        for node in rows:
            for quantile, ms in values_of(node).items():
                gauge.add_metric([node.node_id, quantile], ms / 1e3)
        yield gauge
