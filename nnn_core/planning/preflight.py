"""The beginning of every side's input, read before anything is computed: what must fail fails at once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nnn_core.embedded.embedding import EmbeddingRequest, check_needs, unit_rows
from nnn_core.encoders.encoding import NOT_AN_IMAGE, decode_error
from nnn_core.errors import InputError
from nnn_core.evaluation.queries import Overlap
from nnn_core.inputs.listing import list_input
from nnn_core.inputs.readers import Rows, holds_vectors, read_head
from nnn_core.inputs.rejects import Reject, RejectSummary
from nnn_core.inputs.shards import InputShard, spread
from nnn_core.scoring.own_pairs import differing_names


@dataclass(frozen=True)
class Head:
    """The beginning of one side's input: the first rows of a few files, which lie evenly over all.

    Attributes:
        side: ``candidates``, ``references`` or ``validation``.
        files: how many files there are.
        left_out: how many further files match but are no input, by the reason.
        holds: ``images``, ``captions`` or ``vectors``; the first file's.
        uris: the files that were looked into.
        rows: first rows of each of them.
    """

    side: str
    files: int
    left_out: dict[str, int]
    holds: str
    uris: tuple[str, ...]
    rows: tuple[Rows, ...]

    @classmethod
    def read(cls, side: str, pattern: str, request: EmbeddingRequest, most_rejected: float, decode: bool) -> Head:
        """Look at one side.

        Args:
            side: ``candidates``, ``references`` or ``validation``.
            pattern: what the user typed: a URI with globs and brace ranges.
            request: how rows are read and encoded.
            most_rejected: share of the rows that may be unusable.
            decode: whether to decode the first image of each file, as the encoders of this package do.

        Raises:
            InputError: no file, one that cannot be read as asked, or vectors of several dimensions.
            RejectedRowsError: rows are unusable and none may be, or all are for one reason.
        """
        listing = list_input(pattern, f"--{side}")
        names = spread(listing.shards)
        looked = []
        for name in names:
            shard = InputShard(name.uri, "", 0, members=name.members)
            check_needs(name, holds_vectors(shard, request.modality, request.columns), request)
            holds, rows = read_head(name, request.modality, request.columns)
            if holds == "vectors":
                rows = unit_rows(rows)[0]
            looked.append((holds, _decoded(rows) if holds == "images" and decode else rows))
        head = cls(
            side,
            listing.files,
            listing.left_out,
            looked[0][0],
            tuple(name.uri for name in names),
            tuple(rows for _, rows in looked),
        )
        head._check_rejects(most_rejected, request.rejects_folder)
        return head

    def _check_rejects(self, most: float, folder: str) -> None:
        summary = RejectSummary.merged(
            RejectSummary.of(rows.rejects, len(rows.rejects) + len(rows.ids), uri, None)
            for uri, rows in zip(self.uris, self.rows, strict=True)
        )
        all_alike = summary.rejected == summary.rows and len(summary.reasons) == 1
        if not most or (all_alike and most < 1):
            summary.check_rate(most, f"--{self.side}", folder, beginning=True)

    @property
    def ids(self) -> list[str]:
        """Ids of the rows, in order."""
        return [row_id for rows in self.rows for row_id in rows.ids]

    @property
    def pair_ids(self) -> list[str]:
        """Pair ids of the rows, in order, empty for a row without one."""
        return [pair_id for rows in self.rows for pair_id in rows.pair_ids]

    @property
    def dims(self) -> dict[int, str]:
        """Dimensions of the vectors, each with a file that has it; none unless vectors are held."""
        vectors = zip(self.uris, self.rows, strict=True) if self.holds == "vectors" else ()
        return {np.shape(rows.items)[1]: uri for uri, rows in vectors if len(rows.ids)}

    def contents(self) -> Iterator[tuple[bytes, str]]:
        """(digest of the content, id) of each row."""
        for rows in self.rows:
            for row_id, item in zip(rows.ids, rows.items, strict=True):
                data = item.encode() if isinstance(item, str) else item if isinstance(item, bytes) else item.tobytes()
                yield hashlib.blake2b(data, digest_size=16).digest(), row_id

    def check_against(self, references: Head, exclude_own_pairs: bool) -> None:
        """Refuse sides that cannot be compared.

        Raises:
            InputError: vectors of several dimensions, an id that two candidates have, or pair ids that only look as if
                they were names of candidates.
        """
        dims = {dim: uri for head in (self, references) for dim, uri in head.dims.items()}
        if len(dims) > 1:
            (dim_a, a), (dim_b, b) = sorted(dims.items())[:2]
            raise InputError(
                f"vectors differ in dimension: {dim_a} in {a!r}, {dim_b} in {b!r}. Candidates and references "
                "must come from one encoder."
            )
        for uri, rows in zip(self.uris, self.rows, strict=True):
            row_id, count = next(iter(Counter(rows.ids).most_common(1)), ("", 0))
            if count > 1:
                raise InputError(
                    f"candidate id {row_id!r} occurs {count} times in the first rows of {uri!r}, but candidate ids "
                    "must be unique. Name another column with --id-column."
                )
        if exclude_own_pairs:
            names = [*self.ids, *self.pair_ids]
            if difference := differing_names(references.pair_ids, names):
                raise InputError(
                    "--exclude-own-pairs would have no effect: no pair id of --references is the id of a "
                    f"candidate.{difference} Name matching columns with --reference-pair-id-column, "
                    "--pair-id-column or --id-column."
                )

    def check_held_out(self, references: Head) -> None:
        """Refuse validation queries that are in the bank, as far as the beginnings tell.

        Raises:
            InputError: some are, by id or by content.
        """
        known, contents = Overlap.comparable(references.ids), dict(references.contents())
        by_content = {row_id for digest, row_id in self.contents() if digest in contents}
        same = self.holds == references.holds
        Overlap(known.intersection(self.ids), frozenset(by_content if same else ())).refuse()


def _decoded(rows: Rows) -> Rows:
    """The same rows; the first is a reject if it cannot be decoded."""
    error = decode_error(rows.items[0]) if rows.ids else ""
    if not error:
        return rows
    rejects = [*rows.rejects, Reject(rows.ids[0], NOT_AN_IMAGE, error)]
    return Rows(rows.ids[1:], rows.pair_ids[1:], rows.items[1:], rejects)
