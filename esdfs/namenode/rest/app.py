"""The REST edge put together: routes and what they share."""

from collections.abc import Awaitable, Callable
from typing import Final

import falcon.asgi
from falcon.asgi import App, Request, Response

from esdfs.env import Clock, Rng
from esdfs.namenode.audit.reading import AuditReader
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.rest import errors
from esdfs.namenode.rest.audit import Audit
from esdfs.namenode.rest.balance import Balance
from esdfs.namenode.rest.cluster import Cluster, Live, Ready, ResumeCopying
from esdfs.namenode.rest.cursors import Cursor, Cursors
from esdfs.namenode.rest.datanodes import (
    DataNodeBlocks,
    DataNodeHeartbeat,
    DataNodeRegister,
    DataNodes,
    DataNodeState,
)
from esdfs.namenode.rest.diff import Diff
from esdfs.namenode.rest.directories import Directories, Directory
from esdfs.namenode.rest.edge import Edge
from esdfs.namenode.rest.evidence import JournalAnchors, JournalKey, JournalSigned
from esdfs.namenode.rest.feature_level import FeatureLevel
from esdfs.namenode.rest.feed import Journal
from esdfs.namenode.rest.files import (
    File,
    FileAbort,
    FileBlocks,
    FileComplete,
    FileDownload,
    FileLease,
    Files,
    FileUpload,
)
from esdfs.namenode.rest.fsck import Fsck, FsckRepair
from esdfs.namenode.rest.fsck_replicas import FsckReplicas
from esdfs.namenode.rest.history import History
from esdfs.namenode.rest.journal import JournalDigest, JournalHead
from esdfs.namenode.rest.metrics import Metrics
from esdfs.namenode.rest.middleware import Middleware, RequestCounts
from esdfs.namenode.rest.openapi import OpenApi
from esdfs.namenode.rest.ports import Engine, JournalReader, LocationsReader, ProjectionReader
from esdfs.namenode.rest.quorum import Quorum, QuorumTransfer, QuorumVoter, QuorumVoters
from esdfs.namenode.rest.retention import Retention, RetentionReport
from esdfs.namenode.rest.snapshots import Snapshot, Snapshots
from esdfs.namenode.rest.transactions import Renames, Restores, Transactions


def create_app(
    *,
    reader: ProjectionReader,
    locations: LocationsReader,
    engine: Engine,
    journal: JournalReader,
    audit: AuditReader,
    digest: Callable[[], Awaitable[bytes]],
    beside: Callable[[list[str]], Awaitable[bytes]],
    settings: NameNodeConfig,
    clock: Clock,
    rng: Rng,
    is_sole: Callable[[], bool],
    stopping: Callable[[], bool] = lambda: False,
) -> App[Request, Response]:
    """The ASGI application of one worker. It closes what it is given when the server shuts down."""
    edge = Edge(
        reader=reader,
        locations=locations,
        engine=engine,
        journal=journal,
        audit=audit,
        digest=digest,
        beside=beside,
        settings=settings,
        clock=clock,
        rng=rng,
        is_sole=is_sole,
        stopping=stopping,
    )
    counts = RequestCounts()
    app = falcon.asgi.App(middleware=[Middleware(edge, counts)])
    errors.install(app)
    resources: dict[str, object] = {route: kind(edge) for route, kind in ROUTES.items()}
    resources |= {"/metrics": Metrics(edge, counts), "/openapi.json": OpenApi()}
    for route, resource in resources.items():
        app.add_route(route, resource)
    return app


ROUTES: Final = {
    "/files": Files,
    "/files/upload": FileUpload,
    "/files/download/{file_id}": FileDownload,
    "/files/{file_id}": File,
    "/files/{file_id}/blocks": FileBlocks,
    "/files/{file_id}/complete": FileComplete,
    "/files/{file_id}/abort": FileAbort,
    "/files/{file_id}/lease": FileLease,
    "/directories": Directories,
    "/directories/{path:path}": Directory,
    "/rename": Renames,
    "/restore": Restores,
    "/transactions": Transactions,
    "/history": History,
    "/diff": Diff,
    "/retention": Retention,
    "/retention/report": RetentionReport,
    "/snapshots": Snapshots,
    "/snapshots/{name}": Snapshot,
    "/journal": Journal,
    "/journal/head": JournalHead,
    "/journal/digest": JournalDigest,
    "/journal/key": JournalKey,
    "/journal/signed": JournalSigned,
    "/journal/anchors": JournalAnchors,
    "/audit": Audit,
    "/cursors": Cursors,
    "/cursors/{name}": Cursor,
    "/datanodes": DataNodes,
    "/datanodes/register": DataNodeRegister,
    "/datanodes/{node_id}/heartbeat": DataNodeHeartbeat,
    "/datanodes/{node_id}/blocks": DataNodeBlocks,
    "/datanodes/{node_id}/state": DataNodeState,
    "/balance": Balance,
    "/cluster": Cluster,
    "/cluster/resume-copying": ResumeCopying,
    "/quorum": Quorum,
    "/quorum/transfer": QuorumTransfer,
    "/quorum/voters": QuorumVoters,
    "/quorum/voters/{node_id}": QuorumVoter,
    "/quorum/feature-level": FeatureLevel,
    "/fsck": Fsck,
    "/fsck/repair": FsckRepair,
    "/fsck/replicas": FsckReplicas,
    "/health/live": Live,
    "/health/ready": Ready,
}
