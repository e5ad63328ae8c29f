"""Names that look like patterns or addresses are names where such files are."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import gather

from nnn_core.errors import ConfigError
from nnn_core.inputs.listing import describe_shard, list_input, list_uris
from nnn_core.inputs.readers import Columns, read_rows

FOLDERS = ["a[1]", "b{x}", "c{1..3}", "d::e", "f[!g]", "[h", "i]"]


def ids(pattern: str) -> list[str]:
    shards = [describe_shard(name) for name in list_input(pattern, "--candidates").shards]
    return [row for shard in shards for row in gather(read_rows(shard, "image", Columns())).ids]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "x::y.jpg").write_bytes(b"image")
        (tmp_path / name / "[z].jpg").write_bytes(b"image")
    return tmp_path


@pytest.mark.parametrize("name", FOLDERS)
def test_a_name_that_exists_wins(folder: Path, name: str) -> None:
    assert ids(f"{folder}/{name}/*.jpg") == ["[z].jpg", "x::y.jpg"]
    for file in ("x::y.jpg", "[z].jpg"):
        assert list_uris(f"{folder}/{name}/{file}", "--candidates") == [f"{folder}/{name}/{file}"]


@pytest.mark.parametrize(("name", "escaped"), [("a[1]", "a[[]1]"), ("b{x}", "b[{]x[}]"), ("c{1..3}", "c[{]1..3[}]")])
def test_what_is_escaped_is_a_name(folder: Path, name: str, escaped: str) -> None:
    assert ids(f"{folder}/{escaped}/*.jpg") == ["[z].jpg", "x::y.jpg"]
    assert list_uris(f"{folder}/*/x::y.jpg", "--candidates")[0] == f"{folder}/[h/x::y.jpg"
    assert list_uris(f"{folder}/?{escaped[1:]}/x*", "--candidates") == [f"{folder}/{name}/x::y.jpg"]


def test_patterns_stay_patterns(folder: Path) -> None:
    (folder / "b0").mkdir()
    (folder / "b0" / "x.jpg").write_bytes(b"image")
    assert ids(f"{folder}/[ab][0-9]/*.jpg") == ["b0/x.jpg"]
    assert list_uris(f"{folder}/b{{0..0}}/*.jpg", "--candidates") == [f"{folder}/b0/x.jpg"]
    with pytest.raises(ConfigError, match=r"unbalanced brace .*a literal brace as \[\{\]"):
        list_uris(f"{folder}/b{{0/*.jpg", "--candidates")
