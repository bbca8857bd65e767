"""How every process of esdfs logs: one JSON object a line on stderr, readable text on a terminal.

Stdout belongs to what a process is for. File contents and tokens are never logged.
"""

import logging
import sys

import structlog


def configure_logging(level: str = "info") -> None:
    """Set this process's log up; called once, by its main."""
    shape: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not sys.stderr.isatty():
        # Plain tracebacks: the pretty ones print local variables, tokens among them.
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[*processors, shape],
    )
