"""Held-out queries with the candidates that answer them, as one stored file that every worker reads."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nnn_core import storage
from nnn_core.artifacts import from_parquet, keep_exactly, pack_vectors, read_exactly, to_parquet, unpack_vectors
from nnn_core.digests import sha256
from nnn_core.embedded.corpus import embedded_shards, summarise_side
from nnn_core.embedded.rest import leave_out
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, VectorBlock, check_alike, read_ids, read_shard
from nnn_core.errors import InputError
from nnn_core.evaluation.judgements import Judgements
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.scoring.own_pairs import LOOKED_AT, differing_names, unless_met
from nnn_core.vectors import FloatMatrix, Mask

_LOG = logging.getLogger("nnn")

_NO_REJECTS = RejectSummary(0)


@dataclass(frozen=True)
class QuerySet:
    """Queries in order of id.

    Attributes:
        ids: (queries,) ids of the queries, each once, ascending.
        vectors: (queries, dim) float32 vectors of the queries, on the grid of ``vectors``.
        relevant: for each query the ids of its relevant candidates, each once, ascending; none where nobody knows any.
        grades: (pairs,) float64 grade of each relevant candidate, in order of query and candidate.
    """

    ids: tuple[str, ...]
    vectors: FloatMatrix
    relevant: tuple[tuple[str, ...], ...]
    grades: npt.NDArray[np.float64]

    @cached_property
    def answered(self) -> QuerySet:
        """Those that have an answer, of which figures are; all of them where nobody knows any answer."""
        rows = [row for row, names in enumerate(self.relevant) if names]
        if not rows:
            return self
        ids, relevant = tuple(self.ids[row] for row in rows), tuple(self.relevant[row] for row in rows)
        return QuerySet(ids, self.vectors[rows], relevant, self.grades)

    def check_answers(self, candidates: Sequence[EmbeddedInput], need_answers: bool) -> QuerySet:
        """The queries, if the index holds an answer of any; reads ids only, and no more than it takes.

        Without one, queries that name nothing but themselves are taken for queries of which nobody knows the answer.

        Args:
            candidates: all embedded files of candidates.
            need_answers: whether such queries are of no use.

        Raises:
            InputError: no answer is in the index, though answers were given or are needed.
            CorruptArtifactError: an embedded shard is damaged.
        """
        answers = pa.array(sorted({name for names in self.relevant for name in names}), pa.string())
        if not len(answers):
            return self
        known = unless_met(map(read_ids, embedded_shards(candidates)), answers)
        if not known:
            return self
        remedy = (
            "Name the column of the answers with --validation-pair-id-column (--query-pair-id-column of nnn evaluate), "
            "or give a table of answers with --relevance."
        )
        if not need_answers and all(
            names in ((), (row_id,)) for row_id, names in zip(self.ids, self.relevant, strict=True)
        ):
            _LOG.warning(
                "no answer of the %s validation queries is known, so the bias cannot be judged by them. Their own ids "
                "are not in the index. %s",
                f"{len(self.ids):,}",
                remedy,
            )
            return QuerySet(self.ids, self.vectors, ((),) * len(self.ids), np.zeros(0))
        row = next(row for row, names in enumerate(self.relevant) if names)
        raise InputError(
            f"no answer of the {len(self.ids):,} validation queries is in the index, so nothing can be judged. Query "
            f"{self.ids[row]!r} names {self.relevant[row][0]!r}; the index has candidates such as {known[0]!r}."
            f"{differing_names(answers[:LOOKED_AT].to_pylist(), known)} {remedy}"
        )

    def store(self, work: str) -> StoredQueries:
        """Store the queries below ``work``, under a name that follows from the content."""
        edges = np.cumsum([0, *map(len, self.relevant)])
        table = pa.table(
            {
                "id": pa.array(self.ids, pa.string()),
                "relevant": pa.array([list(names) for names in self.relevant], pa.list_(pa.string())),
                "grade": pa.ListArray.from_arrays(pa.array(edges, pa.int32()), pa.array(self.grades)),
                "vector": pack_vectors(self.vectors),
            }
        )
        data = to_parquet(table, plain=["vector"])
        uri = storage.join(work, "evaluation", f"queries-{sha256(data)[:40]}.parquet")
        keep_exactly(uri, data)
        return StoredQueries(uri, sha256(data), len(self.ids))

    @staticmethod
    def gather(
        inputs: Sequence[EmbeddedInput],
        judgements: Judgements | None,
        max_reject_rate: float,
        flag: str,
        rejects_folder: str,
        need_answers: bool = True,
    ) -> tuple[QuerySet, RejectSummary]:
        """All queries, with answers or without, and what was rejected of their files.

        Args:
            inputs: embedded files of the queries.
            judgements: grades by query id and candidate id; None if a query's pair id names its one relevant candidate.
            max_reject_rate: allowed share of rejected rows, 0 to 1.
            flag: ``--validation`` or ``--queries``, for messages.
            rejects_folder: folder in which rejects are listed, for messages.
            need_answers: whether queries of which none has an answer are of no use.

        Raises:
            RejectedRowsError: too many rows could not be used.
            InputError: no row is left, an id stands for two queries, or no query has an answer though that is needed.
        """
        _, outcome = summarise_side(inputs, max_reject_rate, flag, rejects_folder)
        shards = list(embedded_shards(inputs))
        check_alike(shards)
        rows: dict[str, tuple[npt.NDArray[np.float32], dict[str, float]]] = {}
        for shard in shards:
            block = read_shard(shard)
            for row_id, pair_id, vector in zip(
                block.ids.to_pylist(), block.pair_ids.to_pylist(), block.vectors, strict=True
            ):
                if row_id in rows:
                    raise InputError(
                        f"query id {row_id!r} occurs twice (the second time in {shard.source!r}), so it would "
                        "be counted twice. Give every validation query its own id."
                    )
                answers = judgements.get(row_id, {}) if judgements is not None else ({pair_id: 1.0} if pair_id else {})
                rows[row_id] = vector, dict(answers)
        if need_answers and not any(answers for _, answers in rows.values()):
            raise InputError(
                f"none of the {len(rows)} validation queries names the candidate that answers it. Give a table "
                "of answers with --relevance, or name the column with --validation-pair-id-column "
                "(--query-pair-id-column of nnn evaluate)."
            )
        ids = tuple(sorted(rows))
        answers_of = [sorted(rows[name][1].items()) for name in ids]
        queries = QuerySet(
            ids,
            np.stack([rows[name][0] for name in ids]),
            tuple(tuple(candidate for candidate, _ in answers) for answers in answers_of),
            np.array([grade for answers in answers_of for _, grade in answers]),
        )
        return queries, outcome.rejects


@dataclass(frozen=True)
class StoredQueries:
    """Where a ``QuerySet`` lies.

    Attributes:
        uri: Parquet file of the queries and the candidates that answer them.
        digest: SHA-256 of the Parquet file, in hex.
        rows: number of queries in the Parquet file.
        rejects: what was rejected of the files that the queries come from.
        overlap: number of queries that are in the bank too; None if nobody knows the bank.
        dropped: number of references that were left out of the bank because they are queries.
    """

    uri: str
    digest: str
    rows: int
    rejects: RejectSummary = _NO_REJECTS
    overlap: int | None = None
    dropped: int = 0

    def load(self) -> QuerySet:
        """The stored queries; what is asked for again, shard after shard, is read once.

        Raises:
            LostArtifactError: the file's bytes are not those that were stored.
        """
        return _load(self.uri, self.digest)

    def leave_out(self, embedded: EmbeddedInput, work: str) -> EmbeddedInput:
        """A file of the bank without the rows that are queries, by id or by vector, see ``Overlap.find``."""

        def asked(block: VectorBlock) -> Mask:
            return np.array([names != (None, None) for names in _queries_of(block, self.load())], bool)

        return leave_out(embedded, asked, self.digest, work)

    def left_out(self, before: Sequence[EmbeddedInput], after: Sequence[EmbeddedInput]) -> StoredQueries:
        """These queries beside a bank that they were left out of: its files before and after."""
        rows = [sum(shard.rows for shard in embedded_shards(files)) for files in (before, after)]
        return replace(self, overlap=0, dropped=rows[0] - rows[1])


@lru_cache(maxsize=1)
def _load(uri: str, digest: str) -> QuerySet:
    table = from_parquet(read_exactly(uri, digest))
    vectors = unpack_vectors(table["vector"].combine_chunks())
    return QuerySet(
        tuple(table["id"].to_pylist()),
        vectors,
        tuple(tuple(names) for names in table["relevant"].to_pylist()),
        np.array([grade for grades in table["grade"].to_pylist() for grade in grades]),
    )


@dataclass(frozen=True)
class _Unused:
    """Rows of the files of queries that no figure is of.

    Attributes:
        rejected: rows that could not be used.
        unanswered: queries without an answer.
        absent: queries that have answers, none of them in the index.
    """

    rejected: int
    unanswered: int
    absent: int

    def describe(self, rows: int) -> str:
        """How many of so many rows are in no figure, and why; empty if none."""
        number = self.rejected + self.unanswered + self.absent
        if not number:
            return ""
        reasons = (
            (self.rejected, "rejected"),
            (self.unanswered, "without an answer"),
            (self.absent, "with no answer in the index"),
        )
        words = ", ".join(f"{count:,} {reason}" for count, reason in reasons if count)
        return f"{number:,} of {rows:,} rows of queries ({number / rows:.2%}) are left out of all figures: {words}."


@dataclass(frozen=True)
class Overlap:
    """What queries and bank have in common; ``a | b`` is that of two parts of the bank.

    Attributes:
        ids: ids of queries whose id a reference has too.
        vectors: ids of queries whose vector a reference has too, as the same content gives.
    """

    ids: frozenset[str] = frozenset()
    vectors: frozenset[str] = frozenset()

    def __or__(self, other: Overlap) -> Overlap:
        return Overlap(self.ids | other.ids, self.vectors | other.vectors)

    @property
    def queries(self) -> frozenset[str]:
        """Ids of the queries that are in the bank in either way."""
        return self.ids | self.vectors

    @classmethod
    def find(cls, queries: QuerySet, shard: EmbeddedShard) -> Overlap:
        """Queries that are in an embedded shard of the bank.

        Only ids that are ``comparable`` are compared.
        """
        rows = list(_queries_of(read_shard(shard), queries))
        return cls(*(frozenset(names) - {None} for names in zip(*rows, strict=True)))

    @staticmethod
    def comparable(ids: Iterable[str]) -> frozenset[str]:
        """Those that name a row: some rows go by their position (``row 7``), which says nothing of another file's."""
        return frozenset(row_id for row_id in ids if not row_id.startswith(("row ", "line ")))

    def refuse(self) -> None:
        """Refuse to judge a bias by queries that it was made of.

        Raises:
            InputError: some query is in the bank.
        """
        if self.queries:
            raise InputError(
                f"{len(self.queries)} validation queries are in the bank too: {len(self.vectors)} by their "
                f"content and {len(self.ids)} by their id (such as {min(self.queries)!r}). The bias would look "
                "better than it is. Leave them out of the bank with nnn refresh --drop-overlap, or accept them "
                "with --allow-overlap."
            )


def _queries_of(block: VectorBlock, queries: QuerySet) -> Iterator[tuple[str | None, str | None]]:
    """For each reference of a shard the ids of the queries that have its id, and its vector; None for none."""
    by_vector = {_digest(vector): name for name, vector in zip(queries.ids, queries.vectors, strict=True)}
    ids = Overlap.comparable(queries.ids)
    for row_id, vector in zip(block.ids.to_pylist(), block.vectors, strict=True):
        yield row_id if row_id in ids else None, by_vector.get(_digest(vector))


def _digest(vector: npt.NDArray[np.float32]) -> bytes:
    return hashlib.blake2b(vector.tobytes(), digest_size=16).digest()
