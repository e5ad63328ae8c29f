"""How many bytes a piece of work stored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class _Written:
    """What was stored in a while.

    Attributes:
        bytes: how many bytes the created objects have together.
    """

    bytes: int = 0


_CURRENT: ContextVar[_Written | None] = ContextVar("written", default=None)


@contextlib.contextmanager
def tally() -> Iterator[_Written]:
    """Count what this thread creates inside; where there is one within another, the inner one counts it."""
    written = _Written()
    token = _CURRENT.set(written)
    try:
        yield written
    finally:
        _CURRENT.reset(token)


def add_written(size: int) -> None:
    """Note that an object of so many bytes was created."""
    written = _CURRENT.get()
    if written is not None:
        written.bytes += size
