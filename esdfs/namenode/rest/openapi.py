"""The OpenAPI document: one line per operation, schemas from the types that decode and encode.

Kept beside the routes by hand where words are needed; a test walks the routes and fails on a missing one.
"""

from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
from falcon.asgi import Request, Response

from esdfs.namenode.rest import answers, bodies
from esdfs.namenode.rest.edge import JSON
from esdfs.namenode.rest.errors import PROBLEM
from esdfs.namenode.rest.fsck_replicas import Replicas
from esdfs.namenode.rest.request import ID_MAX, PAGE_MAX

_Json = dict[str, Any]


class Operation(NamedTuple):
    """One method of one route.

    Attributes:
        query: Names of ``PARAMETERS``.
        body, result: Types with a schema; ``dict`` = an object described in words only.
        refused: Statuses besides those every operation may have.
    """

    summary: str
    result: type = dict
    query: tuple[str, ...] = ()
    body: type | None = None
    status: tuple[int, ...] = (200,)
    refused: tuple[int, ...] = ()
    headers: tuple[str, ...] = ()


_WHOLE: Final = {"type": "integer", "minimum": 0, "maximum": ID_MAX}
_TEXT: Final = {"type": "string"}
_PAGE: Final = {"type": "integer", "minimum": 1, "maximum": PAGE_MAX}
_FLAG: Final = {"type": "boolean"}

PARAMETERS: Final[dict[str, tuple[str, _Json, bool]]] = {
    "path": ("Absolute path: 4096 bytes, 255 a component, 128 deep", _TEXT, True),
    "top": ("Where to start; / if absent", _TEXT, False),
    "as_of": ("Read the past: a txid, an ISO 8601 time, a duration ago (2h), or @snapshot", _TEXT, False),
    "depth": ("How many components of a path a line stands for", _WHOLE, False),
    "min_txid": ("Wait up to 5 s until this txid is applied here, else 503", _WHOLE, False),
    "consistency": (
        "How fresh; all are linearizable while one NameNode votes",
        {"enum": ["linearizable", "session", "stale"]},
        False,
    ),
    "blocks": ("Also answer `located`", _FLAG, False),
    "limit": ("Page size", _PAGE, False),
    "after": ("`next` of the previous page", _TEXT, False),
    "recursive": ("With all below it", _FLAG, False),
    "since": ("One moment: a txid, an ISO 8601 time, or a duration ago (2h)", _TEXT, True),
    "until": ("The other; the present if absent", _TEXT, False),
    "txid": ("Which record; the newest if absent", _WHOLE | {"minimum": 1}, False),
    "from": ("First txid wanted, inclusive", _WHOLE | {"minimum": 1}, False),
    "part": ("Only what matters to this path and all below it", _TEXT, False),
    "asked": ("What is asked about", _TEXT, False),
    "kind": ("Only of this kind: `renamed`; several are separated by commas", _TEXT, False),
    "cursor": ("A named reader: begin after what it has dealt with, unless `from` is given", _TEXT, False),
    "changes": ("Tell of each record what it was about", _FLAG, False),
    "principal": ("Only by this person", _TEXT, False),
    "not_before": ("Not before: a txid, an ISO 8601 time, or a duration ago (2h)", _TEXT, False),
    "not_after": ("Not after; likewise", _TEXT, False),
    "below_txid": ("`next` of the previous page", _WHOLE | {"minimum": 1}, False),
    "wait_ms": (
        "Wait this long for the first record",
        {"type": "integer", "minimum": 0, "maximum": 30000},
        False,
    ),
}
_SHOWN: Final = {
    "top": "path",
    "part": "path",
    "asked": "path",
    "since": "from",
    "until": "to",
    "not_before": "since",
    "not_after": "until",
    "below_txid": "after",
}
"""Parameters that mean something else elsewhere under their name."""

_HEADERS: Final[dict[str, str]] = {
    "If-Match": "Only if the entry's ETag is this (or *: exists)",
    "If-None-Match": "GET: 304 if it still is this; POST /files/upload: * = only if nothing is there",
    "Idempotency-Key": "<client uuid>/<number>, or any text: repeating the request changes nothing more",
    "Esdfs-User": "Who is asking; a claim",
}

_READ: Final = ("as_of", "min_txid", "consistency")
_CHANGE: Final = ("Idempotency-Key", "Esdfs-User")
_MATCHED: Final = ("If-Match", *_CHANGE)
_COND: Final = ("If-Match", "If-None-Match")

OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("GET", "/files"): Operation(
        "What a path names",
        answers.FileStatus,
        ("path", "blocks", *_READ),
        None,
        (200, 304),
        (404, 409, 410, 412),
        _COND,
    ),
    ("GET", "/files/{file_id}"): Operation(
        "What an id names", answers.FileStatus, ("blocks", *_READ), None, (200, 304), (404, 410, 412), _COND
    ),
    ("PATCH", "/files/{file_id}"): Operation(
        "Change attributes", answers.FileStatus, (), bodies.Attributes, (200,), (404, 409, 412), _MATCHED
    ),
    ("DELETE", "/files/{file_id}"): Operation(
        "Remove a file", dict, (), None, (200,), (404, 409, 412), _MATCHED
    ),
    ("POST", "/files/upload"): Operation(
        "Open a file for writing; answers file_id, lease and its first blocks",
        dict,
        (),
        bodies.Upload,
        (201,),
        (404, 409, 412),
        ("If-Match", "If-None-Match", *_CHANGE),
    ),
    ("POST", "/files/{file_id}/blocks"): Operation(
        "Allocate blocks of an open file; give up failed ones",
        dict,
        (),
        bodies.MoreBlocks,
        (200,),
        (404, 409),
        _CHANGE,
    ),
    ("POST", "/files/{file_id}/complete"): Operation(
        "Publish an open file", answers.FileStatus, (), bodies.Complete, (200,), (404, 409), _CHANGE
    ),
    ("POST", "/files/{file_id}/abort"): Operation(
        "Give an open file up", dict, (), bodies.LeaseOnly, (200,), (404, 409), _CHANGE
    ),
    ("POST", "/files/{file_id}/lease"): Operation(
        "Keep an open file; answers expires_in_ms", dict, (), bodies.LeaseOnly, (200,), (404, 409)
    ),
    ("GET", "/files/download/{file_id}"): Operation(
        "A file with its blocks and their replicas",
        answers.Download,
        _READ,
        None,
        (200, 304),
        (404, 409, 410, 412),
        _COND,
    ),
    ("POST", "/directories"): Operation(
        "Make a directory; 200 = it existed and parents was set",
        answers.FileStatus,
        (),
        bodies.NewDirectory,
        (200, 201),
        (404, 409),
        _CHANGE,
    ),
    ("GET", "/directories/{path}"): Operation(
        "One page of a directory, by name",
        answers.Listing,
        ("limit", "after", *_READ),
        None,
        (200,),
        (404, 409, 410),
    ),
    ("DELETE", "/directories/{path}"): Operation(
        "Remove a directory", dict, ("recursive",), None, (200,), (404, 409, 412), _MATCHED
    ),
    ("POST", "/rename"): Operation(
        "Move a file or directory", answers.FileStatus, (), bodies.Move, (200,), (404, 409, 412), _MATCHED
    ),
    ("POST", "/restore"): Operation(
        "Bring a past version back", answers.FileStatus, (), bodies.Bring, (200,), (404, 409, 410), _CHANGE
    ),
    ("POST", "/transactions"): Operation(
        "Commands, all or none; answers txid and results",
        dict,
        (),
        bodies.Transaction,
        (200,),
        (404, 409, 410, 412),
        _CHANGE,
    ),
    ("GET", "/history"): Operation(
        "Versions of a path, newest first", dict, ("path", "limit"), None, (200,), (404,)
    ),
    ("GET", "/diff"): Operation(
        "What differs between two moments, as net effect",
        dict,
        ("since", "until", "top", "min_txid", "consistency"),
        None,
        (200,),
        (410,),
    ),
    ("GET", "/retention"): Operation("How much history is kept, and how much there is"),
    ("PUT", "/retention"): Operation(
        "Keep more or less; what is beyond it is forgotten for ever",
        dict,
        (),
        bodies.Retain,
        (200,),
        (409,),
        _CHANGE,
    ),
    ("GET", "/retention/report"): Operation(
        "Bytes that only history holds, by directory and day, and what a shorter window frees",
        dict,
        ("depth",),
    ),
    ("GET", "/snapshots"): Operation("Every snapshot, by name", dict, ("min_txid", "consistency")),
    ("POST", "/snapshots"): Operation(
        "Keep a state, also a past one, under a name",
        dict,
        (),
        bodies.NewSnapshot,
        (201,),
        (404, 409, 410),
        _CHANGE,
    ),
    ("GET", "/snapshots/{name}"): Operation(
        "One snapshot", dict, ("min_txid", "consistency"), None, (200,), (404,)
    ),
    ("DELETE", "/snapshots/{name}"): Operation(
        "Let go of what only it keeps", dict, (), None, (200,), (404,), _CHANGE
    ),
    ("GET", "/journal"): Operation(
        "Records from a txid on, all or those of a path, a kind, a cursor; resume with `next`",
        dict,
        ("from", "limit", "wait_ms", "part", "kind", "cursor", "changes", *_READ[1:]),
        None,
        (200,),
        (404, 410),
    ),
    ("GET", "/cursors"): Operation(
        "Named readers of the journal, and how far each is", dict, _READ[1:], None, (200,), ()
    ),
    ("PUT", "/cursors/{name}"): Operation(
        "Everything up to a txid is dealt with; 202 = journaled within a second",
        dict,
        (),
        bodies.Position,
        (200, 202),
        (409,),
        _CHANGE,
    ),
    ("DELETE", "/cursors/{name}"): Operation(
        "Forget a named reader", dict, (), None, (200,), (404, 409), _CHANGE
    ),
    ("GET", "/journal/head"): Operation("Where the journal ends, and its chain value"),
    ("GET", "/journal/digest"): Operation("One hash for the whole namespace, and the txid it was made at"),
    ("GET", "/journal/key"): Operation("The public key with which this NameNode signs"),
    ("GET", "/journal/signed"): Operation(
        "A signed statement of the journal's hash at a txid",
        dict,
        ("txid", "min_txid", "consistency"),
        None,
        (200,),
        (404,),
    ),
    ("GET", "/journal/anchors"): Operation(
        "Statements signed at checkpoints, oldest first", dict, ("from", "limit")
    ),
    ("GET", "/audit"): Operation(
        "Who changed what: by path, person, kind or time, newest first; go on with `next` as `after`",
        dict,
        (
            "asked",
            "recursive",
            "principal",
            "kind",
            "not_before",
            "not_after",
            "limit",
            "below_txid",
            *_READ[1:],
        ),
        None,
        (200,),
        (404,),
    ),
    ("GET", "/datanodes"): Operation("Every DataNode"),
    ("POST", "/datanodes/register"): Operation(
        "A DataNode introduces itself", dict, (), dict, (200,), (409,)
    ),
    ("PUT", "/datanodes/{node_id}/heartbeat"): Operation(
        "A DataNode's state; answers commands for it", dict, (), dict, (200,), (404, 409)
    ),
    ("POST", "/datanodes/{node_id}/blocks"): Operation(
        "One page of a block report", dict, (), dict, (200,), (404, 409)
    ),
    ("POST", "/datanodes/{node_id}/state"): Operation(
        "What an operator wants of it: in-service, maintenance (with a deadline) or decommissioning",
        dict,
        (),
        bodies.WantedState,
        (200,),
        (404, 409),
        _CHANGE,
    ),
    ("GET", "/balance"): Operation("How evenly DataNodes are filled, and how far balancing is"),
    ("POST", "/balance"): Operation("Move blocks until they are filled evenly", dict, (), bodies.Balance),
    ("DELETE", "/balance"): Operation("Move no further blocks"),
    ("GET", "/cluster"): Operation("The cluster in one object"),
    ("POST", "/cluster/resume-copying"): Operation("Copy again after a mass failure: what is lost is lost"),
    ("GET", "/quorum"): Operation(
        "Who votes, who leads, and how far each one is, as the leader knows it", dict, ("consistency",)
    ),
    ("POST", "/quorum/transfer"): Operation(
        "Have another NameNode lead", dict, (), bodies.Transfer, (200,), (404, 409)
    ),
    ("POST", "/quorum/voters"): Operation(
        "Let an observer that has caught up vote", dict, (), bodies.NewVoter, (200,), (404, 409)
    ),
    ("DELETE", "/quorum/voters/{node_id}"): Operation(
        "Let a voter vote no more", dict, (), None, (200,), (404, 409)
    ),
    ("GET", "/quorum/feature-level"): Operation("The feature level, and which nodes hold it back"),
    ("POST", "/quorum/feature-level"): Operation(
        "Raise it to the newest that every node reads; 409 names who does not", dict, (), None, (200,), (409,)
    ),
    ("GET", "/fsck/repair"): Operation("How far the leader is with looking at every block"),
    ("POST", "/fsck/repair"): Operation("Have the leader look at every block now"),
    ("GET", "/fsck"): Operation(
        "Files and their replicas, one page; totals are of the page",
        dict,
        ("top", "after", "limit"),
        None,
        (200,),
        (404, 409),
    ),
    ("GET", "/fsck/replicas"): Operation(
        "What DataNodes hold and what needs it, one page; totals are of the page",
        Replicas,
        ("after", "limit"),
    ),
    ("GET", "/health/live"): Operation("This process answers"),
    ("GET", "/health/ready"): Operation("Whether requests will be served"),
    ("GET", "/metrics"): Operation("Prometheus text", str),
    ("GET", "/openapi.json"): Operation("This document"),
}

_ALWAYS: Final = (400, 401, 503, 504)
_WITH_BODY: Final = (413, 415, 507)


class OpenApi:
    """/openapi.json."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """The document."""
        del req
        resp.data = _encoded()
        resp.content_type = JSON


@cache
def document() -> _Json:
    """The OpenAPI 3.1 document."""
    types = {t for o in OPERATIONS.values() for t in (o.result, o.body) if t not in {None, dict, str}}
    ordered = sorted(types, key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    components["Problem"] = {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "retry"],
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "code": _TEXT | {"description": "stable"},
            "retry": {"enum": ["never", "here", "elsewhere", "only-if-idempotent"]},
        },
    }
    paths: _Json = {}
    for (method, route), operation in OPERATIONS.items():
        paths.setdefault(route, {})[method.lower()] = _operation(method, route, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "esdfs",
            "version": "1",
            "description": "Control plane of esdfs; file bytes go between clients and DataNodes.",
        },
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


def _operation(method: str, route: str, operation: Operation) -> _Json:
    parameters: list[_Json] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in ("file_id", "path", "node_id", "name")
        if f"{{{name}}}" in route
    ]
    for name in operation.query:
        text, schema, required = PARAMETERS[name]
        shown = _SHOWN.get(name, name)
        parameters.append(
            {"name": shown, "in": "query", "required": required, "description": text, "schema": schema}
        )
    parameters += [
        {"name": name, "in": "header", "description": _HEADERS[name], "schema": _TEXT}
        for name in operation.headers
    ]
    refused = (*_ALWAYS, *operation.refused, *(_WITH_BODY if operation.body else ()))
    if method != "GET":
        refused = (*refused, 507)
    made: _Json = {
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {str(status): _response(operation.result, status) for status in operation.status}
        | {str(status): _problem(status) for status in sorted(set(refused))},
    }
    if method != "GET":
        made["responses"]["307"] = {"description": "Another NameNode leads: repeat it there"}
    if operation.body is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": _schema(operation.body)}}}
    if route.startswith("/health/"):
        made["security"] = []
    return made


def _response(result: type, status: int) -> _Json:
    if status == 304:
        return {"description": "Unchanged"}
    media = "text/plain" if result is str else JSON
    return {"description": "Done", "content": {media: {"schema": _schema(result)}}}


def _problem(status: int) -> _Json:
    return {
        "description": f"Refused ({status})",
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _schema(kind: type) -> _Json:
    if kind is dict:
        return {"type": "object"}
    if kind is str:
        return _TEXT
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
