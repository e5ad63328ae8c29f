"""Own pairs of the bank: reference queries that belong to candidates of the index.

They raise the biases of candidates that are the answer to no test query, so a bias that was made with
them looks better on those queries than it is. A reference belongs to a candidate if its pair id is the
candidate's id, or the candidate's own pair id, in whatever form of Unicode.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from nnn_core import storage
from nnn_core.artifacts import from_parquet, keep_exactly, read_exactly, to_parquet
from nnn_core.digests import sha256
from nnn_core.embedded.rest import leave_out
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, VectorBlock, read_ids
from nnn_core.errors import BankTooSmallError, ConfigError
from nnn_core.scoring.bank import Bank, one_form
from nnn_core.vectors import Mask


@dataclass(frozen=True)
class OwnPairIds:
    """Where the pair ids lie that bank and candidates have in common.

    Attributes:
        uri: Parquet file of the pair ids, ascending.
        names: number of pair ids in the Parquet file.
    """

    uri: str
    names: int

    @classmethod
    def store(cls, names: Iterable[str], work: str) -> OwnPairIds:
        """Store pair ids below ``work``, under a name that follows from the content."""
        ordered = sorted(names)
        data = to_parquet(pa.table({"pair_id": pa.array(ordered, pa.string())}))
        uri = storage.join(work, "evaluation", f"positives-{sha256(data)[:40]}.parquet")
        keep_exactly(uri, data)
        return cls(uri, len(ordered))

    def count(self, shard: EmbeddedShard) -> int:
        """Rows of a shard of the bank that belong to candidates."""
        return int(pc.sum(self._among(read_ids(shard, "pair_id"))).as_py() or 0)

    def leave_out(self, embedded: EmbeddedInput, work: str) -> EmbeddedInput:
        """A file of the bank without the rows that belong to candidates; what is left is stored below ``work``."""

        def belongs(block: VectorBlock) -> Mask:
            belonging: Mask = self._among(block.pair_ids).to_numpy(zero_copy_only=False)
            return belonging

        return leave_out(embedded, belongs, storage.basename(self.uri), work)

    def _among(self, pair_ids: pa.Array) -> pa.BooleanArray:
        """(rows,) whether each of ``pair_ids`` is one that belongs to a candidate."""
        return pc.is_in(one_form(pair_ids), value_set=_load(self.uri))


@lru_cache(maxsize=1)
def _load(uri: str) -> pa.Array:
    name = storage.basename(uri)
    table = from_parquet(read_exactly(uri, name.partition("-")[2].partition(".")[0]))
    return table.column("pair_id").combine_chunks()


@lru_cache(maxsize=1)
def _bank_pairs(bank: Bank) -> pa.StringArray:
    """The distinct pair ids of the bank, ascending; the empty one, which is nobody's, is left out."""
    columns = [one_form(read_ids(part, "pair_id")) for part in bank.parts]
    names = pc.unique(pa.chunked_array(columns, pa.string()))
    return names.filter(pc.not_equal(names, "")).sort()


def own_pair_ids(shard: EmbeddedShard, bank: Bank) -> frozenset[str]:
    """The pair ids of the bank that belong to a candidate of the shard."""
    columns = [one_form(read_ids(shard, column)) for column in ("id", "pair_id")]
    names = pc.unique(pa.chunked_array(columns, pa.string()))
    return frozenset(names.filter(pc.is_in(names, value_set=_bank_pairs(bank))).to_pylist())


def check_rest(bank: Bank, k: int, own_pairs: int) -> None:
    """Refuse a bank in which too little is left.

    Raises:
        BankTooSmallError: fewer references than k.
    """
    if bank.rows < k:
        raise BankTooSmallError(
            f"--drop-own-pairs leaves {bank.rows} reference queries ({own_pairs} belong to candidates), fewer "
            f"than k = {k}, so the fair figure cannot be computed. Evaluate on candidates that the bank does "
            "not describe."
        )


def check_bank_of(bank: Bank, digest: str, table: str) -> None:
    """Refuse another bank than the table's: its figures would differ for another reason.

    Raises:
        ConfigError: the bank is not the one that the table was made with.
    """
    if bank.digest != digest:
        raise ConfigError(
            f"--references is not the bank of {table!r}: its digest is {bank.digest[:16]}, not "
            f"{digest[:16]}. Figures without own pairs can only be compared for the same bank. Name the table's bank."
        )
