"""SideBySide: a function of several elements of a bundle at once, with results in the order of the elements."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

#: Elements that wait for each thread before they are worked on together, so that none stands idle for long behind a
#: large one.
_EACH = 16


@contextlib.contextmanager
def threads_of_its_own(number: int) -> Iterator[ThreadPool]:
    """A pool whose threads end with the block: where it fails, what they have in hand is done before, the rest is not.

    A job that has failed must not go on writing. Threads of this kind do not outlive a program that is interrupted,
    as those of an executor would.
    """
    pool = ThreadPool(number)
    try:
        yield pool
    finally:
        pool.terminate()
        pool.join()


class SideBySide(beam.DoFn):  # type: ignore[misc]
    """Calls a function in threads; metrics, which do not leave the thread that Beam knows, are left to ``take``.

    Args:
        function: what each element becomes.
        threads: elements that are worked on, and held in memory, at the same time.
    """

    def __init__(self, function: Callable[[Any], Any], threads: int) -> None:
        self._function, self._threads = function, threads

    def take(self, results: Iterator[Any]) -> Iterator[Any]:
        """What comes of the results, one after the other."""
        return results

    def start_bundle(self) -> None:
        self._waiting: list[Any] = []

    def process(self, element: Any) -> Iterator[Any]:
        self._waiting.append(element)
        if len(self._waiting) >= _EACH * self._threads:
            yield from self._work()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from map(GlobalWindows.windowed_value, self._work())

    def _work(self) -> Iterator[Any]:
        elements, self._waiting = self._waiting, []
        # None outlives this call, since a bundle that fails elsewhere never comes to its end.
        with threads_of_its_own(self._threads) as pool:
            yield from self.take(pool.imap(self._function, elements))
