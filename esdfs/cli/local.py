"""`esdfs local`: a whole cluster on this machine, for trying, testing and demonstrations."""

import signal
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from esdfs.blocks import BLOCK_BYTES
from esdfs.cli.local_adding import another
from esdfs.cli.local_cluster import LocalCluster
from esdfs.cli.local_layout import Layout
from esdfs.cli.local_options import SQLITE, journal_urls, parse_settings
from esdfs.cli.sizes import parse_size
from esdfs.cli.survival import planned, survives
from esdfs.env_os import OsClock, OsRng
from esdfs.errors import AlreadyExists, InvalidRequest

local = typer.Typer(no_args_is_help=True, help="A whole cluster on this machine, as real processes.")

Dir = Annotated[Path, typer.Option("--dir", help="The cluster's directory.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
Name = Annotated[str, typer.Argument(help="nn-1, witness-1, dn-1, dn-2, …, or leader.")]

_DATANODES: Final = 3


@local.command()
def up(
    directory: Dir,
    *,
    namenodes: Annotated[int, typer.Option(help="1; 2 with --witness, 3 or 5 for failover.")] = 1,
    witness: Annotated[
        bool, typer.Option("--witness", help="With --namenodes 2: a third vote without a namespace.")
    ] = False,
    datanodes: Annotated[int | None, typer.Option(help="Default 3, or as many as there are.")] = None,
    racks: Annotated[
        int, typer.Option(min=0, help="Spread the DataNodes over /rack-1, /rack-2, …; 0 = they name none.")
    ] = 0,
    volumes: Annotated[int, typer.Option(help="Of each new DataNode, as if each were a disk.")] = 1,
    journal: Annotated[
        str,
        typer.Option(
            help="sqlite or a PostgreSQL URL, or one for each NameNode, with commas between. Several "
            "NameNodes at one URL each get a database beside the one it names: NAME_nn_1, NAME_nn_2, …"
        ),
    ] = SQLITE,
    block_size: Annotated[str, typer.Option(help="Of new files, like 64M.")] = str(BLOCK_BYTES),
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="nn.KEY=VALUE or dn.KEY=VALUE: a setting of namenode.toml or datanode.toml; nn-1.KEY=VALUE: "
            "of one NameNode. A KEY with a dot sets one entry: nn-1.peer_addresses.nn-2=HOST:PORT.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start a cluster, with the data of last time if there was one."""
    if namenodes not in {1, 2, 3, 5}:
        raise InvalidRequest("--namenodes must be 1, 3 or 5, or 2 (better with --witness)")
    if witness and namenodes != 2:
        raise InvalidRequest("--witness goes with --namenodes 2: with it, three vote and any one may be lost")
    if datanodes is not None and datanodes < 1:
        raise InvalidRequest("--datanodes must be at least 1")
    if volumes < 1:
        raise InvalidRequest("--volumes must be at least 1")
    given = parse_settings(settings or [])
    layout = Layout(
        OsClock(),
        OsRng(),
        namenodes=namenodes,
        witness=witness,
        datanodes=datanodes or _DATANODES,
        racks=racks,
        volumes=volumes,
        journals=journal_urls(journal, namenodes + witness),
        block_size_bytes=parse_size(block_size),
        namenode=given.pop("nn", {}),
        datanode=given.pop("dn", {}),
        of_node=given,
    )
    cluster = LocalCluster(directory, OsClock())
    directory.mkdir(parents=True, exist_ok=True)
    with cluster.locked():
        if not cluster.exists():
            cluster.make(layout)
        _refuse_running(cluster)
        there = len(cluster.record().datanodes)
        if datanodes is not None and datanodes < there:
            raise InvalidRequest(f"there are {there} DataNodes with data: not started with only {datanodes}")
        if datanodes is not None:
            cluster.add_datanodes(layout, datanodes - there)
        cluster.start()
        _print_up(cluster.shown(), as_json=as_json)


@local.command()
def status(directory: Dir, *, as_json: Json = False) -> None:
    """Which nodes run."""
    cluster = LocalCluster(directory, OsClock())
    shown = cluster.shown()
    if as_json:
        _print_json(shown)
        return
    for node in [*shown["namenodes"], *shown["datanodes"]]:
        state = f"running, pid {node['pid']}" if node["pid"] else "not running"
        where = node.get("rest") or node.get("address") or f"{node['grpc']} ({node['kind']})"
        typer.echo(f"{node['id']:<10} {where:<26} {state}")


@local.command()
def kill(
    name: Name,
    directory: Dir,
    *,
    signal_name: Annotated[str, typer.Option("--signal", help="KILL, TERM, STOP, CONT, …")] = "KILL",
) -> None:
    """Send a node's process a signal; after KILL or TERM, return when it is gone."""
    number = _signal(signal_name)
    cluster = LocalCluster(directory, OsClock())
    with cluster.locked():
        cluster.kill(cluster.node(name), number)


@local.command()
def restart(name: Name, directory: Dir) -> None:
    """Start a node again, on its old port and with its data; stop it first if it runs."""
    cluster = LocalCluster(directory, OsClock())
    with cluster.locked():
        node = cluster.node(name)
        cluster.stop_node(node)
        cluster.start_node(node)


@local.command()
def add(
    directory: Dir,
    *,
    rack: Annotated[str, typer.Option(help="Where it stands, like /rack-1; default: as the last one.")] = "",
) -> None:
    """Start one more DataNode, with the settings of the last one and empty volumes, beside those that run."""
    cluster = LocalCluster(directory, OsClock())
    with cluster.locked():
        datanode = another(cluster.dir, cluster.record(), OsRng(), rack)
        cluster.add(datanode)
    typer.echo(f"{datanode.id} is ready. Move data to it with `esdfs balance`")


@local.command()
def down(directory: Dir) -> None:
    """Stop every node; the data stays."""
    cluster = LocalCluster(directory, OsClock())
    with cluster.locked():
        cluster.stop()


def _refuse_running(cluster: LocalCluster) -> None:
    running = [node.id for node in cluster.nodes() if cluster.running_pid(node)]
    if running:
        raise AlreadyExists(
            f"a cluster runs in {cluster.dir} ({', '.join(running)}): "
            f"stop it with `esdfs local down --dir {cluster.dir}`"
        )


def _signal(name: str) -> signal.Signals:
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise InvalidRequest(f"{name} is not a signal") from None


def _print_up(shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(shown)
        return
    witnesses = sum(node["kind"] == "witness" for node in shown["namenodes"])
    survived = planned(len(shown["namenodes"]) - witnesses, witnesses)
    typer.echo(f"Survives, of {survived}." if survives(len(shown["urls"]), witnesses) else f"{survived}.")
    typer.echo(f"{len(shown['datanodes'])} DataNodes are ready. In this shell:")
    typer.echo(f"  export ESDFS_URL={','.join(shown['urls'])}")
    typer.echo("  esdfs cluster status")
    typer.echo(f"  esdfs local down --dir {shown['dir']}")


def _print_json(shown: dict[str, Any]) -> None:
    typer.echo(msgspec.json.encode(shown))
