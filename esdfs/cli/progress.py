"""Progress bars. Apart, because only terminals see them and rich is slow to import."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextmanager
def bar(what: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr; the callback takes the bytes that were added, from any thread."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total_bytes)

        def advance(size_bytes: int) -> None:
            progress.advance(task, size_bytes)

        yield advance


@contextmanager
def counter(what: str) -> Iterator[Callable[[int], None]]:
    """Records counted on stderr; the callback takes those that were added, from any thread."""
    columns = (
        TextColumn("{task.description}", markup=False),
        SpinnerColumn(),
        TextColumn("{task.completed:.0f} records"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)

        def advance(records: int) -> None:
            progress.advance(task, records)

        yield advance
