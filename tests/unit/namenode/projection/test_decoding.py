"""Records that travel between processes arrive as they were."""

import pytest
from msgspec.structs import astuple

from esdfs.ids import Epoch
from esdfs.journal.chain import seal
from esdfs.journal.entry import Draft, Entry
from esdfs.namenode import events as ev
from esdfs.namenode.event_codec import pack_all
from esdfs.namenode.events import Event
from esdfs.namenode.projection.decoding import decode, packed, unpacked
from esdfs.namenode.upcasters import LEVEL_NEWEST
from tests.journals import EMPTY, NOON_US
from tests.unit.namenode.test_event_codec import SAMPLES_3


def entry(*events: Event, client_id: bytes = b"") -> Entry:
    made = pack_all(events, range(len(events)), 77, level=LEVEL_NEWEST)
    draft = Draft(NOON_US, *made, client_id=client_id, seq=3, principal="ann", peer="")
    (sealed,) = seal(EMPTY, Epoch(1), [draft])
    return sealed


def said(event: Event) -> list[object]:
    """All that an event says, whatever its class adds to it."""
    return [
        [astuple(block) for block in value]
        if name == "blocks" and not isinstance(event, ev.FileAborted)
        else value
        for name, value in zip(event.__struct_fields__, astuple(event), strict=True)
    ]


@pytest.mark.parametrize("event", SAMPLES_3, ids=lambda event: type(event).__name__)
def test_every_event_arrives_as_what_it_was(event: Event) -> None:
    sent = decode(astuple(entry(event)))
    (arrived,) = unpacked(packed([sent]))
    (found,) = arrived.events
    assert isinstance(found, type(event))
    assert said(found) == said(event)
    assert arrived[:-1] == sent[:-1]


def test_what_the_projection_stores_as_it_is_does_not_depend_on_how_it_came() -> None:
    """An heir of an event's class would be stored as another value: only these two are ever replaced."""
    for event in SAMPLES_3:
        (arrived,) = unpacked(packed([decode(astuple(entry(event)))]))
        if not isinstance(event, ev.FileOpened | ev.FileCompleted):
            assert arrived.events == (event,)


def test_a_record_keeps_the_answers_of_its_request_and_the_order_of_its_events() -> None:
    sent = decode(astuple(entry(*SAMPLES_3, client_id=bytes(16))))
    (arrived,) = unpacked(packed([sent]))
    assert arrived.answer == sent.answer != b""
    assert [said(event) for event in arrived.events] == [said(event) for event in SAMPLES_3]
