from collections.abc import Iterator

import pytest

from tests.unit.namenode.rest.world import World


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made
