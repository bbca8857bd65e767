"""A few seeds in every test run; ``python -m tests.sim --blocks --seeds 0-999`` runs many."""

import subprocess
import sys

import pytest

from tests.sim.blocks.run import simulate


@pytest.mark.parametrize("seed", [1, 4, 6, 7, 12, 15])
def test_every_invariant_holds(seed: int) -> None:
    ran = simulate(seed)

    assert ran.broken == ""
    # A world in which nothing goes wrong proves nothing.
    assert ran.stats["copied"] > 0
    assert ran.stats["deleted"] > 0
    assert ran.stats["moved"] > 0


def test_a_seed_says_the_same_in_every_process() -> None:
    program = "from tests.sim.blocks.run import simulate; print(simulate(6, trouble_ms=20_000))"
    said = [
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]

    assert said[0] == said[1]
    assert "broken=''" in said[0]


def test_the_command_names_the_seed_that_breaks_a_rule() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.sim",
        "--blocks",
        "--seeds",
        "0-3",
        "--mutant",
        "deletes-future-ids",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 1
    assert "repeat with: python -m tests.sim --blocks --seeds 0-0 --mutant deletes-future-ids" in done.stdout
