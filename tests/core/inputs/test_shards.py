"""Which files a pattern names, in which order, and what identifies their bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.listing import _expand_braces, describe_shard, list_uris
from nnn_core.inputs.readers._npy import find_companion
from nnn_core.inputs.shards import natural_key

PLAIN = st.text(st.characters(blacklist_characters="{}", blacklist_categories=["Cs"]), max_size=12)


@given(PLAIN)
def test_a_pattern_without_braces_is_itself(pattern: str) -> None:
    assert _expand_braces(pattern) == [pattern]


@given(PLAIN, st.integers(0, 500), st.integers(0, 300), st.integers(1, 6), PLAIN)
def test_padded_ranges_round_trip(head: str, first: int, count: int, width: int, tail: str) -> None:
    last = first + count
    numbers = range(first, last + 1)
    width = max(width, len(str(last)))
    padded = [f"{number:0{width}d}" for number in numbers]
    assert _expand_braces(f"{head}{{{padded[0]}..{padded[-1]}}}{tail}") == [f"{head}{text}{tail}" for text in padded]
    assert _expand_braces(f"{{{padded[-1]}..{padded[0]}}}") == padded[::-1]


@given(st.integers(0, 500), st.integers(0, 500))
def test_plain_ranges_are_not_padded(first: int, last: int) -> None:
    """As in a shell, where {0..10} is 0, 1, ... 10: a lone zero asks for no padding."""
    step = 1 if last >= first else -1
    assert _expand_braces(f"x{{{first}..{last}}}") == [f"x{number}" for number in range(first, last + step, step)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{a,b}.tar", ["a.tar", "b.tar"]),
        ("{a,b}-{1..2}", ["a-1", "a-2", "b-1", "b-2"]),
        ("s{008..011}", ["s008", "s009", "s010", "s011"]),
        ("s{1..003}", ["s001", "s002", "s003"]),
        ("s{3..1}", ["s3", "s2", "s1"]),
        ("{x,}y", ["xy", "y"]),
        ("s{0..10}", [f"s{number}" for number in range(11)]),
    ],
)
def test_braces(pattern: str, names: list[str]) -> None:
    assert _expand_braces(pattern) == names


def test_nested_braces_name_the_same_set() -> None:
    assert set(_expand_braces("x{a,{1..3}}")) == {"xa", "x1", "x2", "x3"}


@pytest.mark.parametrize("pattern", ["a{1..3", "a}b", "}{", "{a,b}}", "{a,b}{"])
def test_unbalanced_braces_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"unbalanced brace in '.*[{}].*'. Write a range as \{00000\.\.00012\}"):
        _expand_braces(pattern)


@pytest.mark.parametrize("pattern", ["{1..1000000000}", "{1..2000}{1..2000}"])
def test_endless_ranges_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"expands to more than 1,000,000 names. Use a glob"):
        _expand_braces(pattern)


def test_natural_order() -> None:
    ordered = ["1", "3-x", "a", "a-1", "a-2", "a-2.5", "a-09", "a-9", "a-10", "a-10-2", "a-10-10", "b-1"]
    shuffled = random.Random(0).sample(ordered, len(ordered))
    assert sorted(shuffled, key=natural_key) == ordered


@given(st.lists(st.integers(0, 10**9), unique=True), st.text("ab/-._", max_size=5))
def test_natural_order_of_numbers_is_numeric(numbers: list[int], stem: str) -> None:
    names = [f"{stem}-{number}.tar" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{stem}-{number}.tar" for number in sorted(numbers)]


@given(st.lists(st.text(max_size=8)))
def test_natural_order_is_total(names: list[str]) -> None:
    keys = {name: natural_key(name) for name in names}
    assert len(set(keys.values())) == len(keys)
    assert sorted(names, key=natural_key) == sorted([*names[1:], *names[:1]], key=natural_key)


def test_digits_of_any_script_are_no_accident() -> None:
    """A superscript is no number, an Arabic digit is one."""
    assert sorted(["x1²3", "x1²2", "x٣", "x2"], key=natural_key) == ["x1²2", "x1²3", "x2", "x٣"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (10, 9, 2, 1):
        (tmp_path / f"s-{number}.tar").write_bytes(b"x" * number)
    (tmp_path / "s-3.tar").mkdir()
    return tmp_path


def test_globs_are_sorted_naturally(folder: Path) -> None:
    found = list_uris(f"{folder}/s-*.tar", "--candidates")
    assert found == [f"{folder}/s-{number}.tar" for number in (1, 2, 9, 10)]


def test_each_file_is_listed_once(folder: Path) -> None:
    found = list_uris(f"{folder}/{{s-1.tar,s-*.tar,s-10*,s-1.tar}}", "--candidates")
    assert found == [f"{folder}/s-{number}.tar" for number in (1, 2, 9, 10)]


def test_holes_in_a_range_are_counted_and_named(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        list_uris(f"{folder}/s-{{1..12}}.tar", "--references")
    message = str(caught.value)
    assert "stands for 12 names, and 8 of them match no file" in message
    for number in (3, 4, 5):
        assert f"s-{number}.tar'" in message
    assert "s-6.tar" not in message


def test_nothing_found_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no files found for --candidates '.*/\*\.tar'.*quote the glob"):
        list_uris(f"{tmp_path}/*.tar", "--candidates")


def test_description_follows_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"12345")
    shard = describe_shard(str(path))
    assert (shard.uri, shard.bytes, shard.companion) == (str(path), 5, None)
    path.write_bytes(b"54321")
    assert describe_shard(str(path)).digest != shard.digest
    path.write_bytes(b"12345")
    assert describe_shard(str(path)) == shard


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.tar"):
        describe_shard(str(tmp_path / "gone.tar"))


@pytest.mark.parametrize(
    ("vectors", "metadata"),
    [
        ("img_emb_3.npy", "metadata_3.parquet"),
        ("img_emb/img_emb_03.npy", "metadata/metadata_03.parquet"),
        ("text_emb/x.npy", "metadata/metadata.parquet"),
        ("a_1_22.npy", "metadata_22.parquet"),
        ("part-3.npy", "part-3.parquet"),
        ("embeddings/0007.npy", "metadata/0007.parquet"),
    ],
)
def test_companions(tmp_path: Path, vectors: str, metadata: str) -> None:
    for name in (vectors, metadata):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    uri = str(tmp_path / vectors)
    assert find_companion(uri) == str(tmp_path / metadata)
    before = describe_shard(uri)
    assert before.companion == str(tmp_path / metadata)
    (tmp_path / metadata).write_bytes(b"other ids")
    assert describe_shard(uri).digest != before.digest


def test_the_companion_beside_the_file_comes_first(tmp_path: Path) -> None:
    for name in ("e/x_1.npy", "e/metadata_1.parquet", "metadata/metadata_1.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert find_companion(str(tmp_path / "e/x_1.npy")) == str(tmp_path / "e/metadata_1.parquet")


def test_vectors_alone_have_no_companion(tmp_path: Path) -> None:
    (tmp_path / "img_emb_7.npy").write_bytes(b"")
    assert find_companion(str(tmp_path / "img_emb_7.npy")) is None


@pytest.mark.parametrize("place", ["img_emb", "metadata"])
def test_a_lost_companion_is_an_error_that_names_the_places(tmp_path: Path, place: str) -> None:
    for name in ("img_emb/img_emb_7.npy", f"{place}/metadata_6.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"metadata_6\.parquet'\)\. Restore the file") as caught:
        describe_shard(str(tmp_path / "img_emb/img_emb_7.npy"))
    assert str(tmp_path / "img_emb" / "metadata_7.parquet") in str(caught.value)
    assert str(tmp_path / "metadata" / "metadata_7.parquet") in str(caught.value)
