"""How a message of the log is written: a line for people, or an object for programs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from nnn_core.events import Event
from nnn_core.redaction import harmless, redact


class TextFormatter(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return harmless(redact(super().format(record)))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, severity, logger and process, the message, and the fields of an ``Event``."""

    def format(self, record: logging.LogRecord) -> str:
        event = record.msg if isinstance(record.msg, Event) else Event(redact(record.getMessage()))
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": event.what,
            **event.fields,
        }
        if record.exc_info:
            entry["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def in_json() -> bool:
    """Whether the log is for programs."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)
