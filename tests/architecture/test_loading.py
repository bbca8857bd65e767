"""What a process that is started again and again must not load."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("esdfs.namenode.main", {"alembic"}),  # for who formats; a fifth of the time to load
        ("esdfs.datanode.main", {"alembic", "sqlalchemy", "falcon"}),
    ],
)
def test_a_node_starts_without_what_it_does_not_need(module: str, unwanted: set[str]) -> None:
    code = f"import sys, {module}; print(*({unwanted!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == []
