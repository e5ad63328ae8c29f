"""A small cache that forgets what was not used lately, bounded in bytes and safe between threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class BoundedCache:
    """Keeps values that cost much to load.

    Values are loaded under the lock: two threads that want the same one load it once, and
    memory never holds more than ``max_bytes`` plus the one value being loaded.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, load: Callable[[], Any], nbytes: Callable[[Any], int]) -> Any:
        """The value of ``key``, loaded if it is not there."""
        with self._lock:
            if key not in self._values:
                value = load()
                self._values[key] = (value, nbytes(value))
            self._values.move_to_end(key)
            while len(self._values) > 1 and sum(size for _, size in self._values.values()) > self._max_bytes:
                self._values.popitem(last=False)
            return self._values[key][0]
