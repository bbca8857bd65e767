"""Ending the processes that a NameNode starts beside its engine."""

import asyncio
from contextlib import suppress


async def end(process: asyncio.subprocess.Process | None, *, within_s: float) -> None:
    """Ask a process to end, kill it if it has not by then, and collect it; one that ended is left alone."""
    if process is None or process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), within_s)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
