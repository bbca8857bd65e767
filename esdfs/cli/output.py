"""Results on stdout: text in columns for people, one JSON object a line for programs."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

_UNITS: Final = "KMGTPE"


class Output:
    """Where a command's results go."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def json(self, value: object) -> None:
        """One object, one line."""
        # None stands for "not asked for" in our structs.
        plain = msgspec.to_builtins(value)
        if isinstance(plain, dict):
            plain = {name: field for name, field in plain.items() if name != "located" or field is not None}
        sys.stdout.write(msgspec.json.encode(plain).decode() + "\n")

    def done(self, value: object) -> None:
        """What a change came to: only programs are told, people see that nothing went wrong."""
        if self.as_json:
            self.json(value)

    def line(self, text: str = "") -> None:
        """One line for people."""
        sys.stdout.write(text + "\n")

    def flush(self) -> None:
        """Let whoever reads see what was printed so far."""
        sys.stdout.flush()

    def table(self, rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> None:
        """Columns as wide as they must be; those in ``right`` are aligned to the right."""
        cells = [list(row) for row in rows]
        if not cells:
            return
        widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
        to_right = set(right)
        for row in cells:
            padded = [
                cell.rjust(width) if at in to_right else cell.ljust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self.line("  ".join(padded).rstrip())


def human_size(size_bytes: int) -> str:
    """As ``ls -h``: powers of 1024, one digit below ten."""
    if size_bytes < 1024:
        return str(size_bytes)
    value, power = size_bytes / 1024, 0
    while value >= 1023.5 and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.1f}{_UNITS[power]}" if value < 9.95 else f"{value:.0f}{_UNITS[power]}"
