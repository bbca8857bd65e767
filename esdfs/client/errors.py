"""Our errors as Python programs expect them: ``except FileNotFoundError`` works, and so does ``NotFound``."""

import errno
from typing import Final

from esdfs import errors as ours
from esdfs.errors import EsdfsError


class OsErrorOfOurs(EsdfsError, OSError):
    """An error that is both ours and the operating system's."""

    def __init__(self, message: str, **details: str | int | list[str]) -> None:
        super().__init__(message, **details)
        self.errno = _ERRNO[self.code]
        self.strerror = message
        path = details.get("path")
        if isinstance(path, str):
            self.filename = path

    def __str__(self) -> str:
        return self.message


class NotFound(OsErrorOfOurs, ours.NotFound, FileNotFoundError):
    """Nothing is at the path."""


class ParentNotFound(OsErrorOfOurs, ours.ParentNotFound, FileNotFoundError):
    """A directory above the path is missing."""


class AlreadyExists(OsErrorOfOurs, ours.AlreadyExists, FileExistsError):
    """Something is at the path."""


class NotADirectory(OsErrorOfOurs, ours.NotADirectory, NotADirectoryError):
    """A file where a directory is needed."""


class IsADirectory(OsErrorOfOurs, ours.IsADirectory, IsADirectoryError):
    """A directory where a file is needed."""


class DirectoryNotEmpty(OsErrorOfOurs, ours.DirectoryNotEmpty):
    """``OSError`` with ``ENOTEMPTY``."""


class MoveIntoItself(OsErrorOfOurs, ours.MoveIntoItself):
    """``OSError`` with ``EINVAL``."""


class LeaseHeld(OsErrorOfOurs, ours.LeaseHeld):
    """``OSError`` with ``EBUSY``: somebody else is writing it."""


class Unauthenticated(OsErrorOfOurs, ours.Unauthenticated, PermissionError):
    """No token, or a wrong one."""


class InsufficientStorage(OsErrorOfOurs, ours.InsufficientStorage):
    """``OSError`` with ``ENOSPC``."""


class Unreachable(OsErrorOfOurs, ours.Unreachable, ConnectionError):
    """No node answers."""


class DeadlineExceeded(OsErrorOfOurs, ours.DeadlineExceeded, TimeoutError):
    """No answer in time; it may have happened."""


class InvalidPath(ours.InvalidPath, ValueError):
    """Not a path we accept."""


_ERRNO: Final = {
    "not-found": errno.ENOENT,
    "parent-not-found": errno.ENOENT,
    "already-exists": errno.EEXIST,
    "not-a-directory": errno.ENOTDIR,
    "is-a-directory": errno.EISDIR,
    "directory-not-empty": errno.ENOTEMPTY,
    "move-into-itself": errno.EINVAL,
    "lease-held": errno.EBUSY,
    "unauthenticated": errno.EACCES,
    "insufficient-storage": errno.ENOSPC,
    "unreachable": errno.ECONNREFUSED,
    "deadline-exceeded": errno.ETIMEDOUT,
}

_KINDS: Final[dict[str, type[EsdfsError]]] = {
    kind.code: kind
    for kind in (
        NotFound,
        ParentNotFound,
        AlreadyExists,
        NotADirectory,
        IsADirectory,
        DirectoryNotEmpty,
        MoveIntoItself,
        LeaseHeld,
        Unauthenticated,
        InsufficientStorage,
        Unreachable,
        DeadlineExceeded,
        InvalidPath,
    )
}


def familiar(error: EsdfsError) -> EsdfsError:
    """``error``, or the same one of a class that also says what Python calls it."""
    kind = _KINDS.get(error.code)
    if kind is None or isinstance(error, kind):
        return error
    return kind(error.message, **error.details)
