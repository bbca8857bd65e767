import pytest

from esdfs.datanode.replica import BlockKey, Replica
from esdfs.datanode.reports import Deltas, full_report


def replica(number: int) -> Replica:
    return Replica(number, 1, 0, number * 10, number * 10, 0, 0)


def key(number: int) -> BlockKey:
    return BlockKey(number, 1)


def test_a_full_report_names_every_replica_once_in_pages() -> None:
    pages = list(full_report([replica(n) for n in range(1, 8)], [key(9)], page=3))
    assert [len(page.stored) for page in pages] == [3, 3, 1]
    assert [entry for page in pages for entry in page.stored] == [(n, 1, n * 10) for n in range(1, 8)]
    assert [page.first for page in pages] == [True, False, False]
    assert [page.last for page in pages] == [False, False, True]
    assert pages[0].corrupt == ((9, 1),)
    assert all(page.full for page in pages)


def test_an_empty_node_reports_that_it_is_empty() -> None:
    (page,) = full_report([], [])
    assert (page.full, page.first, page.last, page.stored) == (True, True, True, ())


def test_later_news_about_a_block_overtakes_earlier() -> None:
    deltas = Deltas()
    deltas.stored(key(1), 10)
    deltas.removed(key(1))
    deltas.removed(key(2))
    deltas.stored(key(2), 20)
    deltas.stored(key(3), 30)
    deltas.corrupt(key(3))
    news = deltas.take()
    assert news is not None
    assert (news.stored, news.removed, news.corrupt) == (((2, 1, 20),), ((1, 1),), ((3, 1),))
    assert deltas.take() is None


def test_an_undelivered_report_waits_again_behind_newer_news() -> None:
    deltas = Deltas()
    deltas.stored(key(1), 10)
    deltas.stored(key(2), 20)
    deltas.replication_failed(key(5), "dn-3")
    lost = deltas.take()
    assert lost is not None
    deltas.removed(key(1))
    deltas.back(lost)
    news = deltas.take()
    assert news is not None
    assert (news.stored, news.removed) == (((2, 1, 20),), ((1, 1),))
    assert news.failed_replications == ((5, 1, "dn-3"),)


def test_a_report_is_never_longer_than_a_page() -> None:
    deltas = Deltas()
    for number in range(1, 8):
        deltas.stored(key(number), 1)
    sizes = []
    while (news := deltas.take(limit=3)) is not None:
        sizes.append(len(news.stored))
    assert sizes == [3, 3, 1]


def test_what_a_namenode_misses_for_long_is_dropped_and_said_by_a_full_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("esdfs.datanode.reports._WAITING_MAX", 4)
    deltas = Deltas()
    deltas.stored(key(1), 10)
    deltas.removed(key(2))
    deltas.corrupt(key(3))
    deltas.replication_failed(key(4), "dn-2")
    seen = [deltas.overflowed]
    deltas.removed(key(5))
    seen.append(deltas.overflowed)
    assert deltas.take() is None
    deltas.stored(key(6), 10)
    seen.append(deltas.overflowed)
    deltas.clear()
    seen.append(deltas.overflowed)
    assert seen == [False, True, True, False], "until a full report begins"
