"""Keys that say where a row lay rather than what it is."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: img2dataset's keys: five digits of the shard and four of the row. A corpus that it would take six
#: digits to number is beyond it, and the first of its shards begin with a zero.
_KEY = re.compile(r"(0\d{4})\d{4}(?:#\d+)?\Z")


def positional_keys(ids: Iterable[str]) -> bool:
    """Whether the ids of one shard look like those that img2dataset makes up: all digits, of one shard."""
    shards = set()
    for row_id in ids:
        key = _KEY.match(row_id)
        shards.add(key and key.group(1))
        if len(shards) > 1 or key is None:
            return False
    return bool(shards)
