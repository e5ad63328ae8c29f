"""What earlier runs know of single images: vectors found by the image's bytes, whatever group it was embedded in.

A group of single images changes with each of its members, while the vector of a member depends on its own bytes and
the encoder only: a batch is always padded to one size. So beside the embedded shards of a group lie the keys of its
rows, and a group that changed is put together from the rows that are known and those of new images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nnn_core import storage
from nnn_core.artifacts import from_tensors, keep_bytes, lost, to_tensors
from nnn_core.embedded.shards import CONTENTS, CONTENTS_SUFFIX, contents_path
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.inputs.shards import CONTENT_BYTES, InputShard

#: Keys of rows: digests of an image's bytes and of the encoder, as numpy compares them.
Keys = npt.NDArray[np.bytes_]


def keys_of(shard: InputShard, encoder: str | None) -> Keys:
    """The key of each member of a group, (members,).

    Args:
        shard: group of single images.
        encoder: digest of the encoder's fingerprint.
    """
    start = hashlib.blake2b(f"{encoder}\0".encode(), digest_size=CONTENT_BYTES)
    keys = b""
    for at in range(0, len(shard.contents), CONTENT_BYTES):
        digest = start.copy()
        digest.update(shard.contents[at : at + CONTENT_BYTES])
        keys += digest.digest()
    return np.frombuffer(keys, f"S{CONTENT_BYTES}")


def keep_keys(keys: Keys, name: str, work: str) -> None:
    """Store the keys of an input's rows, in the order of its embedded shards; before its completion mark."""
    flat = np.frombuffer(keys.tobytes(), np.uint8).reshape(len(keys), CONTENT_BYTES)
    uri = storage.join(work, contents_path(name))
    keep_bytes(uri, to_tensors({"keys": flat}, uri))


@dataclass(frozen=True)
class Found:
    """Where the vectors of a group's members lie.

    Attributes:
        names: names of inputs that hold some of them.
        inputs: (members,) position in ``names``, -1 for a member whose vector is not known.
        rows: (members,) row of each member among those of its input.
    """

    names: tuple[str, ...]
    inputs: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    @property
    def missing(self) -> int:
        """How many vectors are not known."""
        return int((self.inputs < 0).sum())

    def by_input(self) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """The name of each input that is needed, with the positions of the members whose vectors it holds."""
        for number in np.unique(self.inputs[self.inputs >= 0]).tolist():
            yield self.names[number], np.flatnonzero(self.inputs == number)


@dataclass(frozen=True)
class KnownImages:
    """The rows of all groups that were embedded with the same work folder.

    Attributes:
        names: names of the inputs that they are rows of.
        keys: (known,) keys of the rows, ascending.
        inputs: (known,) position of each row's input in ``names``.
        rows: (known,) position of each row among those of its input.
    """

    names: tuple[str, ...]
    keys: Keys
    inputs: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    @classmethod
    def below(cls, work: str) -> KnownImages:
        """What is known now; only inputs whose completion mark is there count, and no keys that are damaged."""
        kept = storage.list_names(storage.join(work, CONTENTS))
        if not kept:
            return cls.of((), work)
        marks = set(storage.list_names(storage.join(work, "embedded")))
        names = (name.removesuffix(CONTENTS_SUFFIX) for name in kept)
        return cls.of(tuple(name for name in names if f"{name}.json" in marks), work)

    @staticmethod
    @lru_cache(maxsize=2)
    def of(names: tuple[str, ...], work: str) -> KnownImages:
        """The rows of inputs of these names."""
        read = [_read(storage.join(work, contents_path(name))) for name in names]
        keys = np.concatenate([np.zeros(0, f"S{CONTENT_BYTES}"), *read])
        order = np.argsort(keys, kind="stable")
        inputs = np.repeat(np.arange(len(read)), [len(each) for each in read])
        rows = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(each)) for each in read)])
        return KnownImages(names, keys[order], inputs[order], rows[order])

    def find(self, shard: InputShard, encoder: str | None) -> Found:
        """Which members of a group are known to an encoder, and where.

        A name that cannot be stored is not known: it is for the reader to reject it.
        """
        wanted = keys_of(shard, encoder)
        if not len(self.keys):
            return Found(self.names, np.full(len(wanted), -1), np.zeros(len(wanted), np.int64))
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        known = (self.keys[at] == wanted) & _are_unicode(shard.members)
        return Found(self.names, np.where(known, self.inputs[at], -1), self.rows[at])


@lru_cache(maxsize=4096)
def _read(uri: str) -> Keys:
    try:
        keys = from_tensors(storage.read_bytes(uri), uri)["keys"]
    except (CorruptArtifactError, InputError) as error:
        lost(uri, str(error))  # its images are new ones
        keys = np.zeros((0, CONTENT_BYTES), np.uint8)
    return np.frombuffer(keys.tobytes(), f"S{CONTENT_BYTES}")


def _are_unicode(names: Sequence[str]) -> npt.NDArray[np.bool_]:
    return np.array([not any("\ud800" <= char <= "\udfff" for char in name) for name in names], bool)
