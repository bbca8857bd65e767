"""An exported journal as something to read from its beginning: for proofs, replays and judgements."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from esdfs.errors import InvalidRequest, TooLarge
from esdfs.journal.export import Export
from esdfs.journal.segments import Row

Progress = Callable[[int], None] | None
"""Called with the bytes that were read since."""


@contextmanager
def opened(file: Path, progress: Progress = None) -> Iterator[Export]:
    """The export in ``file``, its header read.

    Raises:
        InvalidRequest: It cannot be read.
        JournalCorrupt: It is no exported journal, or its beginning is damaged.
    """
    try:
        with file.open("rb") as source:
            yield Export(_Counted(source, progress))
    except OSError as error:
        raise InvalidRequest(f"{file}: {error.strerror}") from error


def from_the_first(file: Path, export: Export, to: int | None) -> Iterator[list[Row]]:
    """The records up to txid ``to``, or all, each proven before it is given.

    Read to its end the file is proven whole; what follows the page of ``to`` is not looked at.

    Raises:
        TooLarge: It does not begin at txid 1.
        JournalCorrupt: The first record that is not as it was written.
    """
    if export.header.first_txid != 1:
        raise TooLarge(
            f"{file} begins at txid {export.header.first_txid}: replay needs every record from txid 1 on."
            " Export without --from"
        )
    for page in export.pages():
        if to is not None and page[-1][0] >= to:
            yield page[: to - page[0][0] + 1]
            return
        yield page


class _Counted:
    """A source that tells how far it was read."""

    def __init__(self, source: BinaryIO, progress: Progress) -> None:
        self._source, self._progress = source, progress

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        if self._progress is not None:
            self._progress(len(data))
        return data
