"""Input shards: what one is, which names a pattern stands for, and their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

Modality = Literal["image", "text"]

Item = TypeVar("Item")

MODALITIES: tuple[Modality, ...] = ("image", "text")

_DIGITS = re.compile(r"(\d+)")


#: Digests of the content of single images, ``CONTENT_BYTES`` of each.
Contents = bytes
CONTENT_BYTES = 16


@dataclass(frozen=True, slots=True)
class ShardName:
    """What one input shard is called, before anyone looked at it.

    Attributes:
        uri: URI of the file; for single images, of the folder that they lie below.
        members: single images that are read as one shard, by their paths below ``uri``; empty for a file.
    """

    uri: str
    members: tuple[str, ...] = ()


#: What the digest of a group of single images begins with.
GROUP = "members:"


@dataclass(frozen=True, slots=True)
class InputShard:
    """One file of input with the metadata file beside it where the format has one, or a group of single images.

    Attributes:
        uri: URI of the file; for single images, of the folder that they lie below.
        digest: identifies the bytes of the file, and those of ``companion`` and ``members``.
        bytes: size of the file, or of all members together.
        companion: URI of the file with the ids or further fields; None if there is no such file.
        members: single images that are read as one shard, by their paths below ``uri``; empty for a file.
        head: how many first rows are of interest, of which a reader may make use; None for all.
        contents: digests of the bytes of each image of a group, ``CONTENT_BYTES`` each, in the order of ``members``.
    """

    uri: str
    digest: str
    bytes: int
    companion: str | None = None
    members: tuple[str, ...] = ()
    head: int | None = None
    contents: Contents = b""


def cut_groups(
    items: Iterable[Item], ends: Callable[[Item], bool], most: int, size: Callable[[Item], int] = lambda item: 1
) -> Iterator[tuple[Item, ...]]:
    """Cut a sequence by the content of its items, so that one more or one less changes one group or two.

    Args:
        items: the sequence to cut, whose order the groups keep.
        ends: whether a group ends after an item, as its own content says (content-defined chunking).
        most: largest size of a group, in the unit of ``size``; a larger item stands alone.
        size: gives the size of an item; by default each counts 1.
    """
    group, held = list[Item](), 0
    for item in items:
        if group and held + size(item) > most:
            yield tuple(group)
            group, held = [], 0
        group.append(item)
        held += size(item)
        if ends(item):
            yield tuple(group)
            group, held = [], 0
    if group:
        yield tuple(group)


def spread(items: Sequence[Item], count: int = 3) -> list[Item]:
    """The first, the last, and others that lie evenly between them: ``count`` together, or all if there are fewer."""
    places = {round(step * (len(items) - 1) / max(1, count - 1)) for step in range(count)}
    return [items[place] for place in sorted(places)]


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``shard-2`` comes before ``shard-10``."""
    parts = _DIGITS.split(name)  # text and digits in turn
    return tuple((1, int(part), part) if place % 2 else (0, 0, part) for place, part in enumerate(parts))
