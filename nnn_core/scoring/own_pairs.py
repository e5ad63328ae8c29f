"""Whether a bank's pair ids meet the candidates that they were meant for."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.embedded.corpus import embedded_shards
from nnn_core.embedded.shards import EmbeddedInput, read_ids
from nnn_core.errors import InputError
from nnn_core.scoring.bank import Bank, one_form

#: Names of a side of which the differences are told.
LOOKED_AT = 100_000

#: What may tell names of one thing apart, the mildest first.
_DIFFERENCES: dict[str, Callable[[str], str]] = {
    "upper and lower case": str.casefold,
    "the folders in front of the names": lambda name: name.rpartition("/")[2],
    "the suffixes of the files": lambda name: _stem(name),
    "the folders in front of the names and the suffixes of the files": lambda name: _stem(name.rpartition("/")[2]),
}


def _stem(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return folder + slash + (base.rpartition(".")[0] or base)


@dataclass(frozen=True)
class _OwnPairs:
    """How many references were left out of scores, because they belong to the candidate.

    Attributes:
        candidates: how many candidates had some.
        references: how many references were left out, summed over the candidates.
    """

    candidates: int = 0
    references: int = 0

    @classmethod
    def of(cls, left_out: npt.NDArray[np.int64]) -> _OwnPairs:
        """Of some candidates, for each of which (rows,) the number of references that were left out is given."""
        return cls(int(np.count_nonzero(left_out)), int(left_out.sum()))

    def __add__(self, other: _OwnPairs) -> _OwnPairs:
        return _OwnPairs(self.candidates + other.candidates, self.references + other.references)


NO_OWN_PAIRS = _OwnPairs()


def check_own_pairs(bank: Bank, candidates: Sequence[EmbeddedInput]) -> Bank:
    """The bank, if any of its pair ids is a name of a candidate; reads names only, and no more than it takes.

    Args:
        bank: whose own pairs are to be left out.
        candidates: all embedded files of candidates.

    Raises:
        InputError: none is, so nothing would be left out; says what the names differ in, as far as that can be told.
        CorruptArtifactError: an embedded shard is damaged.
    """
    pairs = pc.unique(pa.chunked_array([one_form(read_ids(part, "pair_id")) for part in bank.parts]))
    pairs = pairs.filter(pc.not_equal(pairs, ""))
    columns: tuple[Literal["id", "pair_id"], ...] = ("id", "pair_id")
    names = (one_form(read_ids(shard, column)) for shard in embedded_shards(candidates) for column in columns)
    known = unless_met(names, pairs)
    if not known:
        return bank
    raise InputError(
        f"--exclude-own-pairs would leave nothing out. None of the {len(pairs):,} pair ids of --references, such "
        f"as {pairs[0].as_py()!r}, is the id or pair id of a candidate, such as "
        f"{known[0]!r}.{differing_names(pairs[:LOOKED_AT].to_pylist(), known)} Name matching columns with "
        "--reference-pair-id-column, --pair-id-column or --id-column, or leave the flag out."
    )


def unless_met(columns: Iterable[pa.StringArray], wanted: pa.Array) -> list[str]:
    """Names in some columns, of ``LOOKED_AT`` rows at most; none once one is wanted, and no further column is read."""
    seen: list[str] = []
    for names in columns:
        if pc.any(pc.is_in(names, value_set=wanted)).as_py():
            return []
        seen += names[: LOOKED_AT - len(seen)].to_pylist()
    return [name for name in seen if name]


def differing_names(pair_ids: Iterable[str], candidates: Iterable[str]) -> str:
    """What keeps pair ids from meeting names of candidates, a sentence with an example of both.

    Empty if some meet, or if they would not even without any such difference.
    """
    pairs, names = ({unicodedata.normalize("NFC", name) for name in side if name} for side in (pair_ids, candidates))
    if pairs & names:
        return ""
    for what, without in _DIFFERENCES.items():
        if met := {without(name): name for name in names}.keys() & {without(pair): pair for pair in pairs}.keys():
            key = min(met)
            pair = min(pair for pair in pairs if without(pair) == key)
            name = min(name for name in names if without(name) == key)
            return f" They differ in {what}: {pair!r} and {name!r}."
    return ""
