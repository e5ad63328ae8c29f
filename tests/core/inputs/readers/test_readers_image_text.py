"""Images as text: base64 in columns, fields and data URLs."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path

import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import read_all

from nnn_core.errors import InputError

IMAGES = [bytes([255, 216, 255, 251, 239 + row]) * (5 + row) for row in range(3)]
IDS = ["a", "b", "c"]
FORMS = {
    "mail": lambda data: base64.b64encode(data).decode(),
    "urls": lambda data: base64.urlsafe_b64encode(data).decode(),
    "no padding": lambda data: base64.b64encode(data).decode().rstrip("="),
    "lines": lambda data: base64.encodebytes(data).decode(),
    "data URL": lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", ["parquet", "arrow", "jsonl", "json", "csv", "tsv"])
def test_base64(tmp_path: Path, form: str, suffix: str) -> None:
    path, texts = tmp_path / f"a.{suffix}", [FORMS[form](data) for data in IMAGES]
    records = [{"id": row, "picture": text} for row, text in zip(IDS, texts, strict=True)]
    if suffix == "parquet":
        pq.write_table(pa.table({"id": IDS, "picture": texts}), path)
    elif suffix == "arrow":
        polars.DataFrame(records).write_ipc(path)
    elif suffix == "jsonl":
        polars.DataFrame(records).write_ndjson(path)
    elif suffix == "json":
        path.write_text(json.dumps(records))
    else:
        with path.open("w", newline="") as stream:
            csv.writer(stream, "excel" if suffix == "csv" else "excel-tab").writerows(
                [["id", "picture"], *zip(IDS, texts, strict=True)]
            )
    found = read_all(path, "image", image="picture")
    assert (found.ids, found.items, found.rejects) == (IDS, IMAGES, [])


def test_the_layout_of_chinese_clip(tmp_path: Path) -> None:
    """Number and image, without a header."""
    lines = "".join(f"{row}\t{FORMS['urls'](data)}\n" for row, data in enumerate(IMAGES))
    (tmp_path / "train_imgs.tsv").write_text(lines)
    found = read_all(tmp_path / "train_imgs.tsv", "image", id="#1", image="#2")
    assert (found.ids, found.items) == (["0", "1", "2"], IMAGES)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_paths_and_nulls_are_rejects(tmp_path: Path, suffix: str) -> None:
    texts = ["https://x.y/a.jpg", None, "", FORMS["mail"](IMAGES[0])]
    if suffix == "parquet":
        pq.write_table(pa.table({"id": [*IDS, "d"], "image": texts}), tmp_path / "a.parquet")
    else:
        rows = zip([*IDS, "d"], texts, strict=True)
        (tmp_path / "a.jsonl").write_text("".join(json.dumps({"id": row, "image": text}) + "\n" for row, text in rows))
    found = read_all(tmp_path / f"a.{suffix}", "image", image="image")
    assert (found.ids, found.items) == (["d"], IMAGES[:1])
    assert [row for row, _ in found.reasons] == IDS
    assert found.rejects[0].reason == "it is not an image in base64"
    assert "'https://x.y/a.jpg'; paths and URLs are not followed" in found.rejects[0].detail


def test_text_is_taken_for_images_only_where_it_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": IDS, "image": ["x.jpg"] * 3}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"id": "a", "image": "x.jpg"}\n')
    for name in ("a.parquet", "a.jsonl"):
        with pytest.raises(InputError, match=r"images in base64, name their column with --image-column"):
            read_all(tmp_path / name, "image")
    pq.write_table(pa.table({"id": IDS, "n": [1, 2, 3]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="Images must be bytes, base64 text, or structs"):
        read_all(tmp_path / "b.parquet", "image", image="n")
