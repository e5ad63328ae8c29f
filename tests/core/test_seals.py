"""Artefacts carry their own name and a checksum: changed bytes and exchanged files are noticed, and computed anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from corpora import gaussian, write_vectors
from fakes import grid_vectors
from hypothesis import given
from hypothesis import strategies as st
from sides import embed_side

from nnn_core.artifacts import from_sealed, from_tensors, keep, keep_exactly, keep_tensors, to_sealed, to_tensors
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedShard, _order_digest, read_ids, read_shard
from nnn_core.errors import CorruptArtifactError, LostArtifactError
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns
from nnn_core.scoring.partials import Partial
from nnn_core.scoring.topk import TopK

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(JSON)
def test_what_was_sealed_is_read_under_its_name_alone(record: object) -> None:
    data = to_sealed(record, "s3://work/embedded/a.json")
    assert from_sealed(data, "/moved/a.json") == record
    with pytest.raises(CorruptArtifactError, match="damaged: its checksum"):
        from_sealed(data, "/moved/b.json")


@pytest.fixture
def marked(tmp_path: Path) -> tuple[Path, str]:
    """The mark of an input, and the pattern of the input."""
    pattern = write_vectors(tmp_path / "in", [f"id-{n}" for n in range(9)], gaussian(9, 4, 1), 1)
    embed_side(pattern, str(tmp_path / "work"))
    (mark,) = (tmp_path / "work" / "embedded").glob("*.json")
    return mark, pattern


@pytest.mark.counted
def test_every_byte_of_a_mark_counts(marked: tuple[Path, str], record_count: Callable[[str, int, int], None]) -> None:
    mark, pattern = marked
    data = mark.read_bytes()
    planned = EmbeddingRequest("image", Columns(), None, str(mark.parent.parent))
    found = 0
    changes = [
        *(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] for place in range(len(data))),
        *(data[:place] for place in range(0, len(data), 7)),
        data + b"\n",
    ]
    for changed in changes:
        try:
            from_sealed(changed, str(mark))
        except CorruptArtifactError:
            found += 1
    record_count("changed completion marks that are noticed", found, len(changes))
    assert found == len(changes)
    for changed in changes[:: len(changes) // 3]:
        mark.write_bytes(changed)
        (shard,) = [describe_shard(str(path)) for path in (mark.parent.parent.parent / "in").iterdir()]
        assert planned.find(planned.plan(shard)) is None
        assert not mark.exists()
        embed_side(pattern, str(mark.parent.parent))
        assert mark.read_bytes() == data


def test_exchanged_partials_are_computed_anew(tmp_path: Path) -> None:
    partials = [Partial("c" * 64, number, str(tmp_path / f"{number}.parquet"), 3, 2) for number in range(2)]
    for number, partial in enumerate(partials):
        partial.write(TopK.of(gaussian(3, 4, number), 2, np.full(3, 4)))
    one, other = (Path(partial.uri) for partial in partials)
    one.rename(tmp_path / "x")
    other.rename(one)
    (tmp_path / "x").rename(other)
    for partial in partials:
        with pytest.raises(LostArtifactError, match="does not match"):
            partial.read()
        assert not Path(partial.uri).exists()
        with pytest.raises(LostArtifactError, match="is gone"):
            partial.read()


@pytest.mark.parametrize("column", ["id", "pair_id"])
def test_rows_in_another_order_are_noticed_without_reading_vectors(tmp_path: Path, column: str) -> None:
    names, vectors = [f"id-{n}" for n in range(5)], grid_vectors(5, 4, 1)
    shard = EmbeddedShard.write(str(tmp_path / "name-00000"), names, names, vectors, "x")
    turned = EmbeddedShard.write(str(tmp_path / "other-00000"), names[::-1], names[::-1], vectors, "x")
    Path(turned.uri).replace(shard.uri)
    (tmp_path / "name.json").write_text("its mark")
    with pytest.raises(LostArtifactError, match=f"column '{column}' does not have the rows"):
        read_ids(shard, column)  # type: ignore[arg-type]
    assert not (tmp_path / "name.json").exists()
    with pytest.raises(LostArtifactError, match="has changed since it was written"):
        read_shard(shard)


TEXTS = st.lists(st.text(max_size=3), max_size=5)


@given(TEXTS, TEXTS, st.integers(0, 2))
def test_digests_of_order_tell_columns_apart(one: list[str], other: list[str], skip: int) -> None:
    first, second = (pa.array(texts, pa.string()) for texts in (one, other))
    assert (_order_digest(first) == _order_digest(second)) == (one == other)
    assert _order_digest(pa.array([""] * skip + one, pa.string()).slice(skip)) == _order_digest(first)


@pytest.mark.parametrize("damage", [b"", b"other", None])
def test_what_can_be_computed_again_is(tmp_path: Path, damage: bytes | None) -> None:
    uri, arrays = tmp_path / "sum.safetensors", {"total": np.arange(3)}
    for expected in (True, False):
        assert keep_tensors(str(uri), lambda: arrays)[1] is expected
    uri.write_bytes(to_tensors(arrays, "another.safetensors") if damage is None else damage)
    found, computed = keep_tensors(str(uri), lambda: arrays)
    np.testing.assert_array_equal(found["total"], arrays["total"])
    assert computed
    assert from_tensors(uri.read_bytes(), str(uri)).keys() == arrays.keys()


def test_a_name_that_follows_from_bytes_gets_them(tmp_path: Path) -> None:
    uri = tmp_path / "name"
    for before in (None, b"damaged", b"right"):
        if before is not None:
            uri.write_bytes(before)
        keep_exactly(str(uri), b"right")
        assert uri.read_bytes() == b"right"


def test_what_goes_while_it_is_looked_for_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnn_core import storage

    monkeypatch.setattr(storage, "exists", lambda uri: True)
    assert keep(str(tmp_path / "gone"), lambda: b"made", bytes) == (b"made", True)
