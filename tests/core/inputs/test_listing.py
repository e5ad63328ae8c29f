"""What a folder in place of a glob is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnn_core.errors import InputError
from nnn_core.inputs.listing import list_shards


def message(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    folder.mkdir(exist_ok=True)
    with pytest.raises(InputError) as caught:
        list_shards(str(folder), "--candidates")
    return str(caught.value).replace(str(folder), "F")


def test_the_most_frequent_suffix_comes_first(tmp_path: Path) -> None:
    text = message(tmp_path / "f", "a.parquet", "0.tar", "1.TAR", "notes.doc", "x.tsv.gz", "y.tsv.gz", "z.tsv.gz")
    assert "'F' is a folder. Name the files in it, for example 'F/*.tsv.gz' or 'F/*.tar' or 'F/*.parquet'." in text


def test_folders_of_clip_retrieval(tmp_path: Path) -> None:
    text = message(
        tmp_path / "f", "img_emb/img_emb_0.npy", "metadata/metadata_0.parquet", "text_emb/text_emb_0.npy", "README"
    )
    assert "for example 'F/img_emb/*.npy' or 'F/metadata/*.parquet' or 'F/text_emb/*.npy'." in text


@pytest.mark.parametrize("names", [(), ("a.doc", "b/c.doc")])
def test_a_folder_without_any_input(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert "for example 'F/*.tar' (no file in it has a known format)." in message(tmp_path / "f", *names)
