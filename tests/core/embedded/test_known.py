"""Groups of single images, put together from what is known: the bytes of a fresh start, and only new images encoded."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import UNDECODABLE, FormulaEncoder

from nnn_core.embedded import _known
from nnn_core.embedded.embedding import EmbeddingRequest, embed_groups
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.inputs import listing
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import Columns
from nnn_core.planning.plan import SidePlan


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "IMAGES_PER_SHARD", 8)


def request_for(work: Path, encoder: str = "e", **columns: str) -> EmbeddingRequest:
    return EmbeddingRequest("image", Columns(**columns), encoder, str(work))  # type: ignore[arg-type]


def refresh(photos: Path, request: EmbeddingRequest, encoder: FormulaEncoder | None) -> list[EmbeddedInput]:
    """All groups, of which those that are not finished are embedded together."""
    planned = [request.plan(describe_shard(name)) for name in list_shards(f"{photos}/*.jpg", "--candidates")]
    todo = [each for each in planned if request.find(each) is None]
    if todo:
        embed_groups(todo, request, encoder)
    found = [request.find(each) for each in planned]
    return [each for each in found if each is not None]


def files_of(results: Sequence[EmbeddedInput]) -> list[bytes]:
    named = [shard.uri for result in results for shard in result.shards]
    named += [result.rejects.uri for result in results if result.rejects.uri]
    return [Path(name).read_bytes() for name in named]


def change(photos: Path, rng: random.Random, fresh: int) -> int:
    """Add, delete, rename, copy and edit; returns how many images have content that was never there before."""
    names = sorted(photos.iterdir())
    for path in rng.sample(names, 3):
        path.unlink()
    rest = [path for path in names if path.exists()]
    renamed, copied, edited = rng.sample(rest, 3)
    renamed.rename(photos / f"renamed {fresh}.jpg")
    (photos / f"copy {fresh}.jpg").write_bytes(copied.read_bytes())
    edited.write_bytes(f"edited {fresh}".encode())
    for number in range(2):
        (photos / f"{rng.randrange(1000):04d}-{fresh}-{number}.jpg").write_bytes(f"new {fresh} {number}".encode())
    return 3


@pytest.mark.parametrize("columns", [{}, {"id": "@sha256"}])
def test_what_changed_is_encoded_and_the_rest_is_as_from_a_fresh_start(tmp_path: Path, columns: dict[str, str]) -> None:
    photos, rng = tmp_path / "photos", random.Random(1)
    photos.mkdir()
    for number in range(100):
        (photos / f"{number:04d}.jpg").write_bytes(UNDECODABLE if number % 20 == 3 else f"photo {number}".encode())
    (photos / "twice.jpg").write_bytes(b"photo 5")
    request = request_for(tmp_path / "nightly", **columns)
    refresh(photos, request, FormulaEncoder())
    for night in range(8):
        new, encoder = change(photos, rng, night), FormulaEncoder()
        results = refresh(photos, request, encoder)
        assert len(results) > 5
        assert sum(encoder.batches) == new
        assert all(batch == encoder.batch_size for batch in encoder.batches[:-1])
        scratch = request_for(tmp_path / f"fresh {night}", **columns)
        expected = refresh(photos, scratch, FormulaEncoder())
        assert files_of(results) == files_of(expected)
        marks = [[Path(each.mark_of(each.plan(describe_shard(name)))).read_bytes() for name in
                  list_shards(f"{photos}/*.jpg", "--candidates")] for each in (request, scratch)]  # fmt: skip
        assert marks[0] == marks[1]


def test_a_group_without_new_images_needs_no_model(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.jpg").write_bytes(b"photo" * number)
    request = request_for(tmp_path / "work")
    refresh(tmp_path, request, FormulaEncoder())
    (tmp_path / "4.jpg").unlink()
    (name, *_) = list_shards(f"{tmp_path}/[2-5].jpg", "--candidates")
    planned = request.recognise(request.plan(describe_shard(name)))
    assert planned.ready
    side = SidePlan.of("candidates", f"{tmp_path}/*.jpg", request, None, ())
    assert (side.rows_todo, side.model) == (0, False)
    assert side.rows == 8
    refresh(tmp_path, request, None)


def test_vectors_of_another_encoder_are_not_taken(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.jpg").write_bytes(b"photo" * number)
    refresh(tmp_path, request_for(tmp_path / "work"), FormulaEncoder())
    other = FormulaEncoder()
    refresh(tmp_path, request_for(tmp_path / "work", "other"), other)
    assert sum(other.batches) == 9
    side = SidePlan.of("candidates", f"{tmp_path}/*.jpg", request_for(tmp_path / "work", "third"), None, ())
    assert side.rows_todo == 9


def test_names_that_cannot_be_stored_are_rejected_whatever_is_known(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"photo" * (number + 1))
    refresh(tmp_path, request_for(tmp_path / "work"), FormulaEncoder())
    (tmp_path / "1.jpg").rename(str(tmp_path / "1\udcff.jpg"))
    results = refresh(tmp_path, request_for(tmp_path / "work"), FormulaEncoder())
    assert sum(each.rejects.rejected for each in results) == 1


def test_what_is_gone_or_damaged_is_not_taken(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"photo" * (number + 1))
    request, encoder = request_for(tmp_path / "work"), FormulaEncoder()
    refresh(tmp_path, request, FormulaEncoder())
    for mark in (tmp_path / "work" / "embedded").glob("*.json"):  # as an interrupted cleaning leaves it
        mark.unlink()
    (tmp_path / "0.jpg").unlink()
    refresh(tmp_path, request, encoder)
    assert sum(encoder.batches) == 2
    for path in (tmp_path / "work" / "contents").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "1.jpg").unlink()
    _known.KnownImages.of.cache_clear()
    _known._read.cache_clear()
    encoder = FormulaEncoder()
    refresh(tmp_path, request, encoder)
    assert sum(encoder.batches) == 1
