"""Ids that are no column: the digest of the content, and the position in the file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import write_tar
from fakes import read_all

from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.keys import positional_keys
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns

CAPTIONS = ["a cat", "zwei Hüte"]
VECTORS = np.array([[1, 0, 0.5], [0, 2, 0]], np.float16)
COCO = {
    "images": [{"id": 9, "file_name": "nine.jpg"}],
    "annotations": [{"id": n, "image_id": 9, "caption": caption} for n, caption in enumerate(CAPTIONS)],
}
SENTENCES = [{"raw": caption, "sentid": n} for n, caption in enumerate(CAPTIONS)]

#: A file of every kind with the two captions, and the positions that its rows have.
TEXTS = {
    "a.tsv": ("caption\n" + "\n".join(CAPTIONS), ["2", "3"]),
    "a.csv": ("id,caption\n" + "\n".join(f"x,{caption}" for caption in CAPTIONS), ["2", "3"]),
    "a.jsonl": ("".join(json.dumps({"id": "same", "caption": caption}) + "\n" for caption in CAPTIONS), ["1", "2"]),
    "list.jsonl": (json.dumps({"caption": CAPTIONS}), ["1#0", "1#1"]),
    "a.txt": ("\n\n".join(CAPTIONS), ["1", "3"]),
    "coco.json": (json.dumps(COCO), ["0", "1"]),
    "karpathy.json": (json.dumps({"images": [{"filename": "f", "sentences": SENTENCES}]}), ["0", "1"]),
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", TEXTS)
def test_captions_by_content_and_by_position(tmp_path: Path, name: str) -> None:
    text, positions = TEXTS[name]
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_all(tmp_path / name, id="@sha256")
    assert (found.ids, found.items) == ([sha256(caption.encode()) for caption in CAPTIONS], CAPTIONS)
    assert read_all(tmp_path / name, id="@row").ids == [f"{name}#{position}" for position in positions]


def test_captions_and_vectors_of_parquet(tmp_path: Path) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.ravel()), 3)
    pq.write_table(pa.table({"id": ["x", "x"], "caption": CAPTIONS}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"vector": vectors}), tmp_path / "b.parquet")
    assert read_all(tmp_path / "a.parquet", id="@sha256").ids == [sha256(caption.encode()) for caption in CAPTIONS]
    assert read_all(tmp_path / "a.parquet", id="@row").ids == ["a.parquet#0", "a.parquet#1"]
    assert read_all(tmp_path / "b.parquet", id="@sha256").ids == [sha256(vector.tobytes()) for vector in VECTORS]
    assert read_all(tmp_path / "b.parquet", id="@row").ids == ["b.parquet#0", "b.parquet#1"]


def test_vectors_without_metadata(tmp_path: Path) -> None:
    np.save(tmp_path / "img_emb_3.npy", VECTORS)
    found = read_all(tmp_path / "img_emb_3.npy", "image", id="@row")
    assert (found.ids, found.pair_ids) == (["img_emb_3.npy#0", "img_emb_3.npy#1"], ["", ""])
    np.testing.assert_array_equal(np.array(found.items), VECTORS)
    assert read_all(tmp_path / "img_emb_3.npy", "image", id="@sha256").ids == [sha256(v.tobytes()) for v in VECTORS]
    found = read_all(tmp_path / "img_emb_3.npy", "image", require_id=False)
    assert (found.ids, found.pair_ids) == (["row 0", "row 1"], ["", ""])


def test_vectors_without_metadata_need_ids_as_candidates(tmp_path: Path) -> None:
    np.save(tmp_path / "img_emb_3.npy", VECTORS)
    with pytest.raises(InputError, match=r"metadata_3\.parquet.*--id-column @sha256 .*--id-column @row "):
        read_all(tmp_path / "img_emb_3.npy", "image")
    for columns in ({"id": "url"}, {"pair_id": "url"}, {"id": "url", "require_id": False}):
        with pytest.raises(InputError, match=r"metadata_3\.parquet'.*Restore it, or leave --id-column"):
            read_all(tmp_path / "img_emb_3.npy", "image", **columns)
    inherited = read_all(tmp_path / "img_emb_3.npy", "image", id="url", require_id=False, inherited=("id",))
    assert inherited.ids == ["row 0", "row 1"]


def test_images_of_a_tar(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"k1": {"jpg": b"one"}, "k2": {"jpg": b"two"}})
    found = read_all(tmp_path / "a.tar", "image", id="@sha256")
    assert (found.ids, found.pair_ids) == ([sha256(b"one"), sha256(b"two")], ["k1", "k2"])
    with pytest.raises(InputError, match=r"a\.tar' has keys, such as 'k1', so --id-column @row"):
        read_all(tmp_path / "a.tar", "image", id="@row")


@pytest.mark.parametrize("name", ["@row", "@sha256"])
def test_how_candidates_are_told_apart_says_nothing_of_the_bank(tmp_path: Path, name: str) -> None:
    write_tar(tmp_path / "a.tar", {"k1": {"txt": b"one"}})
    found = read_all(tmp_path / "a.tar", "text", id=name, inherited=("id",), require_id=False)
    assert (found.ids, found.pair_ids) == (["k1"], ["k1"])


def test_other_names_with_an_at_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"--id-column @md5 is not a column, nor one of @sha256, @row"):
        Columns(id="@md5")


@pytest.mark.parametrize(("column", "same"), [("@row", False), ("@sha256", True), (None, True)])
def test_a_result_by_position_belongs_to_the_name_of_the_file(tmp_path: Path, column: str, same: bool) -> None:
    """Equal bytes under another name have other ids, so an earlier result must not be found for them."""
    request = EmbeddingRequest("text", Columns(id=column), "encoder", "work")
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"caption": "x"}')
    one, other = (request.plan(describe_shard(str(tmp_path / name))).name for name in ("a.jsonl", "b.jsonl"))
    assert (one == other) == same


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["000120000", "000120007", "000129999"], True),
        (["000000000"], True),
        (["000120000#0", "000120000#1", "000120001#0"], True),
        (["000120000", "000130000"], False),
        (["000120000", "x"], False),
        (["123450000", "123450001"], False),
        (["00012000", "00012001"], False),
        (["000120000 "], False),
        (["0001200001"], False),
        (["٠٠٠١٢٠٠٠٠"], False),
        ([], False),
    ],
)
def test_positional_keys(ids: list[str], expected: bool) -> None:
    assert positional_keys(ids) is expected
