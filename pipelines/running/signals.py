"""Signals that ask a program to end: SIGINT, which is Ctrl-C, and SIGTERM, which schedulers send."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class _Signalled(KeyboardInterrupt):
    """A signal asks the program to end.

    Of KeyboardInterrupt itself Python takes note where code is run from a text, as classes make their methods, and ends
    the process by SIGINT later, although the error was answered.
    """


def signal_of(interrupt: KeyboardInterrupt) -> int:
    """The number of the signal behind an interrupt."""
    return int(interrupt.args[0]) if isinstance(interrupt, _Signalled) and interrupt.args else signal.SIGINT


@contextlib.contextmanager
def heard_once(for_good: bool) -> Iterator[list[int]]:
    """Raise ``_Signalled`` at the first signal that comes inside, and take no notice of further ones.

    The handler matters for SIGTERM and process 1, to which the system would not even deliver it otherwise.

    Args:
        for_good: whether the process ends afterwards, which it then does undisturbed: in silence if a signal comes
            that is the first one. Otherwise the handlers of before come back.

    Yields:
        The number of the signal once it came, until then nothing.
    """
    heard: list[int] = []

    def hear(number: int, _: object) -> None:
        if not heard:
            heard.append(number)
            raise _Signalled(number)

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        # Who started the program may not want it to hear one.
        before = {each: signal.signal(each, hear) for each in _NUMBERS if signal.getsignal(each) != signal.SIG_IGN}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            # A handler of Python's is gone before the process is.
            ending = signal.SIG_IGN if heard else signal.SIG_DFL
            signal.signal(number, ending if for_good or handler is None else handler)
