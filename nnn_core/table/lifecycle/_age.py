"""How old and how large files are that may be removed, and may be gone meanwhile."""

from __future__ import annotations

from nnn_core import storage
from nnn_core.errors import InputError

#: Seconds that anything is left alone at least: clocks differ, and a commit takes its time.
MIN_AGE = 3600.0


def written_before(uri: str, moment: float) -> bool:
    """Whether a file is older than a moment, in seconds since 1970; not if it is gone meanwhile."""
    try:
        return storage.modified(uri) < moment
    except InputError:
        return False


def size_of(uri: str) -> int:
    """Bytes of a file; 0 if it is gone meanwhile."""
    try:
        return storage.size(uri)
    except InputError:
        return 0
