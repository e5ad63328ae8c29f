"""Second looks: further scores of candidates whose partial may not hold all that counts, kept for the nights to come.

A window of days that slides asks for nearly the same looks every night. The file of a partial's looks grows by the
candidates that were not looked at before. It is the one artefact that is written anew: whichever of two writers comes
last, every row is what its candidate and reference shard say, and what the other had added is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nnn_core import storage
from nnn_core.artifacts import checksum_of, from_parquet, lost, to_parquet
from nnn_core.errors import InputError
from nnn_core.scoring.partials import _CHECKSUM_KEY, _PACKED, Partial, _pack, _unpack
from nnn_core.vectors import FloatMatrix

#: (number of a reference shard, rows of candidates) to the k highest scores of these, (rows, at most k), descending.
Look = Callable[[int, npt.NDArray[np.int64]], FloatMatrix]

_FOLDER = "looks"


def looks_path(partial: str, k: int) -> str:
    """Path below the work folder of the looks at a partial.

    Args:
        partial: name of the partial's file.
        k: how many scores of each candidate count.
    """
    stem, dot, suffix = partial.partition(".")
    return f"{_FOLDER}/{stem}-{k}{dot}{suffix}"


def _look_again(partial: Partial, rows: npt.NDArray[np.int64], k: int, look: Look) -> tuple[FloatMatrix, int]:
    """Scores that follow on those that a partial keeps, of some of its candidates, and how many bytes were read.

    Args:
        partial: what is kept of a candidate shard in a reference shard.
        rows: rows of the partial, ascending, one or more.
        k: how many scores of each candidate count.
        look: scores those rows that nobody has looked at before.

    Returns:
        (rows, at most k - partial.k_max) float32, descending, filled up with -inf; and bytes.
    """
    work = storage.parent(storage.parent(partial.uri))
    uri = storage.join(work, looks_path(storage.basename(partial.uri), k))
    known, read = _Looks.read(uri, partial.rows)
    new = np.setdiff1d(rows, known.rows)
    if len(new):
        known = known | _Looks(new, look(partial.reference, new)[:, partial.k_max :])
        storage.replace(uri, known.to_bytes(uri))
    return known.scores[np.searchsorted(known.rows, rows)], read


@dataclass(frozen=True)
class _Looks:
    """Scores by row, rows ascending."""

    rows: npt.NDArray[np.int64]
    scores: FloatMatrix

    @classmethod
    def read(cls, uri: str, candidates: int) -> tuple[_Looks, int]:
        """What was looked at before, and how many bytes of it were read; nothing where the file is damaged."""
        nothing = cls(np.zeros(0, np.int64), np.zeros((0, 0), np.float32)), 0
        try:
            if not storage.exists(uri):
                return nothing
            data = storage.read_bytes(uri)
            table = from_parquet(data)
            found = cls(table.column("row").to_numpy(), _unpack(table))
            if table.schema.metadata[_CHECKSUM_KEY].decode() != found._checksum(uri):
                raise ValueError("its checksum does not match")
            if len(found.rows) and found.rows[-1] >= candidates:
                raise ValueError(f"it has row {found.rows[-1]} of {candidates} candidates")
            return found, len(data)
        except InputError:
            pass  # it went in between
        except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
            lost(uri, f"is not a readable file of second looks: {error}")
        return nothing

    def __or__(self, other: _Looks) -> _Looks:
        """Both together, which have no row in common."""
        rows = np.concatenate([self.rows, other.rows])
        width = max(self.scores.shape[1], other.scores.shape[1])
        scores = np.full((len(rows), width), -np.inf, np.float32)
        scores[: len(self.rows), : self.scores.shape[1]] = self.scores
        scores[len(self.rows) :, : other.scores.shape[1]] = other.scores
        order = np.argsort(rows)
        return _Looks(rows[order], scores[order])

    def to_bytes(self, uri: str) -> bytes:
        """A Parquet file of the rows and their packed scores."""
        table = pa.table({"row": pa.array(self.rows), **_pack(self.scores)})
        table = table.replace_schema_metadata({_CHECKSUM_KEY: self._checksum(uri)})
        return bytes(to_parquet(table, packed=_PACKED))

    def _checksum(self, uri: str) -> str:
        return checksum_of({"row": self.rows, "scores": self.scores}, uri).hex()
