"""Looking at input: what is shown, from few bytes."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import gaussian, write_jsonl, write_tar, write_vectors
from PIL import Image

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.inputs.inspection import Inspection
from nnn_core.inputs.readers import Columns


def look(pattern: object, modality: Any = None, **columns: str) -> Inspection:
    return Inspection.of(str(pattern), modality, Columns(**columns))  # type: ignore[arg-type]


def image(width: int, height: int, kind: str = "JPEG") -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (width, height)).save(sink, kind)
    return sink.getvalue()


def test_vectors_of_parquet(tmp_path: Path) -> None:
    vectors = gaussian(40, 8, 1)
    found = look(write_vectors(tmp_path, [f"c{n}" for n in range(40)], vectors, 4))
    assert (found.files, found.rows, found.formats) == (4, 40, {"parquet": 4})
    assert found.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert [Path(report.uri).name for report in found.shards] == ["part-0.parquet", "part-2.parquet", "part-3.parquet"]
    first = found.shards[0]
    assert (first.holds, first.rows, first.dimension, first.ids) == ("vectors", 10, 8, ("c0", "c1", "c2"))
    assert first.columns == ("id: string", "vector: fixed_size_list<element: float>[8]")
    norms = np.linalg.norm(vectors[:10].astype(np.float64), axis=1)
    np.testing.assert_allclose(first.norms, (norms.min(), np.median(norms), norms.max()))  # type: ignore[arg-type]
    assert (first.missing, first.rejects, first.examples) == ((), {}, ())
    assert found.as_candidates == f"--candidates '{tmp_path}/part-*.parquet'"


def test_columns_of_other_names_are_guessed(tmp_path: Path) -> None:
    path = tmp_path / "laion.parquet"
    pq.write_table(pa.table({"url": ["u", "v", None], "TEXT": ["a cat", None, "x"]}), path)
    found = look(path)
    (report,) = found.shards
    assert (report.ids, report.examples, report.rejects) == (("u", "row 2"), ("a cat", "x"), {"no caption": 1})
    assert report.columns == ("url: string, 1 of them NULL", "TEXT: string, 1 of them NULL")
    flags = "--candidate-modality text --id-column url --caption-column TEXT"
    assert found.as_candidates == f"--candidates {path} {flags}"
    assert found.as_references == f"--references {path} --reference-id-column url --reference-caption-column TEXT"


@pytest.mark.parametrize(
    ("name", "value", "flag", "holds"),
    [
        ("content", image(4, 4), "--image-column content", "images"),
        ("values", [1.0, 2.0], "--vector-column values", "vectors"),
    ],
)
def test_columns_of_any_name_are_guessed_by_their_type(
    tmp_path: Path, name: str, value: object, flag: str, holds: str
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["u"], name: [value]}), path)
    found = look(path)
    assert (found.shards[0].holds, found.shards[0].ids) == (holds, ("u",))
    assert found.as_candidates == f"--candidates {path} {flag}"


@pytest.mark.parametrize("order", [("text", "title"), ("title", "text")])
def test_the_likelier_guess_comes_first(tmp_path: Path, order: tuple[str, str]) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["u"], **{name: [name] for name in order}}), path)
    assert look(path).shards[0].examples == ("text",)


def test_columns_that_were_named_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["u"], "TEXT": ["big"], "small": ["small"]}), path)
    assert look(path, caption="small").shards[0].examples == ("small",)
    with pytest.raises(InputError, match="no column 'smaller'"):
        look(path, caption="smaller")


def test_records_of_unknown_fields_say_which_they_have(tmp_path: Path) -> None:
    record = {"name": "Sit-Up", **{f"field{number:02}": number for number in range(20)}, "x" * 99: 1}
    (tmp_path / "exercises.json").write_text(json.dumps([record] * 3))
    (missing,) = look(tmp_path / "exercises.json").shards[0].missing
    assert missing == (
        "no row can be used; reason of the first: there is no field 'caption' (--caption-column); it has: "
        "name, " + ", ".join(f"field{number:02}" for number in range(11)) + ", ..."
    )


def test_a_file_of_unknown_columns_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["u"], "x": [1]}), path)
    found = look(path)
    assert found.shards[0].holds == "nothing readable"
    assert "has no column for the caption; it has: id, x" in found.shards[0].missing[0]
    assert (found.rows, found.as_candidates) == (1, "")


def test_text_without_header(tmp_path: Path) -> None:
    path = tmp_path / "cc3m.tsv"
    path.write_text("a cat\thttp://x/1.jpg\na dog\thttp://x/2.jpg\n")
    found = look(path)
    assert (found.rows, found.shards[0].examples) == (None, ("a cat", "a dog"))
    assert found.as_candidates.endswith("--candidate-modality text --id-column '#2' --caption-column '#1'")


def test_json_lines_and_plain_text(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"url": "u", "text": "a  cat\n" + "x" * 200}])
    report = look(tmp_path / "a.jsonl").shards[0]
    assert (report.columns, report.ids, report.examples) == (("url", "text"), ("u",), ("a cat " + "x" * 94,))
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    found = look(tmp_path / "a.txt")
    assert found.shards[0].missing[0].startswith("for candidates, not for a bank: ids. --id-column @sha256 or")
    assert found.as_candidates.endswith("--candidate-modality text --id-column @row")
    assert found.as_references == f"--references {tmp_path}/a.txt"
    assert look(tmp_path / "a.txt", id="@row").shards[0].ids == ("a.txt#1", "a.txt#3")


def test_a_tar(tmp_path: Path) -> None:
    members = {"jpg": image(30, 20), "txt": b"a cat"}
    write_tar(tmp_path / "a.tar", {"k1": members, "k2": {"txt": b"x"}, "k3": {"png": b"no png"}})
    report = look(tmp_path / "a.tar").shards[0]
    assert (report.holds, report.rows, report.ids) == ("images", None, ("k1", "k3"))
    assert report.examples == (f"30 x 20 RGB JPEG, {len(members['jpg'])} bytes", "no readable image, 6 bytes")
    assert report.rejects == {"no image": 1}
    report = look(tmp_path / "a.tar", "text").shards[0]
    assert (report.holds, report.examples) == ("captions", ("a cat", "x"))


def test_a_tar_of_captions_only(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"k1": {"txt": b"a cat"}})
    assert look(tmp_path / "a.tar").shards[0].holds == "captions"


def test_numbers_of_img2dataset_are_pointed_out(tmp_path: Path) -> None:
    write_tar(tmp_path / "00012.tar", {f"00012000{n}": {"jpg": image(8, 8)} for n in range(3)})
    (missing,) = look(tmp_path / "00012.tar").shards[0].missing
    assert "change with every download" in missing


def test_arrays_with_and_without_metadata(tmp_path: Path) -> None:
    for number in (0, 2, 10):
        np.save(tmp_path / f"img_emb_{number}.npy", gaussian(20, 4, number))
    found = look(tmp_path / "*.npy")
    assert [Path(report.uri).stem for report in found.shards] == ["img_emb_0", "img_emb_2", "img_emb_10"]
    assert (found.rows, found.shards[0].dimension, found.shards[0].columns) == (60, 4, ("float32[4]",))
    for number in (0, 2, 10):
        pq.write_table(pa.table({"url": [f"u{n}" for n in range(20)]}), tmp_path / f"metadata_{number}.parquet")
    found = look(tmp_path / "*.npy")
    assert found.shards[0].companion == str(tmp_path / "metadata_0.parquet")
    assert found.shards[0].ids == ("u0", "u1", "u2")
    assert found.as_candidates.endswith("--id-column url")


@pytest.mark.parametrize("name", ["a.tar", "a.parquet", "a.npy", "a.json"])
def test_a_broken_file_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"broken" * 1000)
    with pytest.raises(InputError, match=name):
        look(tmp_path / name)


def test_other_stores_than_a_disk(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    files.pipe_file("/looked/a.txt", b"one\ntwo\n")
    try:
        found = look("memory://looked/*.txt")
        assert (found.bytes, found.shards[0].examples) == (8, ("one", "two"))
        assert found.as_references == "--references 'memory://looked/*.txt'"
    finally:
        files.rm("/looked", recursive=True)


@contextlib.contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The sizes of all reads from storage."""
    sizes: list[int] = []
    open_input = storage.open_input

    class Counting:
        def __init__(self, stream: IO[bytes]) -> None:
            self._stream = stream

        def read(self, size: int = -1) -> bytes:
            data = self._stream.read(size)
            sizes.append(len(data))
            return data

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

    @contextlib.contextmanager
    def counting(uri: str) -> Iterator[Any]:
        with open_input(uri) as stream:
            yield Counting(stream)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "open_input", counting)
        yield sizes


def big_tar(path: Path) -> None:
    write_tar(path, {f"k{n:05d}": {"jpg": image(8, 8) + bytes(50_000)} for n in range(1000)})


def big_lists(path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((100_000, 100)).astype(np.float32)
    lists = pa.ListArray.from_arrays(pa.array(np.arange(100_001) * 100, pa.int32()), pa.array(vectors.ravel()))
    table = pa.table({"id": [f"c{n}" for n in range(100_000)], "vector": lists})
    pq.write_table(table, path, row_group_size=100_000, use_dictionary=False)


def big_array(path: Path) -> None:
    np.save(path, np.ones((100_000, 100), np.float32))
    ids = pa.table({"id": [f"{n:0200d}" for n in range(100_000)]})
    pq.write_table(ids, path.with_name("metadata.parquet"), compression="none", use_dictionary=False)


def big_lines(path: Path) -> None:
    path.write_text((json.dumps({"id": "a", "caption": "x" * 1000}) + "\n") * 40_000)


@pytest.mark.parametrize(
    ("name", "make"),
    [("a.tar", big_tar), ("a.parquet", big_lists), ("a.npy", big_array), ("a.jsonl", big_lines)],
)
def test_little_of_a_big_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Any) -> None:
    make(tmp_path / name)
    with counted(monkeypatch) as sizes:
        found = look(tmp_path / name)
    assert found.shards[0].ids
    assert found.bytes > 35 << 20
    assert sum(sizes) < 8 << 20


def write_lines(path: Path, records: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_ids_that_repeat_are_pair_ids(tmp_path: Path) -> None:
    """Several captions of one image: its name is no id of theirs."""
    path = tmp_path / "captions.txt"
    path.write_text("image,caption\na.jpg,a cat\na.jpg,a pet\nb.jpg,a dog\n")
    found = look(path)
    (report,) = found.shards
    assert report.examples == ("a cat", "a pet", "a dog")
    assert "for candidates, not for a bank: unique ids. 'a.jpg' occurs 2 times" in report.missing
    assert found.as_candidates == ""
    assert found.as_references == f"--references {path} --reference-pair-id-column image"


def test_a_table_without_a_header_is_guessed_by_position(tmp_path: Path) -> None:
    path = tmp_path / "token.txt"
    path.write_text("a.jpg#0\ta cat\na.jpg#1\ta pet\n")
    found = look(path)
    flags = "--reference-id-column '#1' --reference-caption-column '#2'"
    assert found.as_references == f"--references {path} {flags}"
    assert found.shards[0].ids == ("a.jpg#0", "a.jpg#1")


def test_flags_that_would_not_work_are_not_shown(tmp_path: Path) -> None:
    """The last file lacks a column that the first has."""
    write_lines(tmp_path / "a.jsonl", [{"id": "a", "text": "x", "of": "i"}])
    pq.write_table(pa.table({"id": ["b"], "other": ["y"]}), tmp_path / "b.parquet")
    found = look(f"{tmp_path}/*")
    assert (found.as_candidates, found.as_references) == ("", "")


def test_files_are_counted_one_by_one_and_hidden_ones_too(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "._a.png", ".x/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(image(2, 2, "PNG"))
    found = look(f"{tmp_path}/**/*.png")
    assert (found.files, found.formats, found.left_out, found.rows) == (2, {"image": 2}, {"hidden": 2}, 2)
