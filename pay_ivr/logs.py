"""The app's log: structlog names and ids on one stdlib handler, tracebacks without locals.

Two nets under the rule that no key ever comes here: exceptions are rendered without their locals
(structlog's and rich's defaults show them), and the last act of the formatter takes Luhn-valid runs of 13 to
19 digits out of the finished line. The nets are for accidents; the protection is that the app holds no digit.
"""

import logging
import re
import sys

import structlog

CARD_RUN = re.compile(r"(?<![0-9A-Za-z])[0-9](?:[ -]?[0-9]){12,18}(?![0-9A-Za-z])")
"""13 to 19 digits, plain, spaced or dashed, standing free."""
REMOVED = "removed"

log: structlog.stdlib.BoundLogger = structlog.get_logger("pay_ivr")
"""The app's logger: `log.info("call.leg.answered", call_id=…)`; static names, ids and counts only."""


def start_logging(level: str) -> None:
    """Everything, our own and foreign, goes through one handler to stderr as JSON lines."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
        ),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Guarded(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("aiosqlite", "asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(max(logging.getLevelName(level), logging.WARNING))
    logging.captureWarnings(True)


def without_cards(line: str) -> str:
    """The line with every Luhn-valid card-like run replaced."""
    return CARD_RUN.sub(lambda match: REMOVED if _luhn(match.group()) else match.group(), line)


class _Guarded(structlog.stdlib.ProcessorFormatter):
    def format(self, record: logging.LogRecord) -> str:
        """The finished line, card-like runs taken out."""
        return without_cards(super().format(record))


def _luhn(run: str) -> bool:
    digits = [int(char) for char in run if char.isascii() and char.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
