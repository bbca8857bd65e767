"""`esdfs namenode`, `esdfs datanode`, `esdfs db`: what runs on servers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from esdfs.blocks import BLOCK_BYTES
from esdfs.cli.last_resort import Dir, force_standalone, trust_journal
from esdfs.cli.sizes import parse_size
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import InvalidRequest
from esdfs.namenode.upcasters import LEVEL_NEWEST

if TYPE_CHECKING:
    from esdfs.namenode.config import NameNodeConfig

namenode = typer.Typer(no_args_is_help=True, help="Make and run a NameNode.")
datanode = typer.Typer(no_args_is_help=True, help="Run a DataNode.")
db = typer.Typer(no_args_is_help=True, help="The journal's database.")

Database = Annotated[str, typer.Option("--db", help="SQLAlchemy URL; default: the journal of --dir.")]
OptionalDir = Annotated[Path | None, typer.Option("--dir", help="The NameNode's directory.")]

_REST_PORT: Final = 8870
_GRPC_PORT: Final = 8871

# Servers' modules are imported by the command that needs them: `esdfs ls` must not pay for them.


@namenode.command("format")
def format_(
    directory: Dir,
    *,
    node_id: Annotated[str, typer.Option(help="This node's name, for ever.")] = "nn-1",
    journal: Annotated[str, typer.Option(help="PostgreSQL URL; default: SQLite in --dir.")] = "",
    rest_host: Annotated[str, typer.Option(help="Address of the REST interface.")] = "127.0.0.1",
    rest_port: Annotated[int, typer.Option(help="Its port.")] = _REST_PORT,
    grpc_host: Annotated[str, typer.Option(help="Address for other NameNodes.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="Its port.")] = _GRPC_PORT,
    block_size: Annotated[str, typer.Option(help="Of new files, like 64M.")] = str(BLOCK_BYTES),
    replication: Annotated[int, typer.Option(help="Copies of each block.")] = 2,
    min_replication: Annotated[int, typer.Option(help="Fewer copies are never acknowledged.")] = 2,
    allow_degraded: Annotated[
        bool, typer.Option("--allow-degraded", help="… except when asked for here.")
    ] = False,
    join: Annotated[
        str,
        typer.Option(help="URL of a NameNode: make a node for its cluster; see `esdfs quorum add`."),
    ] = "",
    witness: Annotated[bool, typer.Option("--witness", help="With --join: only journal and vote.")] = False,
    token: Annotated[str, typer.Option(envvar="ESDFS_TOKEN", help="The cluster's token.")] = "",
    feature_level: Annotated[
        int, typer.Option(min=1, help="What its nodes can read; default: all that this release can.")
    ] = LEVEL_NEWEST,
) -> None:
    """Make a new, empty cluster; with --join, a new node for an existing one. Refuses where there is one."""
    from esdfs.namenode.config import NameNodeConfig  # noqa: PLC0415 - see above
    from esdfs.namenode.formatting import cluster_settings, format_namenode  # noqa: PLC0415 - see above

    rng = OsRng()
    config = NameNodeConfig(
        node_id=node_id,
        dir=str(directory.absolute()),
        kind="witness" if witness else "voter",
        journal_url=journal,
        rest_host=rest_host,
        rest_port=rest_port,
        grpc_host=grpc_host,
        grpc_port=grpc_port,
        token=token,
    )
    if join:
        _join(config, join)
        return
    if witness:
        raise InvalidRequest("--witness goes with --join: a cluster begins with a NameNode that serves")
    cluster = cluster_settings(
        rng,
        block_size_bytes=parse_size(block_size),
        replication=replication,
        min_replication=min_replication,
        allow_degraded=allow_degraded,
        feature_level=feature_level,
    )
    identity = format_namenode(config, cluster, clock=OsClock(), rng=rng)
    typer.echo(f"cluster {identity.cluster_id} made; run it with `esdfs namenode run --dir {directory}`")


@namenode.command("run")
def run_namenode(directory: Dir) -> None:
    """Serve until SIGTERM; one JSON line on stdout says when it is ready."""
    from esdfs.namenode.config import load  # noqa: PLC0415 - see above

    config = load(directory.absolute())
    if config.kind == "witness":
        from esdfs.namenode.witness import main as main_of_witness  # noqa: PLC0415 - without a namespace

        raise typer.Exit(main_of_witness(config))
    from esdfs.namenode.main import main  # noqa: PLC0415 - see above

    raise typer.Exit(main(config))


namenode.command("force-standalone")(force_standalone)
namenode.command("trust-journal")(trust_journal)


@datanode.command("run")
def run_datanode(
    *,
    config: Annotated[
        Path | None, typer.Option(help="A datanode.toml; the options below go before it.")
    ] = None,
    node_id: Annotated[str, typer.Option(help="This node's name, for ever.")] = "",
    volume: Annotated[list[Path] | None, typer.Option(help="A directory for blocks; one per disk.")] = None,
    namenode_url: Annotated[list[str] | None, typer.Option("--namenode", help="URL of a NameNode.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "",
    port: Annotated[int | None, typer.Option(help="0 = any free one.")] = None,
) -> None:
    """Serve until SIGTERM; one JSON line on stdout says when it is ready."""
    from esdfs.datanode.config import DataNodeConfig  # noqa: PLC0415 - see above
    from esdfs.datanode.main import main  # noqa: PLC0415 - see above

    settings = _read_toml(config) if config else {}
    given = {
        "node_id": node_id,
        "volumes": [str(each.absolute()) for each in volume or []],
        "namenodes": namenode_url,
        "host": host,
    }
    settings |= {key: value for key, value in given.items() if value}
    if port is not None:
        settings["port"] = port
    try:
        wanted = msgspec.convert(settings, DataNodeConfig)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{error}: give --config, or --node-id, --volume and --namenode") from error
    main(wanted)


def _join(config: "NameNodeConfig", url: str) -> None:
    from esdfs.client import DFSClient  # noqa: PLC0415 - see above
    from esdfs.namenode.formatting import join_namenode  # noqa: PLC0415 - see above

    with DFSClient(url, config.token or None) as client:
        told = client.control.get("/quorum", dict[str, Any])
    if told.get("alone"):
        raise InvalidRequest(
            f"the cluster at {url} was formatted for one NameNode: stop it, run `esdfs namenode"
            " force-standalone --dir DIR --i-know-the-others-are-dead` there, start it, and try again"
        )
    config = msgspec.structs.replace(
        config, seeds=tuple(f"{voter['node_id']}={voter['grpc']}" for voter in told["voters"])
    )
    present = next((voter for voter in told["voters"] if voter["node_id"] == config.node_id), None)
    identity = join_namenode(
        config, cluster_id=told["cluster_id"], generation=told["generation"], rng=OsRng()
    )
    typer.echo(f"{identity.node_id} joins cluster {identity.cluster_id} as an observer; run it, then:")
    if present is not None:  # a node that lost its disk
        typer.echo(f"  esdfs quorum remove {identity.node_id}   # the disk it had before")
    typer.echo(f"  esdfs quorum add {identity.node_id}")


@db.command("upgrade")
def upgrade_db(*, directory: OptionalDir = None, url: Database = "") -> None:
    """Bring the journal's tables to this release. Stop the NameNode first."""
    from esdfs.journal.migrate import current, upgrade  # noqa: PLC0415 - see above

    database = _database(directory, url)
    upgrade(database)
    typer.echo(current(database))


@db.command("current")
def current_db(*, directory: OptionalDir = None, url: Database = "") -> None:
    """The revision of the journal's tables."""
    from esdfs.journal.migrate import current  # noqa: PLC0415 - see above

    typer.echo(current(_database(directory, url)) or "no tables")


def _database(directory: Path | None, url: str) -> str:
    if url:
        return url
    if directory is None:
        raise InvalidRequest("name the database: --db URL, or --dir of the NameNode")
    from esdfs.namenode.config import load  # noqa: PLC0415 - see above

    return load(directory.absolute()).database_url


def _read_toml(file: Path) -> dict[str, object]:
    try:
        return msgspec.toml.decode(file.read_bytes(), type=dict[str, object])
    except OSError as error:
        raise InvalidRequest(f"{file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{file}: {error}") from error
