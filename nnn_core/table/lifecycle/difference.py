"""The difference between two versions: a merge of their rows, which are sorted by id through the whole table.

Files that both versions name are not read. Of the others one of each version is in memory at a time.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core import storage
from nnn_core.artifacts import to_parquet_in_pieces
from nnn_core.encoders.fingerprints import differing, shown_parts
from nnn_core.errors import ConfigError
from nnn_core.records import to_json
from nnn_core.table.manifest import Manifest, read_manifest
from nnn_core.table.parts import TablePart

#: Shares of the changed candidates of which the change is told.
SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

ADD, CHANGE, REMOVE = "add", "change", "remove"

_ROWS = pa.schema({"id": pa.string(), "bias": pa.float32()})
_SCHEMA = _ROWS.append(pa.field("op", pa.string()))

#: Bits of a float32 that a bin of ``_Sketch`` leaves out: 11 of the mantissa stay, so bins are 0.05 % wide.
_LOST_BITS = 12


@dataclass(frozen=True)
class _Changes:
    """How the biases of candidates differ that both versions have, and of which they do differ: new minus old.

    Attributes:
        lowest: lowest change of a bias, new minus old.
        highest: highest change of a bias, new minus old.
        mean: mean of all changes of a bias, new minus old.
        mean_absolute: mean of the absolute values of all changes of a bias.
        quantiles: change of the bias by share, for each of ``SHARES``, within 0.05 %.
    """

    lowest: float
    highest: float
    mean: float
    mean_absolute: float
    quantiles: dict[str, float]


@dataclass(frozen=True)
class Difference:
    """What two versions differ in.

    Attributes:
        old: number of the version to start from.
        new: number of the version to get to.
        added: how many candidates only the new version has.
        removed: how many candidates only the old version has.
        changed: how many candidates of both versions have another bias.
        unchanged: how many candidates of both versions have the same bias to the bit.
        small: how many of the changed ones changed by less than was asked for, and are not in the written file.
        shared_files: how many files both versions name.
        settings: (old, new) of each setting that differs, by name, such as k and alpha.
        changes: how the biases changed; None if no candidate has another bias.
    """

    old: int
    new: int
    added: int
    removed: int
    changed: int
    unchanged: int
    small: int
    shared_files: int
    settings: dict[str, tuple[Any, Any]]
    changes: _Changes | None

    @classmethod
    def of(cls, uri: str, old: int, new: int, output: str | None = None, min_change: float = 0.0) -> Difference:
        """Compare two versions, and write what a consumer has to do to get from the one to the other.

        Args:
            uri: URI of the table's folder.
            old: number of the version to start from.
            new: number of the version to get to.
            output: URI of a Parquet file to write, of ``id`` (ascending), ``bias`` (null if ``op`` is ``remove``) and
                ``op`` (``add``, ``change`` or ``remove``); the same bytes whenever it is written. None to write none.
            min_change: least change of a bias that the file tells. What it leaves out adds up from file to file, so an
                index that skips small changes is compared with the version that it last took in full.

        Raises:
            ConfigError: ``min_change`` is negative or no number.
            InputError: no such table, version or file.
            CorruptArtifactError: a file is damaged.
            StorageError: ``output`` cannot be written, or another file has that name.
        """
        if not (math.isfinite(min_change) and min_change >= 0.0):
            raise ConfigError(f"--min-change {min_change} must be 0 or more; 0 leaves nothing out.")
        if output is not None:
            storage.check_exclusive(output)
        manifests = read_manifest(uri, old), read_manifest(uri, new)
        shared = {part.sha256 for part in manifests[0].files} & {part.sha256 for part in manifests[1].files}
        tally = _Tally(unchanged=sum(part.rows for part in manifests[0].files if part.sha256 in shared))
        sides = (_rows(uri, [part for part in each.files if part.sha256 not in shared]) for each in manifests)
        steps = (_compare_rows(*stretch, tally, min_change) for stretch in _aligned(*sides))
        if output is None:
            collections.deque(steps, maxlen=0)
        else:
            skipped = {"min_change": min_change} if min_change else {}
            _write_delta(output, steps, {"old": old, "new": new, **skipped})
        counts = (tally.added, tally.removed, tally.changed, tally.unchanged, tally.small)
        return cls(old, new, *counts, len(shared), _compare_settings(*manifests), tally.finish())


@dataclass
class _Sketch:
    """Counts of float32 values by their leading bits, which order them: a fixed 8 MiB, whatever is counted."""

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1 << (32 - _LOST_BITS), np.int64))

    def add(self, values: npt.NDArray[np.float32]) -> None:
        bits = values.view(np.uint32)
        ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
        self.counts += np.bincount(ordered >> _LOST_BITS, minlength=len(self.counts))

    def quantile(self, share: float) -> float:
        """The middle of the bin up to which at least ``share`` of the values lie."""
        place = int(np.searchsorted(np.cumsum(self.counts), share * int(self.counts.sum())))
        ordered = np.array([(place << _LOST_BITS) + (1 << (_LOST_BITS - 1))], np.uint32)
        bits = np.where(ordered >> 31, ordered & np.uint32((1 << 31) - 1), ~ordered).astype(np.uint32)
        return float(bits.view(np.float32)[0])


@dataclass
class _Tally:
    """What has been counted so far.

    Attributes:
        unchanged: how many candidates have the same bias to the bit.
        added: how many candidates only the new version has.
        removed: how many candidates only the old version has.
        small: how many changed by less than was asked for.
        stretches: (number, lowest, highest, sum, sum of absolute values) of the changes in each stretch of ids.
        sketch: counts of all changes by size, for their quantiles.
    """

    unchanged: int
    added: int = 0
    removed: int = 0
    small: int = 0
    stretches: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    sketch: _Sketch = field(default_factory=_Sketch)

    def add(self, old: npt.NDArray[np.float32], new: npt.NDArray[np.float32]) -> None:
        """Count candidates that both versions have and whose biases differ."""
        if not len(old):
            return
        changes = new.astype(np.float64) - old.astype(np.float64)
        sums = math.fsum(changes), math.fsum(np.abs(changes))
        self.stretches.append((len(changes), float(changes.min()), float(changes.max()), *sums))
        self.sketch.add(changes.astype(np.float32))

    @property
    def changed(self) -> int:
        """How many candidates have another bias."""
        return sum(stretch[0] for stretch in self.stretches)

    def finish(self) -> _Changes | None:
        """What the changes are like together; None if there are none."""
        if not self.stretches:
            return None
        _, lows, highs, sums, absolute = zip(*self.stretches, strict=True)
        lowest, highest = min(lows), max(highs)
        quantiles = {str(share): min(max(self.sketch.quantile(share), lowest), highest) for share in SHARES}
        mean, mean_absolute = (math.fsum(each) / self.changed for each in (sums, absolute))
        return _Changes(lowest, highest, mean, mean_absolute, quantiles)


def _compare_settings(old: Manifest, new: Manifest) -> dict[str, tuple[Any, Any]]:
    names = ("k", "alpha", "grid", "bank_digest", "exclude_own_pairs")
    pairs = {name: (getattr(old.settings, name), getattr(new.settings, name)) for name in names}
    pairs["encoder"] = _compare_encoders(old.settings.encoder, new.settings.encoder)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _compare_encoders(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The parts that differ; probes within their tolerance, and those of one version alone, do not."""
    parts = differing(old, new)
    one, other = ({name: value for name, value in shown_parts(each).items() if name in parts} for each in (old, new))
    return one, other


def _write_delta(output: str, steps: Iterable[pa.Table], versions: dict[str, Any]) -> None:
    schema = _SCHEMA.with_metadata({b"nnn_bias_delta": to_json({"format": "nnn-bias-delta/1", **versions})})
    pieces = (step.replace_schema_metadata(schema.metadata) for step in steps)
    storage.create_output(output, to_parquet_in_pieces(schema, pieces), "--output")


def _rows(uri: str, parts: Iterable[TablePart]) -> Iterator[pa.Table]:
    for part in parts:
        yield part.read(uri, ["id", "bias"]).replace_schema_metadata(None).combine_chunks()


def _aligned(old: Iterator[pa.Table], new: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Stretches of rows of both sides that span the same ids."""
    one, other = next(old, None), next(new, None)
    while one is not None or other is not None:
        bound = min(side.column("id")[-1].as_py() for side in (one, other) if side is not None)
        (first, one), (second, other) = _split(one, bound), _split(other, bound)
        yield first, second
        one = next(old, None) if one is None else one
        other = next(new, None) if other is None else other


def _split(rows: pa.Table | None, bound: str) -> tuple[pa.Table, pa.Table | None]:
    """Rows up to the id ``bound``, and the others if there are any; of a side at its end no rows and no others."""
    if rows is None:
        return _ROWS.empty_table(), None
    count = pc.sum(pc.less_equal(rows.column("id"), bound)).as_py()
    return rows.slice(0, count), rows.slice(count) if count < rows.num_rows else None


def _compare_rows(old: pa.Table, new: pa.Table, tally: _Tally, min_change: float) -> pa.Table:
    """What to do about one stretch of ids, in their order; ``tally`` counts it."""
    rows = old.join(new, "id", join_type="full outer", right_suffix=" now", use_threads=False)
    rows = rows.take(pc.sort_indices(rows.column("id")))
    before, after = (rows.column(name).combine_chunks() for name in ("bias", "bias now"))
    fresh, gone = (side.is_null().to_numpy(zero_copy_only=False) for side in (before, after))
    was, now = (side.to_numpy(zero_copy_only=False) for side in (before, after))
    differs = ~fresh & ~gone & (was.view(np.uint32) != now.view(np.uint32))
    tally.added += int(fresh.sum())
    tally.removed += int(gone.sum())
    tally.unchanged += int((~(fresh | gone | differs)).sum())
    tally.add(was[differs], now[differs])
    small = differs & (np.abs(now.astype(np.float64) - was.astype(np.float64)) < min_change)
    tally.small += int(small.sum())
    steps = pa.array(np.select([fresh, gone, differs & ~small], [ADD, REMOVE, CHANGE], ""), pa.string())
    return pa.Table.from_arrays([rows.column("id"), after, steps], schema=_SCHEMA).filter(pc.not_equal(steps, ""))
