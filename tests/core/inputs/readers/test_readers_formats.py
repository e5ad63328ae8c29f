"""The registry of formats: suffixes, and formats that other packages add."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.listing import list_shards
from nnn_core.inputs.readers import format_of, read_rows
from nnn_core.inputs.readers._known import formats
from nnn_core.inputs.readers._rows import Columns
from nnn_core.inputs.shards import InputShard

ADDED = """
from nnn_core.inputs.readers._formats import Format
from nnn_core.inputs.readers._rows import Row, batched

def read(shard, modality, columns):
    return batched(Row(f"{shard.uri}#{n}", "", "a caption") for n in range(2))

LONGER = Format("hdf", (".odd", ".odd.tsv"), read)
TAKEN = Format("mine", (".mine", ".tsv"), read)
UPPER = Format("upper", (".ODD",), read)
NOTHING = "a string"
"""

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution on the path whose entry point leads to a name in ``ADDED``."""

    def put(target: str) -> None:
        info = tmp_path / "site" / "odd_formats-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-formats\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[nnn_core.formats]\nodd = odd_formats:{target}\n")
        (tmp_path / "site" / "odd_formats.py").write_text(ADDED)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        formats.cache_clear()

    yield put
    formats.cache_clear()
    sys.modules.pop("odd_formats", None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.tar", "tar"),
        ("A.TSV", "tsv"),
        ("s3://b/x/C.Jsonl.GZ", "jsonl"),
        ("a.csv.gz", "csv"),
        ("a.tsv.csv", "csv"),
        ("a.json", "json"),
        ("a.txt", "txt"),
        ("a.npy", "npy"),
        ("a.parquet", "parquet"),
    ],
)
def test_the_suffix_decides_whatever_its_case(name: str, expected: str) -> None:
    assert format_of(name).name == expected


@pytest.mark.parametrize("name", ["a.gz", "a.doc", "tsv", "a.tsv.bak", ""])
def test_other_suffixes_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=r"no known format. Its suffix must be one of .*\.csv, .*\.txt\.gz"):
        format_of(name)


def test_names_and_suffixes_are_unique() -> None:
    assert len({each.name for each in formats().values()}) == len({id(each) for each in formats().values()})
    assert all(suffix in each.suffixes for suffix, each in formats().items())


def test_an_installed_package_adds_a_format(install: Install, tmp_path: Path) -> None:
    install("LONGER")
    assert format_of("x.ODD").name == "hdf"
    assert (format_of("a.odd.tsv").name, format_of("a.tsv").name) == ("hdf", "tsv")  # the longest suffix decides
    for name in ("a.odd", "b.odd"):
        (tmp_path / name).write_bytes(b"")
    (first, _) = list_shards(f"{tmp_path}/*.odd", "--references")
    (rows,) = read_rows(InputShard(first.uri, "digest", 0), "text", Columns())
    assert rows.ids == [f"{tmp_path}/a.odd#0", f"{tmp_path}/a.odd#1"]


def test_a_suffix_that_is_taken_is_refused(install: Install) -> None:
    install("TAKEN")
    with pytest.raises(ConfigError, match=r"'odd' \(odd_formats:TAKEN\).*package 'odd-formats' adds .* \.tsv, which"):
        format_of("a.tar")


@pytest.mark.parametrize("target", ["NOTHING", "UPPER"])
def test_what_is_no_format_is_refused(install: Install, target: str) -> None:
    install(target)
    with pytest.raises(ConfigError, match=r"package 'odd-formats' gives .* must give a Format"):
        format_of("a.tar")


def test_an_entry_point_that_does_not_load_is_refused(install: Install) -> None:
    install("MISSING")
    with pytest.raises(ConfigError, match=r"package 'odd-formats' cannot be loaded: AttributeError.*uninstall"):
        format_of("a.tar")
