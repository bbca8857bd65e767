"""Request bodies as strict types: what decodes is in bounds, and unknown fields are refused."""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from esdfs.errors import InvalidRequest
from esdfs.namenode.commands import (
    AbortFile,
    AddBlocks,
    Command,
    CompleteFile,
    Copy,
    CreateFile,
    CreateSnapshot,
    Delete,
    DeleteSnapshot,
    DropCursor,
    MakeDirectory,
    MoveCursor,
    Rename,
    Restore,
    SetAttributes,
    SetDataNodeState,
    SetRetention,
)
from esdfs.namenode.config import BALANCE_BYTES_PER_S_MIN
from esdfs.namenode.namespace.datanode_states import WHY_MAX
from esdfs.namenode.namespace.keeping import NAME_BYTES_MAX, WINDOW_S_MAX, check_snapshot_name
from esdfs.namenode.namespace.paths import check_name, normalise
from esdfs.namenode.rest import request
from esdfs.namenode.rest.answers import TIME_US_MAX
from esdfs.namenode.rest.request import BODY_BYTES_MAX

REPLICATION_MAX: Final = 512
BLOCKS_MAX: Final = 1000
COMMANDS_MAX: Final = 1000
NODES_MAX: Final = 1000

Id = Annotated[int, Meta(ge=1, le=request.ID_MAX)] | Annotated[str, Meta(pattern="^[0-9]{1,19}$")]
Bytes = Annotated[int, Meta(ge=0, le=request.ID_MAX)]
Copies = Annotated[int, Meta(ge=0, le=REPLICATION_MAX)]
Count = Annotated[int, Meta(ge=0, le=BLOCKS_MAX)]
Crc = Annotated[int, Meta(ge=0, lt=1 << 32)] | Annotated[str, Meta(pattern="^[0-9a-fA-F]{1,8}$")]
Bandwidth = Annotated[int, Meta(ge=BALANCE_BYTES_PER_S_MIN, le=1 << 40)] | None
Mode = Annotated[str, Meta(pattern="^[0-7]{1,4}$", description="octal")]
Name = Annotated[str, Meta(max_length=255)]
Nodes = Annotated[list[Name], Meta(max_length=NODES_MAX)]
Path = Annotated[str, Meta(description="absolute; 4096 bytes, 255 a component, 128 deep")]
Time = Annotated[str, Meta(max_length=64, description="ISO 8601")]
Lease = Annotated[str, Meta(min_length=1, max_length=255)]


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base: an object without surprises."""


class Balance(Body, frozen=True):
    """How close each DataNode's use gets to the cluster's; bytes a second each sends (null: as set)."""

    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.1
    bandwidth: Bandwidth = None


class Transfer(Body, frozen=True):
    """Who shall lead; "" = the voter that lacks least."""

    to: Name = ""


class Position(Body, frozen=True):
    """How far a named reader of the journal has got; ``reset`` = also when it was further already."""

    txid: Bytes
    reset: bool = False


class NewVoter(Body, frozen=True):
    """An observer that shall vote."""

    node_id: Annotated[str, Meta(min_length=1, max_length=255)]


class Upload(Body, frozen=True):
    """Open a file for writing. 0 = the cluster's default; without a lease the server makes one."""

    path: Path
    overwrite: bool = False
    parents: bool = False
    replication: Copies = 0
    block_size_bytes: Bytes = 0
    mode: Mode = "0644"
    blocks: Count = 1
    exclude: Nodes = []
    lease: Annotated[str, Meta(max_length=255)] = ""


class MoreBlocks(Body, frozen=True):
    """Allocate blocks of an open file, giving up failed ones."""

    lease: Lease
    count: Count = 1
    exclude: Nodes = []
    abandon: Annotated[list[Id], Meta(max_length=BLOCKS_MAX)] = []


class Written(Body, frozen=True):
    """A block as the pipeline acknowledged it."""

    block_id: Id
    generation: Annotated[int, Meta(ge=0, le=request.ID_MAX)]
    length_bytes: Bytes
    stored_bytes: Bytes
    crc32c: Crc
    replicas: Nodes
    compressed: bool = False


class Complete(Body, frozen=True):
    """Publish an open file. All its blocks in order; ``mtime`` absent = now."""

    lease: Lease
    blocks: list[Written] = []
    crc32c: Crc = 0
    mtime: Time | None = None


class LeaseOnly(Body, frozen=True):
    """Whose open file it is."""

    lease: Lease


class Attributes(Body, frozen=True):
    """What to change; absent = keep."""

    mode: Mode | UnsetType = UNSET
    owner: Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType = UNSET
    group: Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType = UNSET
    replication: Annotated[int, Meta(ge=1, le=REPLICATION_MAX)] | UnsetType = UNSET
    mtime: Time | UnsetType = UNSET


class NewDirectory(Body, frozen=True):
    """Make a directory; with ``parents`` also those above it, and an existing one is no error."""

    path: Path
    parents: bool = False
    mode: Mode = "0755"


class Move(Body, frozen=True):
    """Rename."""

    source: Path
    target: Path
    overwrite: bool = False


class Bring(Body, frozen=True):
    """Link a past version; ``target`` "" = the same path."""

    path: Path
    as_of: Annotated[int, Meta(ge=1, le=request.ID_MAX)] | Annotated[str, Meta(min_length=1, max_length=256)]
    target: Path = ""
    overwrite: bool = True


class Retain(Body, frozen=True):
    """How much history is kept; absent = as it is, 0 = without limit."""

    window_s: Annotated[int, Meta(ge=0, le=WINDOW_S_MAX)] | None = None
    records_max: Annotated[int, Meta(ge=0, le=request.ID_MAX)] | None = None


class NewSnapshot(Body, frozen=True):
    """Keep what is at and below a path as it is, or as it was."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_BYTES_MAX)]
    path: Path = "/"
    as_of: (
        Annotated[int, Meta(ge=1, le=request.ID_MAX)]
        | Annotated[str, Meta(min_length=1, max_length=256)]
        | None
    ) = None


class WantedState(Body, frozen=True):
    """What an operator wants of a DataNode; ``until``: microseconds since 1970, or an ISO time."""

    state: str
    for_s: Annotated[int, Meta(ge=0, le=request.ID_MAX)] = 0
    until: Annotated[int, Meta(ge=0, le=TIME_US_MAX)] | Annotated[str, Meta(max_length=64)] = 0
    why: Annotated[str, Meta(max_length=WHY_MAX)] = ""
    force: bool = False


class Transaction(Body, frozen=True):
    """Commands to carry out, all or none."""

    commands: Annotated[list[Command], Meta(min_length=1, max_length=COMMANDS_MAX)]


upload: Final = msgspec.json.Decoder(Upload).decode
more_blocks: Final = msgspec.json.Decoder(MoreBlocks).decode
complete: Final = msgspec.json.Decoder(Complete).decode
lease_only: Final = msgspec.json.Decoder(LeaseOnly).decode
attributes: Final = msgspec.json.Decoder(Attributes).decode
balance: Final = msgspec.json.Decoder(Balance).decode
transfer: Final = msgspec.json.Decoder(Transfer).decode
new_voter: Final = msgspec.json.Decoder(NewVoter).decode
cursor: Final = msgspec.json.Decoder(Position).decode
new_directory: Final = msgspec.json.Decoder(NewDirectory).decode
move: Final = msgspec.json.Decoder(Move).decode
bring: Final = msgspec.json.Decoder(Bring).decode
retain: Final = msgspec.json.Decoder(Retain).decode
new_snapshot: Final = msgspec.json.Decoder(NewSnapshot).decode
transaction: Final = msgspec.json.Decoder(Transaction).decode
wanted_state: Final = msgspec.json.Decoder(WantedState).decode
anything: Final = msgspec.json.Decoder(dict[str, object]).decode


# --- commands as clients send them ------------------------------------------------------------------

_BOUNDS: Final = {
    "mtime_us": TIME_US_MAX,
    "until_us": TIME_US_MAX,
    "mode": 0o7777,
    "replication": REPLICATION_MAX,
    "blocks": BLOCKS_MAX,
    "count": BLOCKS_MAX,
    "crc32c": (1 << 32) - 1,
}
"""Other numbers: `request.ID_MAX`, which the engine's frames can carry."""
_NAMES: Final = ("owner", "group", "lease", "reason", "name")
_PATHS: Final = ("path", "source", "target")


def checked(command: Command, place: str, owner: str, group: str) -> Command:
    """A client's own command: in bounds, its paths normalised, its owner filled in.

    ``place`` is where in the body it stands, for messages.

    Raises:
        InvalidRequest, InvalidPath: Names the field.
    """
    changed: dict[str, str] = {}
    for field in command.__struct_fields__:
        value = getattr(command, field)
        highest = _BOUNDS.get(field, request.ID_MAX)
        if isinstance(value, int) and not 0 <= value <= highest:
            raise InvalidRequest(f"{place}.{field} must be from 0 to {highest}", field=f"{place}.{field}")
        if field in _NAMES and value:
            request.check_name(f"{place}.{field}", value)
        if field in _PATHS and value and (path := normalise(value)) != value:
            changed[field] = path
    match command:
        case MakeDirectory() | CreateFile():
            _required(command.path, f"{place}.path")
            changed |= {} if command.owner else {"owner": owner}
            changed |= {} if command.group else {"group": group}
        case CompleteFile():
            for block in command.blocks:
                _check_written(block.block_id, block.generation, block.length_bytes, block.stored_bytes)
                request.crc(block.crc32c, f"{place}.blocks.crc32c")
        case AddBlocks():
            for block_id in command.abandon:
                request.identifier(block_id, f"{place}.abandon")
        case Delete():
            if command.only not in {"", "file", "directory"}:
                raise InvalidRequest(f'{place}.only must be "file", "directory" or ""', field=f"{place}.only")
            _path_or_id(command.path, command.file_id, place)
        case SetAttributes():
            _path_or_id(command.path, command.file_id, place)
        case Rename() | Copy():
            _required(command.source, f"{place}.source")
            _required(command.target, f"{place}.target")
        case Restore():
            _required(command.path, f"{place}.path")
        case AbortFile():
            request.identifier(command.file_id, f"{place}.file_id")
        case MoveCursor() | DropCursor():
            check_name(command.name)
        case CreateSnapshot() | DeleteSnapshot():
            check_snapshot_name(command.name)
        case SetRetention() | SetDataNodeState():
            pass  # decided upon as they are
    return msgspec.structs.replace(command, **changed) if changed else command


def _required(path: str, field: str) -> None:
    if not path:
        raise InvalidRequest(f"{field} is missing: give an absolute path", field=field)


def _path_or_id(path: str, file_id: int, place: str) -> None:
    if bool(path) == bool(file_id):
        raise InvalidRequest(f"{place} needs either path or file_id", field=f"{place}.path")


def _check_written(*numbers: int) -> None:
    for number in numbers:
        if not 0 <= number <= request.ID_MAX:
            raise InvalidRequest(f"a number in blocks is not from 0 to {request.ID_MAX}", field="blocks")


assert BODY_BYTES_MAX < 16 << 20, "a body must fit one frame of the command socket"
