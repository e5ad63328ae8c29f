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


def positional_keys_message(files: int, pattern: str) -> str:
    """The warning that such ids deserve.

    Args:
        files: how many input files have such ids.
        pattern: what the user named them by.
    """
    return (
        f"the ids of {files} input file{'s' if files > 1 else ''} of {pattern!r} look like the keys by which "
        "img2dataset numbers its rows: the digits of the shard and of the row. They change when the corpus is "
        "downloaded again, and every bias would then belong to another item. Use --id-column url or --id-column "
        "@sha256, unless the index is built from these very files."
    )
