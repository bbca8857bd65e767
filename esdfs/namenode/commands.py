"""What clients may ask of the namespace, as values.

A command is imperative and may be refused; what happened because of it is an event (``events``). The
same types are the JSON of `POST /transactions` (tag ``kind``) and the payload of the command socket.
Paths are absolute and already normalised (``namespace.paths``).
"""

from typing import TypeAlias

import msgspec


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base: strict JSON objects with a ``kind``."""


class MakeDirectory(_Command, frozen=True, tag="make-directory"):
    """Make a directory; with ``parents`` also those above it, and an existing one is no error."""

    path: str
    parents: bool = False
    mode: int = 0o755
    owner: str = ""
    group: str = ""


class CreateFile(_Command, frozen=True, tag="create-file"):
    """Open a new file for writing: a lease, and optionally its first blocks. Invisible until complete.

    Attributes:
        replication, block_size_bytes: 0 = the cluster's default.
        blocks: How many to allocate at once.
        lease: The writer's own token; required again by every later step.
        exclude: Node ids not to place replicas on.
        if_version: Refuse unless the path's present version (txid) is this; 0 = whatever.
    """

    path: str
    lease: str
    overwrite: bool = False
    parents: bool = False
    replication: int = 0
    block_size_bytes: int = 0
    mode: int = 0o644
    owner: str = ""
    group: str = ""
    blocks: int = 0
    exclude: list[str] = []
    if_version: int = 0


class AddBlocks(_Command, frozen=True, tag="add-blocks"):
    """Allocate blocks of an open file; give up those that failed."""

    file_id: int
    lease: str
    count: int = 1
    exclude: list[str] = []
    abandon: list[int] = []


class WrittenBlock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A block as its writer says the pipeline acknowledged it.

    Attributes:
        replicas: Node ids whose receipts the writer holds.
    """

    block_id: int
    generation: int
    length_bytes: int
    stored_bytes: int
    crc32c: int
    replicas: list[str]
    compressed: bool = False


class CompleteFile(_Command, frozen=True, tag="complete-file"):
    """Publish an open file, replacing what its path names if it was opened to overwrite.

    Attributes:
        blocks: All of them, in file order. None may be missing, all but the last must be full.
        crc32c: Of the whole file.
        mtime_us: 0 = now.
    """

    file_id: int
    lease: str
    blocks: list[WrittenBlock] = []
    crc32c: int = 0
    mtime_us: int = 0


class AbortFile(_Command, frozen=True, tag="abort-file"):
    """Give up an open file; its blocks become garbage."""

    file_id: int
    lease: str
    reason: str = "aborted by its writer"


class Rename(_Command, frozen=True, tag="rename"):
    """Move a file or directory.

    A directory as target: it must be empty and the source a directory (POSIX), and ``overwrite`` set.
    A file as target: ``overwrite`` must be set and the source be a file.
    """

    source: str
    target: str
    overwrite: bool = False
    if_version: int = 0


class Delete(_Command, frozen=True, tag="delete"):
    """Remove a file, an empty directory or, if ``recursive``, a directory with all below it.

    Attributes:
        path: Or, if empty, ``file_id``.
        only: "file" or "directory" refuses the other; "" takes both.
    """

    path: str = ""
    file_id: int = 0
    recursive: bool = False
    only: str = ""
    if_version: int = 0


class SetAttributes(_Command, frozen=True, tag="set-attributes"):
    """Change some attributes; None keeps the present value. ``replication`` only of files."""

    path: str = ""
    file_id: int = 0
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    replication: int | None = None
    mtime_us: int | None = None
    if_version: int = 0


class Restore(_Command, frozen=True, tag="restore"):
    """Link a past version of a file or directory; no bytes are copied.

    Attributes:
        as_of: The txid whose state is wanted.
        target: Where to; "" = the same path.
        overwrite: Replace a file that is at the target now (its version stays in history).
    """

    path: str
    as_of: int
    target: str = ""
    overwrite: bool = True


class Copy(_Command, frozen=True, tag="copy"):
    """Link a file's present blocks under a second name, as a file of its own."""

    source: str
    target: str
    overwrite: bool = False


class MoveCursor(_Command, frozen=True, tag="move-cursor"):
    """Note how far a named reader of the journal has got; makes the cursor when there is none.

    Attributes:
        txid: It has dealt with everything up to there, inclusive. A lower one than is known changes nothing,
            unless ``reset``.
        coalesce: Change nothing either within a second of the last move: whoever asks comes back.
        belated: Accepted a while ago. A cursor that was dropped meanwhile stays dropped.
    """

    name: str
    txid: int
    reset: bool = False
    coalesce: bool = False
    belated: bool = False


class DropCursor(_Command, frozen=True, tag="drop-cursor"):
    """Forget a named reader of the journal."""

    name: str


class SetRetention(_Command, frozen=True, tag="set-retention"):
    """How much history everybody may look into; None keeps the present value, 0 is without limit.

    Attributes:
        window_s: By age.
        records_max: By number of transactions.
    """

    window_s: int | None = None
    records_max: int | None = None


class CreateSnapshot(_Command, frozen=True, tag="create-snapshot"):
    """Keep a state readable under a name, whatever the window.

    Attributes:
        path: A directory with all below it, or a file; "/" = everything.
        as_of: The txid whose state is kept, if it can still be read; 0 = now.
    """

    name: str
    path: str = "/"
    as_of: int = 0


class DeleteSnapshot(_Command, frozen=True, tag="delete-snapshot"):
    """What only this snapshot kept is forgotten soon."""

    name: str


class SetDataNodeState(_Command, frozen=True, tag="set-datanode-state"):
    """What is wanted of a DataNode, whatever becomes of the processes.

    Attributes:
        state: ``in-service``, ``maintenance`` or ``decommissioning``.
        for_s, until_us: Of a maintenance, one of them: its length from now, or its end.
        why: For people; one line.
        force: Even if fewer DataNodes are left in service than a new file needs.
    """

    node_id: str
    state: str
    for_s: int = 0
    until_us: int = 0
    why: str = ""
    force: bool = False


Command: TypeAlias = (
    MakeDirectory
    | CreateFile
    | AddBlocks
    | CompleteFile
    | AbortFile
    | Rename
    | Delete
    | SetAttributes
    | Restore
    | Copy
    | MoveCursor
    | DropCursor
    | SetDataNodeState
    | SetRetention
    | CreateSnapshot
    | DeleteSnapshot
)
