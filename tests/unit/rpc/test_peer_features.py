from esdfs._proto import namenode_pb2 as pb
from esdfs.rpc.peer_features import PeerFeatures
from tests.unit.namenode.world import FakeClock

SECOND_NS = 1_000_000_000


def envelope(sender: str = "b", storage_id: str = "s", cluster_id: str = "c") -> pb.Envelope:
    return pb.Envelope(cluster_id=cluster_id, from_id=sender, from_storage_id=storage_id)


def said(peers: PeerFeatures, age_s: float = 1) -> dict[tuple[str, str], tuple[str, int, int]]:
    seen = peers.since(int(age_s * SECOND_NS))
    return {key: (each.kind, each.oldest, each.newest) for key, each in seen.items()}


def test_what_one_node_stamps_another_reads() -> None:
    peers, other = PeerFeatures("c", 1, 2, FakeClock()), PeerFeatures("c", 2, 5, FakeClock())
    request = envelope()
    other.stamp(request)
    peers.heard(pb.Envelope.FromString(request.SerializeToString()), "observer")
    assert said(peers) == {("b", "s"): ("observer", 2, 5)}


def test_a_release_that_says_nothing_reads_level_1() -> None:
    peers = PeerFeatures("c", 1, 2, FakeClock())
    peers.heard(envelope())
    assert said(peers) == {("b", "s"): ("", 1, 1)}


def test_the_newest_word_counts_a_vote_keeps_the_capacity_and_another_cluster_is_not_heard() -> None:
    peers, newer = PeerFeatures("c", 1, 2, FakeClock()), PeerFeatures("c", 1, 2, FakeClock())
    peers.heard(envelope(), "observer")
    request = envelope()
    newer.stamp(request)
    peers.heard(request)
    peers.heard(envelope(cluster_id="other", sender="x"))
    assert said(peers) == {("b", "s"): ("observer", 1, 2)}


def test_who_is_silent_is_forgotten_and_a_new_disk_is_another_node() -> None:
    clock = FakeClock()
    peers = PeerFeatures("c", 1, 2, clock)
    peers.heard(envelope(), "voter")
    clock.sleep(5)
    peers.heard(envelope(storage_id="s2"), "voter")
    assert said(peers) == {("b", "s2"): ("voter", 1, 1)}
    assert len(said(peers, age_s=6)) == 2
