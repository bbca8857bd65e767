"""What was done about replicas since this NameNode started."""

import msgspec


class Tally(msgspec.Struct, kw_only=True):
    """Counts that only grow.

    Attributes:
        copied: Copies that arrived, of those that were ordered because a block lacked them.
        moved: The same of those that were ordered to balance.
        copies_failed: Of either kind: a source said so, or nothing was heard in time.
        deletions: Orders to delete a replica.
        corrupt: Replicas that their DataNodes found to be bad.
    """

    copied: int = 0
    moved: int = 0
    copies_failed: int = 0
    deletions: int = 0
    corrupt: int = 0
