from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.namenode.blocks.world import World


@pytest.fixture
def blocks(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()
