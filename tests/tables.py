"""Small tables and manifests that several test modules publish."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nnn_core.digests import set_digest
from nnn_core.embedded.corpus import Corpus, _part_boundaries
from nnn_core.embedded.side import Side
from nnn_core.scoring.bank import Bank
from nnn_core.scoring.topk import BiasError
from nnn_core.table.gate import Gate
from nnn_core.table.hubs import HubList, Means, describe_hubs
from nnn_core.table.manifest import Manifest, SearchReport, commit_version, current_manifest
from nnn_core.table.parts import BiasSettings, RowSlice, TablePart, collect_rows

GRID = (1, 2, 4)
IDS = sorted(f"id-{number * 7919 % 100:02d}" for number in range(40))
MEANS = np.random.default_rng(0).random((40, 3)).astype(np.float32)
SIDE = Side(40, 0, "c" * 64, ("sha256:1",))


def publish(
    table: str, version: int = 1, k: int = 4, alpha: float = 0.75, files: int = 3, with_hubs: bool = False
) -> Manifest:
    settings = BiasSettings(k, alpha, GRID, "image", "text", False, {"kind": "precomputed"}, "b" * 64)
    pieces = RowSlice.cut(pa.array(IDS), MEANS, "x", _part_boundaries([IDS], 40, -(-40 // files)))
    parts = [TablePart.write(table, version, n, collect_rows([piece]), settings, {}) for n, piece in pieces]
    manifest = Manifest(version, settings, 8, SIDE, SIDE, SearchReport(("exact",)), tuple(parts))
    if with_hubs:
        found = Means.of(pa.array(IDS), MEANS[:, GRID.index(k)])
        rows = describe_hubs(found.hubs(), {IDS[0]: 3}, {IDS[0]: [(0.5, "q")]})
        manifest = dataclasses.replace(manifest, hubs=HubList.write(table, version, k, rows, None))
    return commit_version(table, manifest)


def publish_vectors(
    table: str, corpus: Corpus, bank: Bank, means: dict[str, list[float]], k: int, alpha: float
) -> None:
    """The first version for these sides, with the ``means`` at k, by the candidates' ids."""
    ids = sorted(means)
    settings = BiasSettings(k, alpha, (k,), "image", "text", False, {"kind": "precomputed"}, bank.digest)
    rows = RowSlice.cut(pa.array(ids), np.array([means[name] for name in ids], np.float32), "x", ())
    parts = tuple(TablePart.write(table, 1, number, collect_rows([piece]), settings, {}) for number, piece in rows)
    commit_version(table, Manifest(1, settings, corpus.dim, corpus.side, bank.side, SearchReport(("exact",)), parts))


def publish_two_for_iceberg(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A table of two versions below the folder, beside a catalog ``test``, which is a database in SQLite."""
    catalogs = pytest.importorskip("pyiceberg.catalog")
    monkeypatch.setenv("PYICEBERG_CATALOG__TEST__URI", f"sqlite:///{folder}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__TEST__TYPE", "sql")
    # pyiceberg reads the environment once, when it is imported.
    monkeypatch.setattr(catalogs, "_ENV_CONFIG", catalogs.Config())
    table = str(folder / "table")
    publish(table)
    publish(table, 2, k=1)
    return table


def rows_of(k: int) -> list[dict[str, object]]:
    """What readers are to find in a version of ``publish``."""
    bias = (0.75 * MEANS[:, GRID.index(k)].astype("f8")).astype("f4").tolist()
    return [{"id": i, "bias": b, "mean_k": m} for i, b, m in zip(IDS, bias, MEANS.tolist(), strict=True)]


def data_files(table: str) -> set[str]:
    return {str(path.relative_to(table)) for path in Path(table).rglob("*.parquet")}


BIASES_SETTINGS = BiasSettings(2, 1.0, (1, 2), "image", "text", False, {"kind": "precomputed"}, "b" * 64)


def publish_biases(
    uri: str, version: int, biases: dict[str, float], cuts: tuple[str, ...] = (), bank: str = "b"
) -> Manifest:
    """A version with these biases; whatever is named again is not copied."""
    current = current_manifest(uri)
    existing = {part.sha256: part.path for part in current.files} if current else {}
    ids = sorted(biases)
    means = np.array([[0.5, biases[row_id]] for row_id in ids], np.float32)
    pieces = RowSlice.cut(pa.array(ids), means, "x", cuts)
    parts = [TablePart.write(uri, version, n, collect_rows([piece]), BIASES_SETTINGS, existing) for n, piece in pieces]
    side = Side(len(ids), 0, bank * 64, ())
    return commit_version(
        uri, Manifest(version, BIASES_SETTINGS, 8, side, side, SearchReport(("exact",)), tuple(parts))
    )


MANIFEST_SETTINGS = BiasSettings(2, 0.1, (1, 2), "image", "text", True, {"weights": "w", "tokenizer": "t"}, "b" * 64)

EXACT = SearchReport(("exact",))


def make_part(number: int, rows: int = 3) -> TablePart:
    digest = set_digest([str(number).encode()])
    return TablePart(
        f"versions/000001/part-{number:05d}.parquet", rows, f"é{number}", f"z{number}", digest, 100, digest,
        -0.1 * number, 0.3 + number, 1 / 3,
    )  # fmt: skip


GATES = (
    Gate("alpha", 3.0, 2.0, "fail", "alpha 3 differs from the previous one by a factor of 3 (limit: at most 2)", True),
    Gate("gain", None, 0.0, "skipped", "no validation queries were given"),
)


def make_manifest(version: int = 1, parts: int = 2, alpha: float = 0.1) -> Manifest:
    return Manifest(
        version,
        dataclasses.replace(MANIFEST_SETTINGS, alpha=alpha),
        64,
        Side(6, 1, "c" * 64, ("sha256:1", "sha256:2")),
        Side(9, 0, "d" * 64, ("etag:x",)),
        SearchReport(("approximate", "exact"), 1e-3, BiasError(100, 1e-4, 2e-4, 3e-4, 0.5)) if parts > 1 else EXACT,
        tuple(make_part(number) for number in range(parts)),
    )
