"""Journal records as JSON."""

import base64
from typing import Any

import msgspec

from esdfs.journal.entry import Entry
from esdfs.namenode import event_codec
from esdfs.namenode.audit.changes import Change
from esdfs.namenode.events import Event, Kind
from esdfs.namenode.rest.answers import iso


def record(entry: Entry) -> dict[str, Any]:
    """One record: its columns, its event decoded, and what is needed to check its place in the chain."""
    return {
        "txid": entry.txid,
        "epoch": entry.epoch,
        "ts": iso(entry.ts_us),
        "ts_us": entry.ts_us,
        "kind": event_codec.kind_name(entry.kind),
        "kind_number": entry.kind,
        "version": entry.version,
        "principal": entry.principal,
        "peer": entry.peer,
        "client_id": entry.client_id.hex(),
        "seq": entry.seq,
        "event": _event(entry),
        "payload": base64.b64encode(entry.payload).decode(),
        "crc32c": f"{entry.crc32c:08x}",
        "chain": entry.chain.hex(),
    }


def event_name(entry: Entry, inode: int) -> str:
    """The kind of the record's event that is about ``inode``; the record's own if none says so."""
    for event in event_codec.unpack(entry.kind, entry.version, entry.payload).events:
        if getattr(event, "inode", None) == inode:
            return name_of(event)
    return event_codec.kind_name(entry.kind)


def name_of(event: Event) -> str:
    """An event's kind as people read it."""
    return event_codec.kind_name(event_codec.kind_of(event))


def _event(entry: Entry) -> dict[str, Any]:
    unpacked = event_codec.unpack(entry.kind, entry.version, entry.payload)
    if entry.kind != Kind.TRANSACTION:
        fields: dict[str, Any] = msgspec.to_builtins(unpacked.events[0])
        return fields
    return {
        "events": [
            {"kind": name_of(event), "command": command} | msgspec.to_builtins(event)
            for event, command in zip(unpacked.events, unpacked.commands, strict=True)
        ]
    }


def change_as_json(change: Change) -> dict[str, Any]:
    """What an event was about; of one that was about no file or directory, only its kind and fields."""
    told: dict[str, Any] = {"kind": event_codec.kind_name(change.kind)}
    fields = {name: {"old": old, "new": new} for name, old, new in change.fields}
    if not change.inode:
        return told | ({"fields": fields} if fields else {})
    return told | {
        "file_id": str(change.inode),
        "type": "directory" if change.is_directory else "file",
        "path": change.path,
        "old_path": change.old_path,
        "fields": fields,
    }
