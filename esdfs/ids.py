"""The few kinds of number and name that everything else is said in."""

from typing import NamedTuple, NewType

Txid = NewType("Txid", int)
"""Position of a record in the journal: dense, from 1. 0 means "before the first"."""

Epoch = NewType("Epoch", int)
"""A leader's reign (Raft: term), from 1. Records of epoch 0 were written by formatting."""

InodeId = NewType("InodeId", int)
"""A file or directory, for ever; never reused. On the wire: its decimal form, `file_id`."""

BlockId = NewType("BlockId", int)
"""A block, for ever; never reused. On the wire: its decimal form."""

Generation = NewType("Generation", int)
"""Generation stamp of a block: a replica with a lower one is stale."""

NodeId = NewType("NodeId", str)
"""A NameNode or DataNode, by its configured name (`nn-1`, `dn-2`)."""

NodeNumber = NewType("NodeNumber", int)
"""The short name the journal gave a DataNode when it first registered."""

Micros = NewType("Micros", int)
"""Microseconds since the Unix epoch, or a duration in microseconds."""

Nanos = NewType("Nanos", int)
"""Nanoseconds on a monotonic clock, or a duration in nanoseconds."""

ROOT = InodeId(1)


class Position(NamedTuple):
    """How far a journal reaches; compared epoch first (Raft §5.4.1)."""

    epoch: Epoch
    txid: Txid


ORIGIN = Position(Epoch(0), Txid(0))
