"""One input shard to embedded shards, with an encoder that is a formula."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import hostile
import numpy as np
import oracles
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import UNDECODABLE, FormulaEncoder, formula, make_tar
from oracles import on_grid

from nnn_core.digests import set_digest, sha256
from nnn_core.embedded import embedding
from nnn_core.embedded import shards as embedded
from nnn_core.embedded.embedding import (
    EmbeddingRequest,
    embed_shard,
)
from nnn_core.embedded.profile import VectorSum
from nnn_core.embedded.shards import EmbeddedInput, read_ids, read_shard
from nnn_core.errors import CorruptArtifactError, InputError, LostArtifactError
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.shards import Modality

CAPTIONS = [{"id": f"q{number}", "caption": "a cat"[: number % 6] + "z" * number} for number in range(10)]


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Ten lines, the first of which has an empty caption."""
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in CAPTIONS))
    return path


def request_for(tmp_path: Path, modality: Modality = "text", encoder: str | None = "e", **columns: str) -> object:
    return EmbeddingRequest(modality, Columns(**columns), encoder, str(tmp_path / "work"))  # type: ignore[arg-type]


def embed(
    path: Path, tmp_path: Path, modality: Modality = "text", encoder: FormulaEncoder | None = None, **columns: str
) -> EmbeddedInput:
    request = request_for(tmp_path, modality, "e" if encoder else None, **columns)
    planned = request.plan(describe_shard(str(path)))  # type: ignore[arg-type]
    assert planned.precomputed == (encoder is None)
    return embed_shard(planned, request, encoder)  # type: ignore[arg-type]


def check_vectors(result: EmbeddedInput, expected: dict[str, list[float]]) -> None:
    blocks = [read_shard(shard) for shard in result.shards]
    ids = [row_id for block in blocks for row_id in block.ids.to_pylist()]
    vectors = np.concatenate([block.vectors for block in blocks])
    assert ids == list(expected)
    np.testing.assert_allclose(vectors, oracles.unit(np.array(list(expected.values()))), rtol=0, atol=1e-7)
    assert on_grid(vectors)


def test_captions_become_vectors(captions: Path, tmp_path: Path) -> None:
    result = embed(captions, tmp_path, encoder=FormulaEncoder())
    check_vectors(result, {record["id"]: formula(record["caption"].encode()) for record in CAPTIONS[1:]})
    assert (result.rejects.rows, result.rejects.rejected) == (10, 1)
    assert result.rejects.reasons == (("empty caption", 1, "'q0' in captions.jsonl"),)
    assert result.digest == describe_shard(str(captions)).digest


def test_images_become_vectors(tmp_path: Path) -> None:
    images = {f"i{n}": (UNDECODABLE if n in (2, 7) else b"a" * n + b"image") for n in range(11)}
    path = tmp_path / "images.tar"
    path.write_bytes(make_tar([(f"{key}.jpg", data) for key, data in images.items()] + [("x.txt", b"caption")]))
    encoder = FormulaEncoder(batch_size=4)
    result = embed(path, tmp_path, "image", encoder)
    check_vectors(result, {key: formula(data) for key, data in images.items() if data != UNDECODABLE})
    (block,) = map(read_shard, result.shards)
    assert block.pair_ids.equals(block.ids)
    assert (result.rejects.rows, result.rejects.rejected) == (12, 3)
    assert [(reason, count) for reason, count, _ in result.rejects.reasons] == [
        ("image cannot be decoded", 2),
        ("no image", 1),
    ]
    assert "'i2' in images.tar: cannot decode 12 bytes" in str(result.rejects.reasons)
    assert encoder.batches == [4, 4, 1]


def write_vectors(path: Path, vectors: list[object]) -> Path:
    ids = [f"v{number}" for number in range(len(vectors))]
    pairs = [f"p{number // 2}" for number in range(len(vectors))]
    column = pa.array(vectors, pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ids, "pair": pairs, "vector": column}), path)
    return path


def test_stored_vectors_are_checked(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    rows = [[3.0, 4.0], [0.0, 0.0], [nan, 1.0], [inf, 1.0], None, [1.0], [1.0, None], [-1e-30, 0.0]]
    path = write_vectors(tmp_path / "v.parquet", rows)
    result = embed(path, tmp_path, pair_id="pair")
    check_vectors(result, {"v0": [3.0, 4.0], "v7": [-1.0, 0.0]})
    assert read_shard(result.shards[0]).pair_ids.to_pylist() == ["p0", "p3"]
    assert (result.rejects.rows, result.rejects.rejected) == (8, 6)
    assert [(reason, count) for reason, count, _ in result.rejects.reasons] == [
        ("vector has the wrong dimension", 1),
        ("vector has zero norm", 1),
        ("vector is not finite", 3),
        ("vector is null", 1),
    ]


def test_rejects_are_listed_in_a_file(tmp_path: Path) -> None:
    path = write_vectors(tmp_path / "v.parquet", [[3.0, 4.0], None, [0.0, 0.0]])
    result = embed(path, tmp_path)
    assert result.rejects.uri is not None
    assert Path(result.rejects.uri).parent == tmp_path / "work" / "rejects"
    lines = [json.loads(line) for line in Path(result.rejects.uri).read_text().splitlines()]
    assert [(line["id"], line["reason"]) for line in lines] == [
        ("v1", "vector is null"),
        ("v2", "vector has zero norm"),
    ]


def test_without_rejects_there_is_no_file(tmp_path: Path) -> None:
    result = embed(write_vectors(tmp_path / "v.parquet", [[3.0, 4.0]]), tmp_path)
    assert (result.rejects.uri, result.rejects.reasons) == (None, ())
    assert not (tmp_path / "work" / "rejects").exists()


def test_a_shard_of_rejects_alone(tmp_path: Path) -> None:
    result = embed(write_vectors(tmp_path / "v.parquet", [[0.0, 0.0], None]), tmp_path)
    assert result.shards == ()
    assert (result.rejects.rows, result.rejects.rejected) == (2, 2)


def test_the_sum_of_vectors_is_kept_with_them(tmp_path: Path) -> None:
    result = embed(write_vectors(tmp_path / "v.parquet", [[3.0, 4.0], None, [0.0, -1.0]]), tmp_path)
    (shard,) = result.shards
    found, computed = VectorSum.of_shard(shard, str(tmp_path / "work"))
    expected = read_shard(shard).vectors.sum(axis=0, dtype=np.float64) * 2**25
    assert (computed, found.rows, found.total.tolist()) == (False, 2, expected.tolist())


@pytest.mark.parametrize("size", [1, 3, 4, 10, 100])
def test_large_inputs_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(embedding, "ROWS_PER_SHARD", size)
    rows = [[float(number), 1.0] if number != 5 else None for number in range(11)]
    result = embed(write_vectors(tmp_path / "v.parquet", rows), tmp_path)
    full, rest = divmod(10, size)
    assert [shard.rows for shard in result.shards] == [size] * full + [rest] * (rest > 0)
    check_vectors(result, {f"v{number}": row for number, row in enumerate(rows) if row is not None})


def test_descriptors_say_what_is_stored(captions: Path, tmp_path: Path) -> None:
    (shard,) = embed(captions, tmp_path, encoder=FormulaEncoder()).shards
    block = read_shard(shard)
    ids, pairs = block.ids.to_pylist(), block.pair_ids.to_pylist()
    assert shard.digest == sha256(Path(shard.uri).read_bytes())
    assert (shard.rows, shard.dim, shard.source, shard.paired) == (9, 4, str(captions), 9)
    assert shard.id_digest == set_digest(row_id.encode() for row_id in ids)
    keyed = zip(block.vectors, pairs, strict=True)
    assert shard.vector_digest == set_digest(vector.tobytes() + pair.encode() for vector, pair in keyed)
    assert read_ids(shard).to_pylist() == ids
    assert not block.vectors.flags.writeable


def test_the_sample_of_ids_depends_on_the_ids_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ID_SAMPLE_RATE", 8)
    ids = [f"id-{number}" for number in range(2000)]
    vectors = np.tile(np.array([[1.0, 0.0]], np.float32), (2000, 1))

    def sample(name: str, rows: list[int]) -> list[str]:
        names = [ids[row] for row in rows]
        shard = embedded.EmbeddedShard.write(str(tmp_path / name), names, names, vectors[: len(rows)], "x")
        assert list(shard.id_sample) == sorted(shard.id_sample)
        return list(shard.id_sample)

    whole = sample("whole", list(range(2000)))
    odd, even = sample("odd", list(range(1, 2000, 2))), sample("even", list(range(0, 2000, 2)))
    assert sorted(odd + even) == whole
    assert 150 < len(whole) < 350


@pytest.mark.parametrize("batch", [1, 2, 3, 9, 100])
def test_bits_do_not_depend_on_batches(captions: Path, tmp_path: Path, batch: int) -> None:
    first = embed(captions, tmp_path / "first", encoder=FormulaEncoder(4))
    other = embed(captions, tmp_path / "other", encoder=FormulaEncoder(batch))
    assert [shard.digest for shard in first.shards] == [shard.digest for shard in other.shards]


def test_a_second_run_finds_the_first(captions: Path, tmp_path: Path) -> None:
    request = request_for(tmp_path)
    planned = request.plan(describe_shard(str(captions)))  # type: ignore[arg-type]
    assert request.find(planned) is None  # type: ignore[arg-type]
    result = embed_shard(planned, request, FormulaEncoder())  # type: ignore[arg-type]
    assert request.find(planned) == result  # type: ignore[arg-type]
    files = {path: path.read_bytes() for path in (tmp_path / "work").rglob("*") if path.is_file()}
    assert len(files) == 4  # vectors and their sum, rejects, completion mark
    assert embed_shard(planned, request, FormulaEncoder()) == result  # type: ignore[arg-type]
    assert {path: path.read_bytes() for path in (tmp_path / "work").rglob("*") if path.is_file()} == files


def test_the_first_of_two_unequal_results_stays(captions: Path, tmp_path: Path) -> None:
    """As when two workers run a model whose last bits differ."""

    class Noisy(FormulaEncoder):
        def encode_texts(self, texts: list[str]) -> np.ndarray:  # type: ignore[override]
            return super().encode_texts(texts) + np.float32(0.5)

    first = embed(captions, tmp_path, encoder=FormulaEncoder())
    assert embed(captions, tmp_path, encoder=Noisy()) == first
    (mark,) = (tmp_path / "work" / "embedded").glob("*.json")
    mark.unlink()
    second = embed(captions, tmp_path, encoder=Noisy())
    assert second != first
    assert read_shard(second.shards[0]).ids.equals(read_shard(first.shards[0]).ids)
    assert embed(captions, tmp_path, encoder=FormulaEncoder()) == second


@pytest.mark.parametrize("rejected", [False, True])
def test_an_input_that_changes_while_it_is_read_leaves_nothing_to_reuse(
    captions: Path, tmp_path: Path, rejected: bool
) -> None:
    """The digest of the old content must not stand for vectors of the new one, now or later."""
    old = captions.read_bytes()
    new = old.replace(b"cat", b"dog").replace(b'"caption": ""', b'"caption": 7' if rejected else b'"caption": "x"')
    request = request_for(tmp_path)
    planned = request.plan(describe_shard(str(captions)))  # type: ignore[arg-type]
    captions.write_bytes(new)
    with pytest.raises(InputError, match=r"captions\.jsonl' changed while it was read.*Run the same command again"):
        embed_shard(planned, request, FormulaEncoder())  # type: ignore[arg-type]
    assert request.find(planned) is None  # type: ignore[arg-type]
    captions.write_bytes(old)
    result = embed_shard(planned, request, FormulaEncoder())  # type: ignore[arg-type]
    check_vectors(result, {record["id"]: formula(record["caption"].encode()) for record in CAPTIONS[1:]})
    assert result.rejects.uri is not None
    assert "empty caption" in Path(result.rejects.uri).read_text()


def test_a_damaged_file_under_the_name_is_written_anew(captions: Path, tmp_path: Path) -> None:
    (shard,) = embed(captions, tmp_path, encoder=FormulaEncoder()).shards
    whole = Path(shard.uri).read_bytes()
    for mark in (tmp_path / "work" / "embedded").glob("*.json"):
        mark.unlink()
    Path(shard.uri).write_bytes(b"half")
    embed(captions, tmp_path, encoder=FormulaEncoder())
    assert Path(shard.uri).read_bytes() == whole


def test_a_broken_shard_leaves_no_completion_mark(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(make_tar([("a.jpg", b"1"), ("b.jpg", b"2" * 9000)])[:3000])
    with pytest.raises(InputError, match="is broken"):
        embed(path, tmp_path, "image", FormulaEncoder())
    assert list((tmp_path / "work").rglob("*.json")) == []


def test_names_follow_every_input(captions: Path, tmp_path: Path) -> None:
    base = request_for(tmp_path)
    shard = describe_shard(str(captions))
    changed = [
        (shard, dataclasses.replace(base, encoder="other")),  # type: ignore[type-var]
        (shard, dataclasses.replace(base, columns=Columns(caption="title"))),  # type: ignore[type-var]
        (shard, dataclasses.replace(base, columns=Columns(require_id=False))),  # type: ignore[type-var]
        (shard, dataclasses.replace(base, modality="image")),  # type: ignore[type-var]
        (dataclasses.replace(shard, digest="other"), base),
    ]
    names = {r.plan(s).name for s, r in [(shard, base), *changed]}  # type: ignore[arg-type]
    assert len(names) == 6
    before = base.plan(shard).name  # type: ignore[arg-type]
    (tmp_path / "elsewhere").mkdir()
    moved = dataclasses.replace(shard, uri=str(captions.rename(tmp_path / "elsewhere" / captions.name)))
    assert base.plan(moved).name == before  # type: ignore[arg-type]


def test_vectors_need_no_encoder_and_ignore_it(tmp_path: Path) -> None:
    shard = describe_shard(str(write_vectors(tmp_path / "v.parquet", [[1.0]])))
    plans = [
        request_for(tmp_path, modality, encoder).plan(shard)  # type: ignore[arg-type]
        for modality in ("image", "text")
        for encoder in (None, "e")
    ]
    assert len({plan.name for plan in plans}) == 1
    assert all(plan.precomputed for plan in plans)


def test_lengths_of_ready_made_vectors_are_looked_at(tmp_path: Path) -> None:
    """Those of rows that are used; float16 keeps a length of 1 well enough."""
    half = [float(np.float16(x)) for x in (0.6, 0.8)]
    vectors = [[0.6, 0.8], half, [3.0, 4.0], [0.0, 0.0], [1e300, 0.0], [float("nan"), 1.0]]
    pq.write_table(pa.table({"id": [*"abcdef"], "vector": vectors}), tmp_path / "v.parquet")
    result = embed(tmp_path / "v.parquet", tmp_path)
    assert (result.off_length, result.rejects.rejected) == (2, 2)
    request = request_for(tmp_path, encoder=None)
    assert request.find(request.plan(describe_shard(str(tmp_path / "v.parquet")))) == result  # type: ignore[arg-type]


def test_an_encoder_that_is_needed_is_named(captions: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"captions\.jsonl' has no column of vectors.*texts must be embedded. Name an encoder with --encoder",
    ):
        request_for(tmp_path, encoder=None).plan(describe_shard(str(captions)))  # type: ignore[arg-type]


def test_a_work_folder_can_be_moved(captions: Path, tmp_path: Path) -> None:
    result = embed(captions, tmp_path, encoder=FormulaEncoder())
    (tmp_path / "moved").mkdir()
    (tmp_path / "work").rename(tmp_path / "moved" / "work")
    request = request_for(tmp_path / "moved")
    found = request.find(request.plan(describe_shard(str(captions))))  # type: ignore[arg-type]
    assert found is not None
    assert found.rejects.uri == str(result.rejects.uri).replace("/work/", "/moved/work/")
    assert read_shard(found.shards[0]).ids.equals(pa.array([record["id"] for record in CAPTIONS[1:]]))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"shards": [{}]}', b"\xff", b'{"shards": [], "rejects": null}'])
def test_a_damaged_completion_mark_goes(captions: Path, tmp_path: Path, data: bytes) -> None:
    embed(captions, tmp_path, encoder=FormulaEncoder())
    (mark,) = (tmp_path / "work" / "embedded").glob("*.json")
    mark.write_bytes(data)
    request = request_for(tmp_path)
    planned = request.plan(describe_shard(str(captions)))
    assert request.find(planned, mend=False) is None  # type: ignore[arg-type]
    assert mark.exists()
    assert request.find(planned) is None  # type: ignore[arg-type]
    assert not mark.exists()


def test_a_damaged_shard_is_refused(captions: Path, tmp_path: Path) -> None:
    (shard,) = embed(captions, tmp_path, encoder=FormulaEncoder()).shards
    path = Path(shard.uri)
    whole = path.read_bytes()
    for position in range(0, len(whole), 11):
        data = bytearray(whole)
        data[position] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(CorruptArtifactError, match="has changed since it was written"):
            read_shard(shard)
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(LostArtifactError, match="Parquet"):
        read_ids(shard)


def test_a_prompt_is_put_around_captions_and_into_the_name(captions: Path, tmp_path: Path) -> None:
    plain = request_for(tmp_path)
    asked = dataclasses.replace(plain, prompt="a photo of {}")  # type: ignore[type-var]
    shard = describe_shard(str(captions))
    planned = asked.plan(shard)
    assert planned.name != plain.plan(shard).name
    images = dataclasses.replace(asked, modality="image")
    assert images.plan(shard).name == dataclasses.replace(images, prompt="{}").plan(shard).name
    result = embed_shard(planned, asked, FormulaEncoder())
    check_vectors(result, {r["id"]: formula(f"a photo of {r['caption']}".encode()) for r in CAPTIONS[1:]})


def test_images_that_turn_white_are_counted(tmp_path: Path) -> None:
    names = ["grey16.png", "grey.jpg", "bits.png"]
    (tmp_path / "s.tar").write_bytes(make_tar([(name, hostile.good_images()[name]) for name in names]))
    request = dataclasses.replace(request_for(tmp_path), modality="image")
    planned = request.plan(describe_shard(str(tmp_path / "s.tar")))
    for _ in range(2):
        assert embed_shard(planned, request, FormulaEncoder()).whitened == 1
    found = request.find(planned)
    assert found is not None
    assert found.whitened == 1


def test_captions_that_the_model_cuts_are_counted(captions: Path, tmp_path: Path) -> None:
    class Cutting(FormulaEncoder):
        truncated = 5

        def encode_texts(self, texts: list[str]) -> np.ndarray:
            self.truncated += sum(len(text) > 9 for text in texts)
            return super().encode_texts(texts)

    expected = sum(len(record["caption"]) > 9 for record in CAPTIONS)
    assert expected
    request = request_for(tmp_path)
    planned = request.plan(describe_shard(str(captions)))  # type: ignore[arg-type]
    assert embed_shard(planned, request, Cutting()).truncated == expected  # type: ignore[arg-type]
    found = request.find(planned)  # type: ignore[arg-type]
    assert found is not None
    assert found.truncated == expected
