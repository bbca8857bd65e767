"""A few seeds in every test run; ``python -m tests.sim --seeds 0-299`` runs them all."""

import os
import subprocess
import sys

import pytest

from tests.sim.run import simulate


@pytest.mark.parametrize("seed", range(10))
def test_every_invariant_holds(seed: int) -> None:
    assert simulate(seed).broken == ""


def test_a_seed_says_the_same_in_every_process() -> None:
    program = "from tests.sim.run import simulate; print(simulate(3, trouble_ms=5000))"
    said = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]

    assert said[0] == said[1]
    assert "broken=''" in said[0]


def test_the_command_names_the_seed_that_breaks_a_rule() -> None:
    command = [sys.executable, "-m", "tests.sim", "--seeds", "0-3", "--mutant", "ack-before-fsync"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 1
    assert "repeat with: python -m tests.sim --seeds 0-0 --mutant ack-before-fsync" in done.stdout


def test_the_command_tells_the_stories_to_a_mutant_that_no_seed_kills() -> None:
    command = [sys.executable, "-m", "tests.sim", "--seeds", "0-0", "--mutant", "no-boot-quiet-period"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "seeds 0-0: 0 broken" in done.stdout
    assert "story boot-quiet-period: " in done.stdout
