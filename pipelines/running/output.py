"""Standard output and error of a program that has more important things to do than to be read."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from nnn_core.redaction import harmless


class _Output(io.TextIOBase):
    """Standard output on which nothing fails, and which no text of input can control.

    Attributes:
        problem: why what was printed is incomplete; None if it is not.
        abandoned: whether it is incomplete because the reader closed the pipe.
        quiet: whether what is written is dropped, because nobody wants it.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.problem: str | None = None
        self.abandoned = False
        self.quiet = False

    def write(self, text: str) -> int:
        if not self.quiet:
            self._try(lambda: self._stream.write(harmless(text)))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def _try(self, act: Any) -> None:
        if self.problem is None:
            try:
                act()
            except (OSError, ValueError) as error:
                self.abandoned = isinstance(error, BrokenPipeError)
                self.problem = getattr(error, "strerror", None) or str(error)
                _let_go(self._stream)


def _let_go(stream: Any) -> None:
    """What the stream still holds would fail once more when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def hush() -> None:
    """Drop what the program prints from now on, but for what it prints ``aloud``."""
    if isinstance(sys.stdout, _Output):
        sys.stdout.quiet = True


def _is_quiet() -> bool:
    """Whether what the program prints is dropped."""
    return isinstance(sys.stdout, _Output) and sys.stdout.quiet


@contextlib.contextmanager
def aloud() -> Iterator[None]:
    """Inside, what is printed is printed."""
    if not isinstance(sys.stdout, _Output):
        yield
        return
    output, before = sys.stdout, sys.stdout.quiet
    output.quiet = False
    try:
        yield
    finally:
        output.quiet = before


@contextlib.contextmanager
def steady_output() -> Iterator[_Output]:
    """Standard output and error that are open, take every character, and do not end what writes to them."""
    for descriptor in (0, 1, 2):  # one that is closed would become that of the next file that is opened
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    before = sys.stdout
    output = _Output(before if before is not None else open(os.devnull, "w"))  # noqa: SIM115
    sys.stdout = output
    try:
        yield output
        output.flush()
    finally:
        sys.stdout = before
