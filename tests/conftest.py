"""What every test may ask for."""

import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests import postgres

# A shell that starts us in the background has SIGINT ignored, and so would all processes of tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Any:
    """One PostgreSQL for the whole run, shared by the workers of pytest-xdist."""
    # Not below pytest's own directory: that is closed to the user who runs the server when we are root.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    return postgres.start(Path(tempfile.gettempdir()) / f"esdfs-postgres-{run}")


@pytest.fixture
def postgres_url(postgres_server: Any) -> str:
    """An empty database of its own for one test."""
    return postgres.create_database(postgres_server, os.environ.get("PYTEST_XDIST_WORKER", "main"))
