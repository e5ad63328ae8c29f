"""Names of columns that a format would not look at are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import read_all

from nnn_core.errors import InputError
from nnn_core.inputs.readers import Columns, format_of, holds_vectors
from nnn_core.inputs.readers._known import formats
from nnn_core.inputs.shards import InputShard


@pytest.mark.parametrize("suffix", [".tar", ".npy", ".tsv", ".txt", ".json", ".jpg"])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_name_that_means_nothing_is_refused_with_its_flag(suffix: str, modality: str) -> None:
    shard, names = InputShard(f"a{suffix}", "", 0), format_of(f"a{suffix}").names
    asked = {"id", "pair_id", "vector", "image" if modality == "image" else "caption"}
    for what in asked - names:
        columns = Columns(**{what: "x"}, side="reference-")  # type: ignore[arg-type]
        message = rf"a\{suffix}': --reference-{what.replace('_', '-')}-column x has no effect for the format"
        with pytest.raises(InputError, match=message):
            holds_vectors(shard, modality, columns)  # type: ignore[arg-type]


def test_the_image_column_says_nothing_of_captions(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "a", "caption": "x"}\n')
    assert read_all(tmp_path / "a.jsonl", "text", image="jpg").items == ["x"]


def test_every_format_knows_its_names() -> None:
    assert all(each.names <= format_of("a.parquet").names for each in formats().values())


def test_names_that_were_lent_are_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("id\tcaption\na\tx\n")
    assert read_all(tmp_path / "a.tsv", vector="emb", lent=(("vector", ""),)).items == ["x"]


def test_flags_are_no_part_of_what_is_read() -> None:
    assert Columns(side="reference-", lent=(("id", ""),)).identity == Columns().identity


def test_images_under_another_name_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "content": [b"image"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="If 'content' holds them, name it with --reference-image-column"):
        read_all(tmp_path / "a.parquet", "image", side="reference-")
    assert read_all(tmp_path / "a.parquet", "image", image="content").items == [b"image"]


@pytest.mark.parametrize("what", ["id", "pair_id", "caption", "vector"])
def test_a_column_that_is_missing_names_the_flag_of_its_side(tmp_path: Path, what: str) -> None:
    pq.write_table(pa.table({"id": ["a"], "caption": ["x"]}), tmp_path / "a.parquet")
    flag = f"--validation-{what.replace('_', '-')}-column"
    with pytest.raises(InputError, match=rf"has no column 'no' \({flag}\)"):
        read_all(tmp_path / "a.parquet", side="validation-", **{what: "no"})


def test_rows_without_ids_name_the_flag_of_their_side(tmp_path: Path) -> None:
    pq.write_table(pa.table({"caption": ["x"]}), tmp_path / "a.parquet")
    (tmp_path / "a.json").write_text('[{"caption": "x", "n": 1}]')
    for side, who in (("", "Candidates"), ("validation-", "Held-out queries")):
        said = f"{who} need ids. Name their column with --{side}id-column, or make them with --{side}id-column @sha256"
        with pytest.raises(InputError, match=re.escape(said)):
            read_all(tmp_path / "a.parquet", side=side)
        (reject,) = read_all(tmp_path / "a.json", side=side).rejects
        flag = f"--{side}id-column"
        missing = f"there is no field 'id' or 'key' or 'image_path' ({flag}; @row numbers rows)"
        assert reject.detail == f"{missing}; it has: caption, n"
