"""What is below a directory in the present, read raw: for looks at everything."""

from collections.abc import Iterator
from typing import Final

from esdfs.ids import ROOT
from esdfs.namenode.projection import layout
from esdfs.namenode.projection.layout import U64
from esdfs.namenode.projection.views import PresentView

_PIECE: Final = 200


def below(view: PresentView, directory: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of everything in ``cur`` under a directory."""
    waiting = [directory]
    while waiting:
        parent = waiting.pop()
        for name, value in view.entries(parent, b""):
            yield U64.pack(parent) + name, value
            inode, is_directory = layout.entry_id(value)
            if is_directory:
                waiting.append(inode)


def linked_blocks(view: PresentView) -> Iterator[list[int]]:
    """Blocks that files name which they were not written for: those of copies, and of what was restored.

    In pieces, also empty ones: the caller can do something else in between. Seconds per million files.
    """
    piece: list[int] = []
    for seen, (_, value) in enumerate(below(view, ROOT), 1):
        if blocks := layout.blocks_in(value):
            record = view.block(blocks[0].block_id)
            if record is None or record.inode != layout.entry_id(value)[0]:
                piece += [block.block_id for block in blocks]
        if seen % _PIECE == 0:
            yield piece
            piece = []
    yield piece
