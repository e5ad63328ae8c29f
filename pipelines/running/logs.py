"""The log of a program: on standard error, for people or for programs."""

from __future__ import annotations

import logging
import re
import sys

from nnn_core.events import Event
from nnn_core.redaction import harmless, redact
from pipelines.running._formatters import JsonFormatter, TextFormatter, in_json

FORMATS = ("text", "json")

#: Beam reports a failed step with a page of traceback for each step above it, and gcsfs one for each request that
#: is refused. A failure reaches the user as one message instead, see ``runner.run``.
_TALKATIVE = ("apache_beam", "gcsfs")

#: What of Beam tells how a job goes; the rest is two hundred lines on type hints before anything runs.
_OF_JOBS = ("apache_beam.runners.dataflow", "apache_beam.runners.portability.portable_runner")


#: Loggers by which Beam passes on what a job service or a worker of another process says: pages of Java and JSON, and
#: the same failure once more.
_PASSED_ON = re.compile(r"root|Prism(Runner|JobServer)|SdkWorker@.*")


def configure_logging(verbose: bool = False, log_format: str = "text") -> None:
    """Log to standard error: warnings, or when ``verbose`` also what this program and Beam say of jobs."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    if not verbose:
        handler.addFilter(lambda record: not _PASSED_ON.fullmatch(record.name))
    # Beam's worker lowers the level of the root logger when it starts; that of the handler holds.
    logging.basicConfig(level=handler.level, handlers=[handler], force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING if verbose else logging.CRITICAL)
    for name in _OF_JOBS:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.NOTSET)


def say_failure(message: str, kind: str, exit_code: int) -> None:
    """The last word of a program that failed, on standard error."""
    if in_json():
        logging.getLogger("nnn").error(Event("failed", error=message, kind=kind, exit_code=exit_code))
    else:
        print(f"nnn: {harmless(redact(message))}", file=sys.stderr)


def say_end(event: Event) -> None:
    """The last word of a program that did what it was asked for, for programs; people have its summary."""
    record = logging.getLogger("nnn").makeRecord("nnn", logging.INFO, "", 0, event, (), None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonFormatter):
            handler.handle(record)
