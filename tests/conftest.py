"""What every test may ask for."""

import os
from typing import Any

import pytest

from tests import postgres


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One PostgreSQL for the whole run, shared by the workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    return postgres.start(base / "pg")


@pytest.fixture
def postgres_url(postgres_server: Any) -> str:
    """An empty database of its own for one test."""
    return postgres.create_database(postgres_server, os.environ.get("PYTEST_XDIST_WORKER", "main"))
