"""Taking people and names out of a journal, so that it may be shown to others and still replays. Pure.

Every distinct name becomes a number, in the order of the names: what depends on order (how a restored tree is
numbered) comes out the same. Equal names stay equal, within one export. Sizes, times, ids and who depends on
whom stay as they are.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec.structs import replace

from esdfs.journal.segments import Row
from esdfs.namenode import events as ev
from esdfs.namenode.event_codec import pack_all, unpack
from esdfs.namenode.events import Event
from esdfs.namenode.upcasters import LEVEL_OLDEST
from esdfs.namenode.upgrading import level_of

_NAMES: Final = ("name", "source_name", "target_name")
_PEOPLE: Final = ("owner", "group")
_HIDDEN: Final = "hidden"


class Redaction:
    """Learns all names in a first pass over a journal, and hides them in a second one.

    Attributes:
        tokens: What stands for what: the exporter's own, to be kept apart from the export.
    """

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {"n": set(), "u": set(), "a": set()}
        self.tokens: dict[str, dict[str, str]] = {}
        self._level = LEVEL_OLDEST

    def learn(self, row: Row) -> None:
        """First pass, record by record."""
        self._seen["u"].add(row[7])
        self._seen["a"].add(row[8])
        for event in unpack(row[3], row[4], row[9]).events:
            _hidden(event, self._learn)

    def ready(self) -> None:
        """All is learned."""
        for letter, seen in self._seen.items():
            known = sorted(seen - {""}, key=str.encode)
            width = len(str(len(known)))
            self.tokens[letter] = {text: f"{letter}{i:0{width}}" for i, text in enumerate(known)} | {"": ""}

    def hide(self, row: Row) -> Row:
        """Second pass: the record without what must not be told. Its sums stay those of the original."""
        unpacked = unpack(row[3], row[4], row[9])
        events = [_hidden(event, self._token) for event in unpacked.events]
        packed = pack_all(events, unpacked.commands, unpacked.request_hash, level=self._level)
        self._level = max(self._level, *map(level_of, events))
        who, where = self.tokens["u"][row[7]], self.tokens["a"][row[8]]
        return (*row[:3], packed.kind, packed.version, *row[5:7], who, where, packed.payload, *row[10:])

    def _learn(self, letter: str, text: str) -> str:
        self._seen[letter].add(text)
        return text

    def _token(self, letter: str, text: str) -> str:
        return self.tokens[letter][text]


def _hidden(event: Event, say: Callable[[str, str], str]) -> Event:
    changes: dict[str, Any] = {}
    if isinstance(event, ev.SnapshotCreated):
        changes["path"] = "/" + "/".join(say("n", part) for part in event.path.strip("/").split("/") if part)
        changes["name"] = say("n", event.name)
    elif isinstance(event, ev.VotersChanged):
        voters = event.voters
        changes["voters"] = tuple(replace(v, grpc=say("a", v.grpc), rest=say("a", v.rest)) for v in voters)
    else:
        changes |= _fields(event, _NAMES, "n", say) | _fields(event, _PEOPLE, "u", say)
    if isinstance(event, ev.FileOpened):
        changes["lease"] = _HIDDEN
    if isinstance(event, ev.DataNodeStateSet):
        changes["why"] = event.why and _HIDDEN
    return replace(event, **changes)


def _fields(
    event: Event, names: Iterable[str], letter: str, say: Callable[[str, str], str]
) -> dict[str, str]:
    given = {name: getattr(event, name, None) for name in names}
    return {name: say(letter, text) for name, text in given.items() if text is not None}
