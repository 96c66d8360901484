"""The log of the broker: JSON lines on stderr, no locals in tracebacks, a last look at every line.

The protection is the type barrier: no digit reaches this process. The guard at the end is a net for what a
person typed into a reference. Every line, ours and other people's, goes through one handler.
"""

import logging
import sys
import threading
from types import TracebackType

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from audit.outbox import masked

LEVELS = ("debug", "info", "warning", "error")
"""What `--log-level` may say."""
LONG_INTEGER = 10**12
"""From 13 digits on an integer could be a PAN."""


def set_up(level: str, component: str) -> None:
    """Sends every log line of this process to stderr, as JSON, from `level` on."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Component(component),
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Guarded(foreign_pre_chain=shared, processors=_rendering()))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_exception
    threading.excepthook = lambda args: _log_exception(args.exc_type, args.exc_value, args.exc_traceback)


class _Component:
    """Says which process a line comes from."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, _logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        return {**line, "component": self._name}


class _Guarded(structlog.stdlib.ProcessorFormatter):
    """Renders a line, then masks what could be a PAN in it."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


def _rendering() -> list[Processor]:
    # Escaped digits of other scripts would hide from the guard, hence not ASCII only.
    render = structlog.processors.JSONRenderer(ensure_ascii=False)
    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _quote_integers, render]


def _quote_integers(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Long integers as text: a mask in place of a bare one would break the line's JSON."""
    return {key: _quoted(value) for key, value in line.items()}


def _quoted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _quoted(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_quoted(each) for each in value]
    return str(value) if isinstance(value, int) and abs(value) >= LONG_INTEGER else value


def _log_exception(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if error is not None:
        logging.getLogger("process").critical("process.error.uncaught", exc_info=(kind, error, trace))
