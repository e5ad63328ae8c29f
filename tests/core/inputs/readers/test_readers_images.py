"""Image files: one row each, read in groups that stay as they are when a file more comes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fakes import Everything, gather

from nnn_core.errors import InputError, NNNError
from nnn_core.inputs import listing
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import Columns, read_rows
from nnn_core.inputs.readers import _images as images
from nnn_core.inputs.shards import ShardName


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images in two folders, with captions beside some of them."""
    for number in range(12):
        path = tmp_path / "photos" / f"day{number % 2}" / f"img{number}.{('jpg', 'PNG', 'webp', 'jpeg')[number % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"image {number}".encode())
        path.with_suffix(".txt").write_text("a caption")
    return tmp_path / "photos"


def read(pattern: str, modality: str = "image", **columns: object) -> Everything:
    shards = [describe_shard(name) for name in list_shards(pattern, "--candidates")]
    batches = [rows for shard in shards for rows in read_rows(shard, modality, Columns(**columns))]  # type: ignore[arg-type]
    return gather(batches)


def test_ids_are_paths_below_the_fixed_folder_in_natural_order(folder: Path) -> None:
    found = read(f"{folder}/*/*.[jwP]*")
    assert found.ids == found.pair_ids
    even = ["day0/img0.jpg", "day0/img2.webp", "day0/img4.jpg", "day0/img6.webp", "day0/img8.jpg", "day0/img10.webp"]
    assert found.ids[:6] == even
    assert found.ids[6:9] == ["day1/img1.PNG", "day1/img3.jpeg", "day1/img5.PNG"]
    assert found.items[0] == b"image 0"
    assert found.items[5] == b"image 10"
    assert len(found.ids) == 12


def test_one_explicit_file(folder: Path) -> None:
    assert read(f"{folder}/day0/img2.webp").ids == ["img2.webp"]


def test_a_file_beyond_the_limit_is_a_reject(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "IMAGE_BYTES", 7)
    found = read(f"{folder}/*/*.webp")
    assert (found.ids, found.reasons) == (["day0/img2.webp", "day0/img6.webp"], [("day0/img10.webp", "too large")])
    assert found.rejects[0].detail == "8 bytes (limit: 7)"


def test_a_file_that_is_gone_is_an_error(folder: Path) -> None:
    (name,) = list_shards(f"{folder}/*/*.jpg", "--candidates")
    shard = describe_shard(name)
    (folder / "day0" / "img4.jpg").unlink()
    with pytest.raises(NNNError, match=r"img4\.jpg"):
        gather(read_rows(shard, "image", Columns()))


def test_captions_are_not_looked_for_beside_images(folder: Path) -> None:
    with pytest.raises(InputError, match=r"holds images, but captions are expected.*name those files \(\*\.txt\)"):
        read(f"{folder}/*/*.jpg", "text")


@pytest.mark.parametrize("columns", [{"id": "url"}, {"pair_id": "image"}])
def test_image_files_have_no_columns(folder: Path, columns: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"-column \w+ has no effect for the format 'image', in which no column"):
        read(f"{folder}/*/*.jpg", **columns)


def test_ids_may_be_digests_of_the_content(folder: Path) -> None:
    (folder / "day0" / "copy.jpg").write_bytes(b"image 0")
    found = read(f"{folder}/day0/*.jpg", id="@sha256")
    assert len(found.ids) == 4
    assert len(set(found.ids)) == 3
    assert found.pair_ids[0] == "copy.jpg"


def groups(members: list[str]) -> set[ShardName]:
    return set(listing._group_members("/photos", [f"/photos/{member}" for member in members]))


@pytest.mark.parametrize("change", ["more", "less"])
def test_one_image_changes_one_group_or_two_that_meet(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    monkeypatch.setattr(listing, "IMAGES_PER_SHARD", 16)
    members = [f"{number:05d}.jpg" for number in range(3000)]
    before = groups(members)
    assert sum(len(group.members) for group in before) == 3000
    assert max(len(group.members) for group in before) <= 8 * 16
    assert len(before) > 100
    rng = random.Random(0)
    for _ in range(50):
        place = rng.randrange(3000)
        changed = [*members[:place], *members[place + 1 :]] if change == "less" else list(members)
        if change == "more":
            changed.insert(place, f"{members[place].removesuffix('.jpg')}a.jpg")
        gone, come = before - groups(changed), groups(changed) - before
        assert len(gone) <= 2
        assert len(come) <= 2
        assert gone or come


def test_the_digest_of_a_group_follows_names_and_bytes(folder: Path) -> None:
    def digest() -> str:
        (name,) = list_shards(f"{folder}/*/*.jpg", "--candidates")
        return describe_shard(name).digest

    first = digest()
    assert digest() == first
    (folder / "day0" / "img0.jpg").write_bytes(b"image 1")
    second = digest()
    (folder / "day0" / "img0.jpg").rename(folder / "day0" / "img1.jpg")
    assert len({first, second, digest()}) == 3
