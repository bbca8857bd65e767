"""``python -m tests.sim [--blocks] --seeds A-B [--mutant NAME] [--procs N]``: exits 1 when a checker fires.

A mutant that no seed kills then meets the stories of ``tests/scenario``, or of ``tests/sim/blocks/stories``.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path

from tests.scenario.story import tell
from tests.sim.blocks.mutants import MUTANTS as BLOCK_MUTANTS
from tests.sim.blocks.run import simulate as simulate_blocks
from tests.sim.blocks.stories import STORIES as BLOCK_STORIES
from tests.sim.blocks.stories import tell as tell_of_blocks
from tests.sim.mutants import MUTANTS
from tests.sim.run import Result, simulate

_REPORT_SEEDS = 100
STORIES = Path(__file__).parent.parent / "scenario"


def main() -> int:
    """Run seeds, report each that breaks an invariant, and sum up."""
    options = _options()
    first, last = options.seeds
    program = _program()
    begun = time.monotonic()
    totals: Counter[str] = Counter()
    simulated_s, events, broken = 0.0, 0, 0
    for result in _results(options.blocks, range(first, last + 1), options.mutant, options.procs):
        if not (result.seed - first + 1) % _REPORT_SEEDS:
            _remark(f"{result.seed - first + 1} of {last - first + 1} seeds, {broken} broken")
        totals.update(result.stats)
        simulated_s += result.simulated_s
        events += result.events
        if result.broken:
            broken += 1
            again = f"python -m tests.sim{' --blocks' * options.blocks} --seeds {result.seed}-{result.seed}"
            again += f" --mutant {options.mutant}" if options.mutant else ""
            _say(f"seed {result.seed}: {result.broken}\n  repeat with: {again}  ({program})")
            if options.mutant:
                break
    seconds = time.monotonic() - begun
    _say(
        f"seeds {first}-{last}: {broken} broken; {simulated_s / 3600:.2f} simulated hours, {events} events,"
        f" {seconds:.0f} s; "
        + ", ".join(f"{count} {what}" for what, count in totals.items())
        + f"; {program}"
    )
    if options.mutant and not broken:
        kill = _block_stories_that_kill if options.blocks else _stories_that_kill
        broken = kill(options.mutant)
    return 1 if broken else 0


def _stories_that_kill(mutant: str) -> int:
    killers = 0
    for path in sorted(STORIES.glob("*.txt")):
        try:
            tell(path, mutant)
        except AssertionError as error:
            killers += 1
            _say(f"story {path.stem}: {str(error).splitlines()[0]}")
    return killers


def _block_stories_that_kill(mutant: str) -> int:
    killers = {name: broken for name in BLOCK_STORIES if (broken := tell_of_blocks(name, mutant))}
    for name, broken in killers.items():
        _say(f"story {name}: {broken}")
    return len(killers)


def _results(blocks: bool, seeds: Iterable[int], mutant: str, procs: int) -> Iterator[Result]:
    run = partial(simulate_blocks if blocks else simulate, mutant_name=mutant)
    if procs == 1:
        yield from map(run, seeds)
        return
    with Pool(procs) as pool:
        yield from pool.imap(run, seeds)


def _program() -> str:
    """What ran: a seed says the same only in the same program."""
    commit = ""
    if git := shutil.which("git"):
        command = [git, "describe", "--always", "--dirty", "--abbrev=12"]
        told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=STORIES)
        commit = told.stdout.strip()
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{commit or 'no checkout'}, Python {python}"


def _remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=_range, required=True, metavar="A-B", help="inclusive")
    parser.add_argument("--blocks", action="store_true", help="the block manager instead of the quorum")
    parser.add_argument("--mutant", default="", help="break one rule")
    parser.add_argument("--procs", type=int, default=1, help="processes to run in")
    options = parser.parse_args()
    known = BLOCK_MUTANTS if options.blocks else MUTANTS
    if options.mutant and options.mutant not in known:
        parser.error(f"no mutant {options.mutant}; there are {', '.join(sorted(known))}")
    return options


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


if __name__ == "__main__":
    sys.exit(main())
