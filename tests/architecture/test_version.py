import tomllib
from pathlib import Path

import esdfs


def test_the_program_and_its_package_have_one_version() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert esdfs.__version__ == project["version"]
