"""COCO captions and Karpathy's splits: read element by element, however large the file is."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from fakes import Everything, packed, read_all
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import InputError
from nnn_core.inputs.readers import _json_stream as json_stream
from nnn_core.inputs.readers import format_of
from nnn_core.inputs.rejects import Reject

IMAGES = [
    {"id": 57, "file_name": "000057.jpg", "coco_url": "http://x/57", "license": 3},
    {"id": 9, "file_name": "000009.jpg", "coco_url": "http://x/9"},
]
ANNOTATIONS = [
    {"id": 100, "image_id": 9, "caption": "a cat"},
    {"id": 101, "image_id": 57, "caption": "zwei Hüte"},
    {"id": 102, "image_id": 9, "caption": "a cat again"},
]
COCO = {"info": {"images": [1]}, "images": IMAGES, "licenses": [], "annotations": ANNOTATIONS}
KARPATHY = {
    "images": [
        {
            "filename": "9.jpg",
            "imgid": 0,
            "cocoid": 391895,
            "sentids": [770, 771],
            "split": "test",
            "sentences": [
                {"tokens": ["a", "cat"], "raw": "A cat.", "imgid": 0, "sentid": 770},
                {"tokens": ["two"], "raw": "Zwei Hüte.", "imgid": 0, "sentid": 771},
            ],
        },
        {"filename": "7.jpg", "imgid": 1, "sentences": [{"raw": "A dog.", "imgid": 1, "sentid": 772}]},
    ],
    "dataset": "coco",
}


def read_json(tmp_path: Path, content: object, name: str = "a.json", **columns: object) -> Everything:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (tmp_path / name).write_bytes(packed(name, data))
    return read_all(tmp_path / name, **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [list(COCO), list(COCO)[::-1]])
@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.json.zst"])
def test_coco(tmp_path: Path, order: list[str], name: str) -> None:
    found = read_json(tmp_path, {key: COCO[key] for key in order}, name)
    assert found.ids == ["100", "101", "102"]
    assert found.pair_ids == ["000009.jpg", "000057.jpg", "000009.jpg"]
    assert found.items == ["a cat", "zwei Hüte", "a cat again"]
    assert found.rejects == []


@pytest.mark.parametrize(
    ("columns", "ids", "pair_ids"),
    [
        ({"pair_id": "image_id"}, ["100", "101", "102"], ["9", "57", "9"]),
        ({"pair_id": "coco_url"}, ["100", "101", "102"], ["http://x/9", "http://x/57", "http://x/9"]),
        ({"id": "image_id"}, ["9", "57", "9"], ["000009.jpg", "000057.jpg", "000009.jpg"]),
        ({"id": "coco_url", "pair_id": "id"}, ["http://x/9", "http://x/57", "http://x/9"], ["100", "101", "102"]),
    ],
)
def test_fields_of_coco(tmp_path: Path, columns: dict[str, str], ids: list[str], pair_ids: list[str]) -> None:
    found = read_json(tmp_path, COCO, **columns)
    assert (found.ids, found.pair_ids) == (ids, pair_ids)


def test_a_field_of_the_annotation_comes_before_that_of_its_image(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "x", "source": "image", "origin": "image"}]
    annotations = [{"id": 1, "image_id": 1, "source": "annotation", "caption": "y"}]
    content = {"images": images, "annotations": annotations}
    found = read_json(tmp_path, content, id="source", pair_id="origin")
    assert (found.ids, found.pair_ids) == (["annotation"], ["image"])


def test_rejects_of_coco(tmp_path: Path) -> None:
    odd = [{"image_id": 9, "caption": "x"}, {"id": 1, "image_id": 9}, {"id": 2, "image_id": 8, "caption": "x"}, 7]
    odd += [{"id": 3, "image_id": 9, "caption": " "}, {"id": 4, "caption": "x"}]
    found = read_json(tmp_path, {"images": [*IMAGES, 5, {"id": None}], "annotations": [*ANNOTATIONS, *odd]})
    assert found.ids == ["100", "101", "102"]
    assert found.reasons == [
        ("row 3", "no id"),
        ("1", "no caption"),
        ("2", "its image is not listed"),
        ("row 6", "malformed row"),
        ("3", "empty caption"),
        ("4", "its image is not listed"),
    ]
    assert found.rejects[2].detail == "there is no image with id 8 and a 'file_name'"


def test_coco_without_its_images_needs_another_pair(tmp_path: Path) -> None:
    content = {"annotations": ANNOTATIONS}
    assert read_json(tmp_path, content).reasons[0] == ("100", "its image is not listed")
    assert read_json(tmp_path, content, pair_id="image_id").pair_ids == ["9", "57", "9"]


def test_karpathy(tmp_path: Path) -> None:
    found = read_json(tmp_path, KARPATHY)
    assert (found.ids, found.items) == (["770", "771", "772"], ["A cat.", "Zwei Hüte.", "A dog."])
    assert found.pair_ids == ["9.jpg", "9.jpg", "7.jpg"]
    found = read_json(tmp_path, KARPATHY, pair_id="cocoid")
    assert found.pair_ids == ["391895", "391895", ""]
    assert read_json(tmp_path, KARPATHY, id="imgid").ids == ["0", "0", "1"]


def test_rejects_of_karpathy(tmp_path: Path) -> None:
    images = [*KARPATHY["images"], {"filename": "x"}, 7, {"filename": "y", "sentences": [3, {"sentid": 9}]}]  # type: ignore[misc]
    found = read_json(tmp_path, {"images": images})
    assert found.ids == ["770", "771", "772"]
    assert found.reasons == [
        ("image 2", "no caption"),
        ("image 3", "no caption"),
        ("image 4", "malformed row"),
        ("9", "no caption"),
    ]
    assert found.rejects[-1] == Reject(
        "9", "no caption", "there is no field 'raw' (--caption-column); it has: filename, sentid"
    )


@pytest.mark.parametrize("content", [COCO, KARPATHY])
def test_a_field_that_nothing_has_is_an_error(tmp_path: Path, content: object) -> None:
    with pytest.raises(InputError, match=r"a\.json': none of its 3 records has a field 'imgae'"):
        read_json(tmp_path, content, pair_id="imgae")


@pytest.mark.parametrize(
    "content",
    [[7], ["x"], {}, {"images": []}, {"annotations": 7}, {"data": COCO}, {"id": "x", "caption": "y"}, "x", 7, None],
)
def test_other_json_is_refused_with_what_was_expected(tmp_path: Path, content: object) -> None:
    with pytest.raises(InputError, match=r"a\.json' is JSON of an unknown layout.*COCO .* and Karpathy.*\.jsonl"):
        read_json(tmp_path, content)


@given(st.integers(0, len(json.dumps(COCO)) - 1))
def test_a_cut_is_always_an_error(tmp_path: Path, length: int) -> None:
    with pytest.raises(InputError, match=r"a\.json' is not readable JSON: .*Restore the file"):
        read_json(tmp_path, json.dumps(COCO).encode()[:length])


@pytest.mark.parametrize("data", [b'{"images": [{"id": \xff}]}', b'{"images": [{"id": "\xff"}]}', b"\xff\xfe{", b"}"])
def test_what_is_no_json_is_an_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.json' is not readable JSON"):
        read_json(tmp_path, data)


def test_deep_nesting_is_an_error(tmp_path: Path) -> None:
    for data in (b'{"images": ' + b"[" * 1_000_000, b'{"a":' * 100_000):
        with pytest.raises(InputError, match=r"a\.json' is nested more than 200 levels deep"):
            read_json(tmp_path, data)


@pytest.mark.parametrize("tail", [b'"' + b"x" * 5000, b'{"a": "' + b'x", "a": "' * 500, b"[" + b"1," * 2500])
def test_an_endless_element_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tail: bytes) -> None:
    monkeypatch.setattr(json_stream, "ELEMENT_BYTES", 1000)
    monkeypatch.setattr(json_stream, "_CHUNK_BYTES", 64)
    with pytest.raises(InputError, match=r"a\.json' has an element of more than 1,000 bytes"):
        read_json(tmp_path, b'{"annotations": [' + tail)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("w") as stream:
        stream.write('{"images": [{"id": 1, "file_name": "x"}], "annotations": [')
        stream.write(",".join(f'{{"id": {n}, "image_id": 1, "caption": "{"word " * 30}"}}' for n in range(60_000)))
        stream.write("]}")
    tracemalloc.start()
    rows = sum(1 for _, element in json_stream.elements_of(str(path), "annotations") if element)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 60_000
    assert peak < 2 << 20 < path.stat().st_size


@pytest.mark.parametrize(("content", "column"), [(COCO, "file_name"), (KARPATHY, "sentences")])
def test_outline_names_the_fields_of_the_first_element(tmp_path: Path, content: object, column: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert column in format_of(str(path)).outline(str(path)).columns


@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_what_python_writes_but_json_lacks_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK_BYTES", chunk)
    said = 'NaN: "quoted" \\ , NaN, -Infinity'
    annotations = [
        {"id": n, "image_id": 1, "caption": said, "score": float(v)} for n, v in enumerate(("nan", "-inf", "1"))
    ]
    record = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": annotations, "x": float("inf")}
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(record))
    found = read_all(tmp_path / "a.json")
    assert (found.ids, found.items, found.pair_ids) == (["0", "1", "2"], [said] * 3, ["a.jpg"] * 3)
