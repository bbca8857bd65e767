"""`./dev bench [NAME…] [OPTIONS]`: JSON lines on stdout, a table on stderr.

Each row stands beside a limit of the same run.
"""

import argparse
import importlib
import inspect
import json
import os
import pkgutil
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bench


def main(args: list[str]) -> int:
    """Run the modules of this package that have a ``run``, or those that are named."""
    runs = _runs()
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measure, each row beside its limit.")
    parser.add_argument("name", nargs="*", help=f"{', '.join(runs)}; all if none is named")
    parser.add_argument(
        "--rounds",
        type=int,
        help="how often failover loses its leader (200 = a full proof), repair two DataNodes",
    )
    parser.add_argument("--minutes", type=float, help="of full load that should depose no leader, likewise")
    parser.add_argument("--files", type=int, help="in history, three versions each (1000000 = a full proof)")
    parser.add_argument("--copies", type=int, help="of each block in reports (1)")
    given = parser.parse_args(args)
    wanted = given.name
    options = {
        name: value
        for name in ("rounds", "minutes", "files", "copies")
        if (value := getattr(given, name)) is not None
    }
    if unknown := [name for name in wanted if name not in runs]:
        sys.stderr.write(f"bench: no {', '.join(unknown)}; there are {', '.join(runs)}\n")
        return 2
    print(json.dumps({"machine": _machine()}), flush=True)
    rows = []
    for name in wanted or runs:
        sys.stderr.write(f"bench: {name} …\n")
        for row in _measure(runs[name], options):
            print(json.dumps({"bench": name, **row}), flush=True)
            rows.append((name, row))
    sys.stderr.write(_table(rows))
    return 0


def _runs() -> dict[str, Any]:
    found = {}
    for module in pkgutil.iter_modules(bench.__path__):
        if module.name != "__main__":
            run = getattr(importlib.import_module(f"bench.{module.name}"), "run", None)
            if run is not None:
                found[module.name] = run
    return found


def _measure(run: Any, options: dict[str, float]) -> Iterator[dict[str, Any]]:
    """The rows of ``run``, each as soon as it is known."""
    taken = inspect.signature(run).parameters
    given = {name: value for name, value in options.items() if name in taken}
    if "url" not in taken:
        yield from run(**given)
    else:
        with _cluster() as url:
            yield from run(url, **given)


@contextmanager
def _cluster() -> Iterator[str]:
    directory = Path(tempfile.mkdtemp(prefix="esdfs-b-"))

    def local(*args: str) -> bytes:
        command = [sys.executable, "-m", "esdfs.cli.app", "local", *args, "--dir", str(directory)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout

    try:
        yield ",".join(json.loads(local("up", "--json"))["urls"])
    finally:
        local("down")
        shutil.rmtree(directory)


def _machine() -> dict[str, Any]:
    """What the numbers depend on and others need to judge them."""
    return {
        "cpus": os.cpu_count(),
        "load_1m": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "tmpdir": tempfile.gettempdir(),
    }


def _table(rows: list[tuple[str, dict[str, Any]]]) -> str:
    lines = [("bench", "what", "value", "unit", "limit", "ratio", "limit is")]
    for name, row in rows:
        limit = "" if row.get("limit") is None else f"{row['limit']:,}"
        ratio = "" if row.get("ratio") is None else f"{row['ratio']:.2f}"
        lines.append(
            (name, row["name"], f"{row['value']:,}", row["unit"], limit, ratio, row.get("limit_name") or "")
        )
    widths = [max(len(line[column]) for line in lines) for column in range(7)]
    right = {2, 4, 5}
    return "".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
