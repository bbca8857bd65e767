"""What `esdfs local up` is told on its command line, as values."""

import re
from collections.abc import Sequence
from typing import Any, Final

from esdfs.errors import InvalidRequest

SQLITE: Final = "sqlite"

_NODE: Final = re.compile(r"nn|dn|nn-[1-9][0-9]*|witness-1")


def parse_settings(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings by ``nn``, ``dn``, or the NameNode they are for; ``KEY.ENTRY`` sets one entry of a table.

    Raises:
        InvalidRequest: One is not written so.
    """
    parsed: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        kind, dot, key = name.partition(".")
        if not equals or not dot or not _NODE.fullmatch(kind):
            raise InvalidRequest(f"--set {setting}: write nn.KEY=VALUE, dn.KEY=VALUE or nn-1.KEY=VALUE")
        table, dotted, entry = key.partition(".")
        of_node = parsed.setdefault(kind, {})
        if dotted:
            of_node.setdefault(table, {})[entry] = value
        else:
            of_node[key] = value
    return parsed


def journal_urls(given: str, namenodes: int) -> list[str]:
    """The URL of each NameNode's journal, a witness's last; "" = SQLite in its directory.

    NameNodes that are given the same PostgreSQL URL get a database each, named after the one in it.

    Raises:
        InvalidRequest: Neither one nor as many as there are NameNodes, or one is no database's URL.
    """
    parts = [part.strip() for part in given.split(",")]
    if len(parts) == 1:
        parts *= namenodes
    if len(parts) != namenodes or not all(parts):
        raise InvalidRequest(
            f"--journal names {len(parts)} journals for {namenodes} NameNodes: give one, or one for each"
            " (a witness's last)"
        )
    from esdfs.journal.databases import with_suffix  # noqa: PLC0415 - the database's libraries are slow to load

    return [
        "" if part == SQLITE else with_suffix(part, f"_nn_{number}") if parts.count(part) > 1 else part
        for number, part in enumerate(parts, 1)
    ]
