"""One more DataNode for a local cluster that runs."""

from pathlib import Path

import msgspec

from esdfs.cli.local_layout import ClusterRecord, DataNodeRecord, free_port, write_datanode
from esdfs.datanode.config import DataNodeConfig
from esdfs.env import Rng
from esdfs.errors import InvalidRequest


def another(root: Path, record: ClusterRecord, rng: Rng, rack: str = "") -> DataNodeRecord:
    """Lay out a DataNode with the settings of the last one, and empty volumes and a port of its own.

    ``rack``: Where it stands; "" = where the last one does.
    """
    last = record.datanodes[-1]
    like = msgspec.toml.decode((Path(last.dir) / "datanode.toml").read_bytes(), type=DataNodeConfig)
    home = root / f"dn-{len(record.datanodes) + 1}"
    volumes = [str(home / Path(volume).name) for volume in like.volumes]
    config = msgspec.structs.replace(
        like, node_id=home.name, port=free_port(rng), volumes=volumes, rack=rack or like.rack
    )
    if problems := config.validate():
        raise InvalidRequest("; ".join(problems))
    return write_datanode(home, config)
