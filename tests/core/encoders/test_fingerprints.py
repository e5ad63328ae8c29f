"""A table is for the vectors of one encoder; others are refused, and the part that differs is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nnn_core import load_bias_table
from nnn_core.consumers.engines._layouts import Rows, write_rows
from nnn_core.consumers.engines.registry import find_engine
from nnn_core.embedded.side import Side
from nnn_core.encoders.fingerprints import check_encoder, embeddings_encoder
from nnn_core.errors import InputError
from nnn_core.table.manifest import Manifest, SearchReport, commit_version
from nnn_core.table.parts import BiasSettings, TablePart

ENCODER = {"weights": "a" * 64, "architecture": "b" * 64, "preprocessing": "c" * 64, "tokenizer": "d" * 64}
OTHER = {**ENCODER, "weights": "e" * 64, "tokenizer": "f" * 64}
READY_MADE = {"kind": "precomputed"}


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A table of two candidates, valid for ``ENCODER``."""
    uri = str(tmp_path / "table")
    settings = BiasSettings(1, 1.0, (1,), "image", "text", False, ENCODER, "bank")
    means = pa.FixedSizeListArray.from_arrays(pa.array([0.5, 0.25], pa.float32()), 1)
    part = TablePart.write(uri, 1, 0, pa.table({"id": ["a", "b"], "mean_k": means}), settings, {})
    side = Side(2, 0, "0", ("x",))
    commit_version(uri, Manifest(1, settings, 4, side, side, SearchReport(("exact",)), (part,)))
    return uri


def exported(path: Path, encoder: dict[str, str]) -> str:
    rows = Rows(["a"], np.ones((1, 5), np.float32), np.zeros(1, np.float32))
    path.write_bytes(write_rows(find_engine("lancedb"), rows, {"encoder": encoder}))
    return str(path)


def test_the_table_alone_suffices(table: str, tmp_path: Path) -> None:
    assert load_bias_table(table).bias_of(["b", "a"]).tolist() == [0.25, 0.5]
    file = exported(tmp_path / "f.parquet", ENCODER)
    assert load_bias_table(table, encoder=ENCODER, embeddings=file, dim=4).bias.tolist() == [0.5, 0.25]


def test_another_encoder_is_refused(table: str, tmp_path: Path) -> None:
    file = exported(tmp_path / "f.parquet", OTHER)
    for keywords in ({"encoder": OTHER}, {"embeddings": file}):
        with pytest.raises(
            InputError, match=r"differ in tokenizer \(d+ there, f+ here\), weights \(a+ there, e+ here\)"
        ):
            load_bias_table(table, **keywords)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"dimension 5.*of dimension 4"):
        load_bias_table(table, dim=5)


def test_the_manifest_of_an_export_says_it_too(tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_text(json.dumps({"encoder": ENCODER}))
    assert embeddings_encoder(str(file)) == ENCODER == embeddings_encoder(exported(tmp_path / "f.parquet", ENCODER))


def test_ready_made_vectors_cannot_be_told_apart() -> None:
    check_encoder(READY_MADE, READY_MADE, "table", "these")
    for pair in ((READY_MADE, ENCODER), (ENCODER, READY_MADE)):
        with pytest.raises(InputError, match="it is unknown whether"):
            check_encoder(*pair, "table", "these")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"encoder": 3}'])
def test_files_that_say_nothing(tmp_path: Path, content: bytes) -> None:
    for name in ("f.json", "f.parquet"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"does not say which encoder|not a Parquet file"):
            embeddings_encoder(str(tmp_path / name))
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "plain.parquet")
    with pytest.raises(InputError, match="does not say which encoder"):
        embeddings_encoder(str(tmp_path / "plain.parquet"))
