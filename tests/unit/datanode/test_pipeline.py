import errno
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from esdfs.datanode.pipeline import Peers, Pipeline, fold
from esdfs.datanode.replica import BlockKey
from esdfs.errors import DeadlineExceeded, Unreachable
from esdfs.rpc.messages import BlockResult, Frame, Receipt
from tests.blocks import Shelf, content, plain_frames

KEYS = [BlockKey(1, 1), BlockKey(2, 1)]


def receipt(node_id: str, block_id: int) -> Receipt:
    return Receipt(
        node_id=node_id,
        volume_id="v",
        block_id=block_id,
        generation=1,
        length_bytes=1,
        stored_bytes=1,
        crc32c=1,
    )


MINE = [receipt("dn-1", 1), receipt("dn-1", 2)]


def nodes(result: BlockResult) -> list[str]:
    return [r.node_id for r in result.receipts]


def test_all_receipts_are_folded_ours_first() -> None:
    there = [BlockResult(block_id=n, receipts=(receipt("dn-2", n), receipt("dn-3", n))) for n in (1, 2)]
    results = fold(KEYS, MINE, there, "dn-2")
    assert [r.code for r in results] == ["", ""]
    assert [nodes(r) for r in results] == [["dn-1", "dn-2", "dn-3"]] * 2


def test_without_a_next_hop_there_are_only_ours() -> None:
    assert [nodes(r) for r in fold(KEYS, MINE, [], "")] == [["dn-1"], ["dn-1"]]


def test_a_hop_that_does_not_answer_is_named_and_our_receipt_kept() -> None:
    results = fold(KEYS, MINE, Unreachable("gone"), "dn-2")
    assert {(r.code, r.failed_node_id) for r in results} == {("peer-failed", "dn-2")}
    assert [nodes(r) for r in results] == [["dn-1"], ["dn-1"]]


def test_a_hop_further_down_is_named_as_the_next_one_named_it() -> None:
    there = [
        BlockResult(block_id=1, receipts=(receipt("dn-2", 1),)),
        BlockResult(block_id=2, code="peer-failed", failed_node_id="dn-3", receipts=(receipt("dn-2", 2),)),
    ]
    good, bad = fold(KEYS, MINE, there, "dn-2")
    assert (good.code, nodes(good)) == ("", ["dn-1", "dn-2"])
    assert (bad.code, bad.failed_node_id, nodes(bad)) == ("peer-failed", "dn-3", ["dn-1", "dn-2"])


def test_a_hop_that_was_late_is_told_as_that_by_all_before_it() -> None:
    late = fold(KEYS[:1], MINE[:1], DeadlineExceeded("no sign of progress"), "dn-3")
    (told,) = fold(KEYS[:1], [], late, "dn-2")
    assert (told.code, told.failed_node_id) == ("deadline-exceeded", "dn-3")
    assert isinstance(told.error(), DeadlineExceeded)


def test_a_block_the_next_hop_does_not_mention_failed_there() -> None:
    _, second = fold(KEYS, MINE, [BlockResult(block_id=1)], "dn-2")
    assert (second.code, second.failed_node_id) == ("peer-failed", "dn-2")


class Gone:
    """A sender that did not wait."""

    def alive(self) -> bool:
        return False

    def remaining_s(self) -> float | None:
        return None


def test_a_disk_that_fails_as_a_stream_is_dropped_keeps_nothing_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path, volumes=2)
    pipeline = Pipeline(shelf.store, cast("Peers", None), "dn-1", lambda: "")
    data = content(100_000)
    unlink = Path.unlink
    failed: list[Path] = []

    def first_fails(path: Path, missing_ok: bool = False) -> None:
        if not failed:
            failed.append(path)
            raise OSError(errno.EROFS, "read-only")
        unlink(path, missing_ok)

    def frames() -> Iterator[Frame]:
        for block_id in (1, 2, 3):
            yield from plain_frames(block_id, data)

    monkeypatch.setattr(Path, "unlink", first_fails)
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    assert {result.code for result in pipeline.receive(frames(), Gone())} == {"peer-failed"}
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before
    assert [bool(volume.failed) for volume in shelf.volumes].count(True) == 1
    for block_id in (1, 2, 3):
        shelf.put(plain_frames(block_id, data))
