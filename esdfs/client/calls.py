"""What every call to a cluster's NameNodes takes: the way there, and the moment that is read."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

from esdfs.client.control import Control
from esdfs.errors import InvalidRequest

Point: TypeAlias = str | int | datetime
"""A moment of the past: a txid, an ISO time, a duration ago (``2h``), ``@`` and a snapshot's name, or an
aware datetime."""

T = TypeVar("T")


class Calls:
    """Reads and changes over REST.

    Args:
        as_of: Read everything as it was then. Changes are refused.
    """

    def __init__(self, control: Control, as_of: Point | None) -> None:
        self.control = control
        self.as_of = point(as_of)

    def _moment(self, as_of: Point | None) -> str | None:
        return self.as_of if as_of is None else point(as_of)

    def _change(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: Mapping[str, object] | None,
        **query: str,
    ) -> T:
        self._check_present()
        return self.control.change(method, path, kind, body, **query)

    def _check_present(self) -> None:
        if self.as_of is not None:
            raise InvalidRequest(f"this client reads as of {self.as_of}: change things with another one")


def point(as_of: Point | None) -> str | None:
    """A moment as the NameNode takes it."""
    if isinstance(as_of, datetime):
        if as_of.tzinfo is None:
            raise InvalidRequest("as_of needs a datetime with a time zone")
        return as_of.astimezone(UTC).isoformat()
    return None if as_of is None else str(as_of)


def absolute(path: str) -> str:
    """``path``, if it is absolute. Raises `InvalidRequest`."""
    if not path.startswith("/"):
        raise InvalidRequest(f"paths in the cluster are absolute: {path!r} does not start with '/'")
    return path
