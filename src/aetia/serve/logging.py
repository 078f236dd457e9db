"""Lines on stderr: plain text for people, or one JSON object per line for collectors."""

from __future__ import annotations

import logging
import sys
import time

import msgspec

from aetia.serve.config import ServerSection

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class JsonLines(logging.Formatter):
    """`{"time", "level", "logger", "message", …}`; what a caller gives as `extra` becomes fields of its own."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _instant(record.created), "level": record.levelname.lower(), "logger": record.name,
            "message": record.getMessage(),
        }  # fmt: skip
        fields |= {key: str(value) for key, value in vars(record).items() if key not in _OWN}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


class TextLines(logging.Formatter):
    """`12:00:00Z warning aetia.serve: …`; a line break in what a request said begins no line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        out = f"{_instant(record.created)} {record.levelname.lower()} {record.name}: {text}"
        return f"{out}\n{self.formatException(record.exc_info)}" if record.exc_info else out


def set_up(section: ServerSection) -> None:
    """Send the lines of this package and of the web server to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if section.log_format == "json" else TextLines())
    level = _LEVELS[section.log_level]
    for name, least in (("aetia", level), ("uvicorn", max(level, logging.WARNING))):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(least)
        logger.propagate = False


def _instant(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"
