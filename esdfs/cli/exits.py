"""What each error means to a shell: one table."""

from enum import IntEnum
from typing import Final

from esdfs.errors import EsdfsError


class Exit(IntEnum):
    """The exit statuses of ``esdfs``. 2 (usage) and 130 (interrupted) come from Typer."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    UNKNOWN = 4


STATUS: Final[dict[str, Exit]] = {
    "invalid-request": Exit.REFUSED,
    "invalid-path": Exit.REFUSED,
    "payload-too-large": Exit.REFUSED,
    "future-txid": Exit.REFUSED,
    "unauthenticated": Exit.REFUSED,
    "not-found": Exit.REFUSED,
    "parent-not-found": Exit.REFUSED,
    "already-exists": Exit.REFUSED,
    "not-a-directory": Exit.REFUSED,
    "is-a-directory": Exit.REFUSED,
    "directory-not-empty": Exit.REFUSED,
    "move-into-itself": Exit.REFUSED,
    "lease-held": Exit.REFUSED,
    "lease-lost": Exit.REFUSED,
    "precondition-failed": Exit.REFUSED,
    "incomplete-file": Exit.REFUSED,
    "idempotency-mismatch": Exit.REFUSED,
    "compacted": Exit.REFUSED,
    "too-large": Exit.REFUSED,
    "unavailable": Exit.REFUSED,
    "restoring": Exit.REFUSED,
    "safe-mode": Exit.REFUSED,
    "overloaded": Exit.REFUSED,
    "not-enough-datanodes": Exit.REFUSED,
    "insufficient-storage": Exit.REFUSED,
    "not-leader": Exit.UNREACHABLE,  # NameNodes answer, but nobody leads them
    "outcome-unknown": Exit.UNKNOWN,
    "deadline-exceeded": Exit.UNKNOWN,
    "unreachable": Exit.UNREACHABLE,
    "unknown-datanode": Exit.REFUSED,
    "identity-conflict": Exit.REFUSED,
    "too-few-serving": Exit.REFUSED,
    "membership-refused": Exit.REFUSED,
    "generation-fenced": Exit.REFUSED,
    "replica-not-found": Exit.REFUSED,
    "replica-corrupt": Exit.REFUSED,
    "replica-exists": Exit.REFUSED,
    "checksum-mismatch": Exit.REFUSED,
    "out-of-range": Exit.REFUSED,
    "volume-full": Exit.REFUSED,
    "disk-failed": Exit.REFUSED,
    "peer-failed": Exit.REFUSED,
    "epoch-fenced": Exit.REFUSED,
    "journal-fenced": Exit.REFUSED,
    "journal-unavailable": Exit.REFUSED,
    "journal-corrupt": Exit.REFUSED,
    "checkpoint-damaged": Exit.REFUSED,
    "checkpoint-gone": Exit.REFUSED,
    "upgrade-needed": Exit.REFUSED,
    "upgrade-held-back": Exit.REFUSED,
    "newer-release": Exit.REFUSED,
}


def exit_status(error: EsdfsError) -> Exit:
    """For ``error``; a code this program does not know (a newer peer's) is a refusal."""
    return STATUS.get(error.code, Exit.REFUSED)
