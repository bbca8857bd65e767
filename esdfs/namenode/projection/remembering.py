"""The answers of requests, kept for as long as a client may ask again."""

from typing import Any, Final

import msgspec

from esdfs.namenode.projection.holding import HoldingView
from esdfs.namenode.projection.layout import TWO_U64, U64, Meta
from esdfs.namenode.projection.views import Dbs

RESULT_WINDOW_US: Final = 24 * 3600 * 1_000_000
"""How long a request's answer is remembered. Part of the replicated state: the same on every node."""

_remembered: Final = msgspec.msgpack.Decoder(tuple[int, int, msgspec.Raw]).decode


class RememberingView(HoldingView):
    """``HoldingView`` of a transaction that is being made, and what it is answered with."""

    def __init__(self, txn: Any, dbs: Dbs, meta: Meta) -> None:
        super().__init__(txn, dbs, meta)
        self._txid = 0

    def remember(self, client_id: bytes, seq: int, answer: bytes) -> None:
        """Keep a request's answer (``decoding.answer``) for ``RESULT_WINDOW_US``, and drop what is older."""
        meta = self._meta
        key = client_id + U64.pack(seq)
        self._unwritten.results[key] = answer
        # (ts, txid) only grows, so this lands at the table's end.
        self._unwritten.at_ends[b"results_at"].append((TWO_U64.pack(meta.ts_us, self._txid), key))
        if not meta.oldest_result_us:
            meta.oldest_result_us = meta.ts_us
        elif meta.ts_us - meta.oldest_result_us > RESULT_WINDOW_US:
            self._expire_results(meta.ts_us - RESULT_WINDOW_US)

    def _expire_results(self, before_us: int) -> None:
        # Two for every one that comes: the table shrinks, and no single record pays for all.
        cursor = self._txn.cursor(self._dbs[b"results_at"])
        for _ in range(2):
            if not self._first_result(cursor) or U64.unpack_from(cursor.key())[0] >= before_us:
                break
            self._forget_result(cursor.value(), U64.unpack_from(cursor.key(), 8)[0])
            cursor.delete()
        oldest = self._first_result(cursor)
        self._meta.oldest_result_us = U64.unpack_from(cursor.key())[0] if oldest else 0

    def _first_result(self, cursor: Any) -> bool:
        if not cursor.first():
            self.write_all()  # what is held back is newer than all there was
        return bool(cursor.first())

    def _forget_result(self, key: bytes, txid: int) -> None:
        """Unless the key was used again since."""
        value = self._unwritten.results.get(key) or self._txn.get(key, db=self._dbs[b"results"])
        if value is not None and _remembered(value)[1] == txid:
            self._unwritten.results.pop(key, None)
            self._txn.delete(key, db=self._dbs[b"results"])
