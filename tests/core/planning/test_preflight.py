"""The look ahead: what must fail is said from the first rows of each side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import make_tar

from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.errors import InputError, RejectedRowsError
from nnn_core.inputs.readers import Columns
from nnn_core.planning.preflight import Head


def look(pattern: object, side: str = "candidates", rate: float = 0.0, modality: Any = "text", **how: Any) -> Head:
    columns = Columns(require_id=side != "references", side="" if side == "candidates" else f"{side[:-1]}-", **how)
    return Head.read(side, str(pattern), EmbeddingRequest(modality, columns, "e", "work"), rate, decode=True)


def captions(path: Path, records: Sequence[tuple[str, str]], **fields: object) -> Path:
    lines = (json.dumps({"id": row_id, "caption": caption, **fields}) + "\n" for row_id, caption in records)
    path.write_text("".join(lines))
    return path


def vectors(path: Path, dim: int, name: str = "vector", rows: int = 3) -> Path:
    ids = [f"{path.stem}-{row}" for row in range(rows)]
    values = np.random.default_rng(1).standard_normal((rows, dim))
    pq.write_table(pa.table({"id": ids, name: pa.array(values.tolist(), pa.list_(pa.float32()))}), path)
    return path


def test_what_is_seen(tmp_path: Path) -> None:
    for number in range(5):
        captions(tmp_path / f"{number}.jsonl", [(f"{number}-{row}", "a") for row in range(200)])
    (tmp_path / "_x.jsonl").write_text("")
    head = look(f"{tmp_path}/*.jsonl")
    assert (head.files, head.holds, head.left_out) == (5, "captions", {"hidden": 1})
    assert [Path(uri).stem for uri in head.uris] == ["0", "2", "4"]
    assert [len(rows.ids) for rows in head.rows] == [100] * 3


def test_a_column_that_is_missing_in_a_later_file(tmp_path: Path) -> None:
    vectors(tmp_path / "a.parquet", 4)
    vectors(tmp_path / "b.parquet", 4, "emb")
    with pytest.raises(InputError, match=r"b\.parquet' has no column 'vector' \(--vector-column\)"):
        look(f"{tmp_path}/*.parquet", vector="vector")


def test_a_reject_is_named_with_its_own_file(tmp_path: Path) -> None:
    captions(tmp_path / "a.jsonl", [("a", "x")])
    captions(tmp_path / "b.jsonl", [("b", "")])
    with pytest.raises(RejectedRowsError, match=rf"1 of the first 2 rows(.|\n)*'b' in {tmp_path}/b\.jsonl"):
        look(f"{tmp_path}/*.jsonl")


def test_rejects_where_none_are_allowed(tmp_path: Path) -> None:
    path = captions(tmp_path / "a.jsonl", [("a", "x"), ("b", "")])
    with pytest.raises(RejectedRowsError, match=r"1 of the first 2 rows of --candidates (?s:.)*allow some with --max"):
        look(path)
    assert look(path, rate=0.01).ids == ["a"]


def test_rows_that_all_fail_for_one_reason_are_not_to_be_allowed(tmp_path: Path) -> None:
    path = captions(tmp_path / "a.jsonl", [("a", ""), ("b", " ")])
    with pytest.raises(RejectedRowsError, match=r"All rows fail for one reason. Repair the input") as caught:
        look(path, "references", 0.5)
    assert "allow" not in str(caught.value).partition("All rows")[2]


@pytest.mark.parametrize("number", [0.0, float("nan")])
def test_vectors_that_cannot_be_normalised(tmp_path: Path, number: float) -> None:
    values = pa.array([[number] * 4] * 3, pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ["a", "b", "c"], "vector": values}), tmp_path / "a.parquet")
    with pytest.raises(RejectedRowsError, match=r"3 x vector (?s:.)*All rows fail for one reason. Repair the input"):
        look(tmp_path / "a.parquet", "references", 0.01)


def test_an_image_that_cannot_be_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(make_tar([("a.jpg", b"no image"), ("b.jpg", hostile.good_images()["rgb.jpg"])]))
    with pytest.raises(RejectedRowsError, match=r"image cannot be decoded .*not one of JPEG, PNG, WEBP"):
        look(path, modality="image")
    assert look(path, rate=0.1, modality="image").ids == ["b"]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.json"])
def test_vectors_under_another_name_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".parquet":
        vectors(path, 4, "values")
    else:
        line = json.dumps({"id": "a", "sizes": [], "values": [0.5, 1, -2.0]})
        path.write_text(f"{line}\n" if path.suffix == ".jsonl" else f"[{line}]")
    request = EmbeddingRequest("text", Columns(require_id=False, side="reference-"), None, "work")
    with pytest.raises(InputError, match="If 'values' holds vectors, name it with --reference-vector-column"):
        Head.read("references", str(path), request, 0.0, decode=True)


def test_dimensions_of_both_sides(tmp_path: Path) -> None:
    one, other = (look(vectors(tmp_path / f"{dim}.parquet", dim), vector="vector") for dim in (4, 5))
    with pytest.raises(InputError, match=r"vectors differ in dimension: 4 in .*4\.parquet', 5 in .*5\.parquet'"):
        one.check_against(other, False)
    one.check_against(one, False)


def test_an_id_that_two_candidates_have(tmp_path: Path) -> None:
    head = look(captions(tmp_path / "a.jsonl", [("a", "x"), ("b", "y"), ("a", "z")]))
    with pytest.raises(InputError, match=r"candidate id 'a' occurs 2 times in the first rows of .*a\.jsonl"):
        head.check_against(head, False)


def test_pair_ids_of_another_form(tmp_path: Path) -> None:
    held = look(captions(tmp_path / "a.jsonl", [("item-1", "x")]))
    asked = look(captions(tmp_path / "b.jsonl", [("q", "y")], image="item-1.jpg"), "references", pair_id="image")
    held.check_against(asked, False)
    with pytest.raises(InputError, match=r"They differ in the suffixes of the files: 'item-1\.jpg' and 'item-1'"):
        held.check_against(asked, True)
    far = look(captions(tmp_path / "c.jsonl", [("q", "y")], image="item-2.jpg"), "references", pair_id="image")
    held.check_against(far, True)  # another stretch of the corpus, perhaps


@pytest.mark.parametrize(("query", "found"), [(("q", "x"), False), (("a", "x"), True), (("q", "y"), True)])
def test_queries_that_are_in_the_bank(tmp_path: Path, query: tuple[str, str], found: bool) -> None:
    bank = look(captions(tmp_path / "a.jsonl", [("a", "y")]), "references")
    queries = look(captions(tmp_path / "q.jsonl", [query]), "validations")
    if not found:
        queries.check_held_out(bank)
        return
    with pytest.raises(InputError, match=r"are in the bank too.*--drop-overlap"):
        queries.check_held_out(bank)


def test_positions_are_no_ids_that_two_files_share(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"{name}\n")
    heads = [look(tmp_path / f"{name}.txt", "references") for name in "ab"]
    Head.check_held_out(*heads)
