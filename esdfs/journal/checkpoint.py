"""The catalogue of checkpoints: images of a projection, each at a position of the journal. Port and value."""

from typing import Protocol

import msgspec

from esdfs.ids import Epoch, Txid


class Checkpoint(msgspec.Struct, frozen=True):
    """One checkpoint file. It stands for every record up to ``txid``, inclusive.

    Attributes:
        chain: Of the record at ``txid``: with it, what follows can be verified without what came before.
        sha256: Of the file.
        state_digest: Of the projection; equal on every node that applied the same records.
        path: Relative to the node's data directory.
    """

    txid: Txid
    epoch: Epoch
    chain: bytes
    created_us: int
    size_bytes: int
    sha256: bytes
    state_digest: bytes
    path: str


class Checkpoints(Protocol):
    """Which checkpoints this node has. Kept with the journal, so that both are restored together."""

    def checkpoints(self) -> list[Checkpoint]:
        """All of them, newest first."""
        ...

    def remember_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Add one whose file is durable already; replaces one at the same txid. Durable on return."""
        ...

    def forget_checkpoint(self, txid: Txid) -> None:
        """Drop one, before its file goes. Nothing happens when it is not there. Durable on return."""
        ...
