"""What holds for the repository as a whole, read from its files."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DESIGNED = ("journal", "namenode", "namenode/blocks", "datanode")
# Tests of how several modules work together, named by that.
ABOUT_SEVERAL = {
    "unit/datanode/test_pipeline_fold.py",
}


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("package", DESIGNED)
def test_each_package_with_invariants_explains_them_beside_the_code(package: str) -> None:
    text = (ROOT / "esdfs" / package / "DESIGN.md").read_text(encoding="utf-8")
    assert re.search(r"\b[A-Z]\d+\b", text), "invariants are numbered"


@pytest.mark.parametrize("package", DESIGNED)
def test_tests_and_modules_that_a_design_names_exist(package: str) -> None:
    text = (ROOT / "esdfs" / package / "DESIGN.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`?(tests/[\w/]+\.py)`?", text))
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_unit_tests_mirror_the_tree() -> None:
    orphans = []
    for file in (ROOT / "tests" / "unit").rglob("test_*.py"):
        place = file.relative_to(ROOT / "tests")
        subject = Path("esdfs", *place.parts[1:-1], file.name.removeprefix("test_"))
        package = (ROOT / subject).with_suffix("")
        if place.as_posix() not in ABOUT_SEVERAL and not (ROOT / subject).is_file() and not package.is_dir():
            orphans.append(place.as_posix())
    assert orphans == []


def test_no_file_names_this_machine_or_a_package_index() -> None:
    # Classes of one letter keep this file from being the one that is found.
    telling = re.compile(r"/[h]ome/\w|/[w]ork/|/[U]sers/\w|[p]ypi\.org|--[i]ndex-url http")
    # A golden journal's lines are paths in a namespace.
    written_by_us = [name for name in tracked() if not str(name).startswith("tests/golden/")]
    found = [
        f"{name}:{number}"
        for name in written_by_us
        for number, line in enumerate((ROOT / name).read_text("utf-8", "replace").splitlines(), 1)
        if telling.search(line)
    ]
    assert found == []


def test_locks_pin_every_package_by_hash() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        blocks = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip())
        assert blocks, lock
        assert [block for block in blocks if "==" not in block or "--hash=sha256:" not in block] == [], lock


def test_no_test_waits_by_sleeping_or_is_skipped() -> None:
    banned = re.compile(r"\btime\.sleep\(|pytest\.skip\(|mark\.skip|mark\.xfail")
    here = Path(__file__).name
    found = [
        f"{file.name}:{number}"
        for file in (ROOT / "tests").rglob("*.py")
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if file.name != here and banned.search(line)
    ]
    assert found == []


def test_pages_link_only_to_what_is_there() -> None:
    broken = [
        f"{name}: {target}"
        for name in tracked()
        if name.endswith(".md")
        for target in re.findall(r"\]\(([^)#\s]+)", (ROOT / name).read_text(encoding="utf-8"))
        if "://" not in target and not (ROOT / name).parent.joinpath(target).exists()
    ]
    assert broken == []
