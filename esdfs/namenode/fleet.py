"""The NameNodes of a cluster, as one of them tells it."""

from collections.abc import Sequence
from typing import Any

from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.events import VoterEntry
from esdfs.namenode.leading import Quorum


def namenodes(config: NameNodeConfig, quorum: Quorum, voters: Sequence[VoterEntry]) -> list[dict[str, Any]]:
    """Who votes, and as what; of the others only who leads is known here."""
    leader_id, mine = quorum.leader()[0], config.node_id
    here = {"node_id": mine, "role": quorum.role(), "rest": config.rest_url, "grpc": config.grpc_address}
    if not voters and leader_id == mine:  # a cluster of one, of before these were journaled
        return [{**here, "kind": "voter"}]
    observing = [] if any(voter.node_id == mine for voter in voters) else [{**here, "kind": "observer"}]
    return observing + [
        {
            "node_id": voter.node_id,
            "role": here["role"]
            if voter.node_id == mine
            else "leader"
            if voter.node_id == leader_id
            else "follower",
            "kind": voter.kind,
            "rest": voter.rest,
            "grpc": voter.grpc,
        }
        for voter in voters
    ]
