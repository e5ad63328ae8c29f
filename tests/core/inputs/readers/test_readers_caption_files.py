"""Captions in files of their own, beside the images: the layout of img2dataset's output "files"."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes import Everything, gather

from nnn_core.errors import InputError
from nnn_core.inputs.listing import describe_shard, list_input
from nnn_core.inputs.readers import Columns, format_of, read_rows
from nnn_core.inputs.shards import Modality

CAPTIONS = {
    "00000/000000000.txt": "a cat\n",
    "00000/000000001.txt": "\ufeffzwei H\u00fcte",
    "00000/000000003.txt": " \u200b",
    "00001/000010000.txt": "one\n\ntwo",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, caption in CAPTIONS.items():
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(caption)
        path.with_suffix(".json").write_text('{"caption": "c", "status": "success"}')
        path.with_suffix(".png" if "1.txt" in name else ".jpg").write_bytes(b"image")
    return tmp_path / "out"


def read(pattern: object, modality: Modality = "text") -> Everything:
    shards = [describe_shard(name) for name in list_input(str(pattern), "--references").shards]
    columns = Columns(require_id=False)
    return gather(rows for shard in shards for rows in read_rows(shard, modality, columns))


def test_captions_are_paired_with_the_ids_of_their_images(folder: Path) -> None:
    found = read(f"{folder}/**/*.txt")
    assert found.items == ["a cat", "zwei H\u00fcte", "one", "two"]
    assert found.pair_ids == ["00000/000000000.jpg", "00000/000000001.png", *["00001/000010000.jpg"] * 2]
    assert found.ids == ["00000/000000000.txt", "00000/000000001.txt", "00001/000010000.txt#0", "00001/000010000.txt#1"]
    assert found.reasons == [("00000/000000003.txt", "empty caption")]
    images = [name for shard in list_input(f"{folder}/**/*.[jp][pn]g", "--candidates").shards for name in shard.members]
    assert set(found.pair_ids) < set(images)


def test_a_file_that_lost_its_image_is_paired_with_nothing(folder: Path) -> None:
    (folder / "00000" / "000000000.jpg").unlink()
    assert read(f"{folder}/*/*.txt").pair_ids[0] == ""


def test_files_of_one_caption_a_line_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.jpg").write_bytes(b"image")
    (shard,) = list_input(f"{tmp_path}/*.txt", "--references").shards
    assert (shard.members, format_of(shard).name) == ((), "txt")
    assert read(f"{tmp_path}/*.txt").ids == ["line 1", "line 2"]


def test_the_digest_covers_captions_and_pairs_but_no_place(folder: Path) -> None:
    def digest(where: Path) -> str:
        (name,) = list_input(f"{where}/**/*.txt", "--references").shards
        return describe_shard(name).digest

    before = digest(folder)
    shutil.copytree(folder, folder.parent / "copy")
    assert digest(folder.parent / "copy") == before
    (folder / "00000" / "000000001.png").rename(folder / "00000" / "000000001.webp")
    renamed = digest(folder)
    (folder / "00000" / "000000000.txt").write_text("another")
    assert len({before, renamed, digest(folder)}) == 3


def test_images_cannot_be_read(folder: Path) -> None:
    with pytest.raises(InputError, match="holds captions, but images are expected"):
        read(f"{folder}/**/*.txt", "image")
